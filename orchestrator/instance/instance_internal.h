/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * instance_internal: what the parts of an instance share. They are one module: instance.c (reports,
 * orders, life), instance_sockets.c (slots and checks), instance_lost.c (what can be done without
 * its agent), instance_count.c (its queues and connections). Nobody else includes this.
 */
#pragma once

#include "orchestrator/instance/instance.h"

void instance_changed(struct instance *instance);
void instance_note(struct instance *instance, enum event_kind kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* It does not run and will not be started again; the first reason is kept. */
void instance_fail(struct instance *instance, const char *reason);

struct order;
/* To its agent; does nothing where that is gone. */
void instance_order(struct instance *instance, const struct order *what);

/* ---- instance_sockets.c -----------------------------------------------------------------------
 */

/*
 * The agent's whole set of sockets, with a descriptor for each: those that are new join their
 * endpoints, those that are gone become unused.
 */
void instance_take_sockets(struct instance *instance, const struct report *report, const int *fds,
			   size_t n_fds);

/* Free every slot. */
void instance_release_all(struct instance *instance);

/* The server is another process now: what the last one answered counts no more. */
void instance_restart_checks(struct instance *instance);

/* ---- instance_lost.c --------------------------------------------------------------------------
 */

/* 1 where a process of it is left, 0 where none is, negative where nobody can say. */
int instance_populated(const struct instance *instance);

/* Its agent has gone: from now on only looking tells when the server's processes are, too. */
void instance_watch_lost(struct instance *instance);

/* To its server, since there is no agent that could send it. */
void instance_signal_lost(struct instance *instance, int signal);

/* What leaving and stopping have to wait for ends at @deadline_ms; look now. */
void instance_hurry_lost(struct instance *instance, uint64_t deadline_ms);
