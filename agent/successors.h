/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * successors: finds the process that goes on as the server when the main process has ended, and
 * tells servers that run beside the main process of signals.
 *
 * Many servers replace themselves: they start a new one, which takes over their sockets or binds
 * its own, and end. Sooner or later only the new one accepts connections (acceptors.h). It may have
 * been started by the old one, or by hand inside the instance's cgroup.
 *
 * Who follows when the main process has ended: the oldest family of the instance that accepts. But
 * if it ended badly (by a signal, or with another status than 0), the family's head must have
 * called execve(2): workers that have lost their master are no server.
 *
 * As long as none is seen to accept, a family that may still do so is waited for: one that has a
 * listening socket open, and has used the CPU, or has connections of clients open, within
 * SUCCESSORS_IDLE_MS; and no longer than SUCCESSORS_SEEK_MS in all. Without such a family the end
 * is told at once.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "agent/sockets.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/processes.h"

#define SUCCESSORS_IDLE_MS 1000
#define SUCCESSORS_SEEK_MS 10000

struct successors;

struct successors_handlers {
	/* @pid goes on as the server. Returns whether it could be followed: it may have ended. */
	bool (*on_found)(pid_t pid, void *userdata);
	/* None does. */
	void (*on_none)(void *userdata);
};

/* All arguments are borrowed and must outlive it. Returns 0 or a negative errno. */
int successors_new(sd_event *event, const struct processes *processes, struct sockets *sockets,
		   const struct successors_handlers *handlers, void *userdata,
		   struct successors **ret, struct error *err);
void successors_free(struct successors *successors);
DEFINE_CLEANUP(struct successors *, successors_free);

/*
 * The main process has ended, @well or badly. Exactly one of the handlers is called, now or later,
 * unless successors_stop() comes before. @told_only: the listening sockets are gone, or are no
 * longer needed: only a server that successors_tell() has told can follow.
 */
void successors_seek(struct successors *successors, bool well, bool told_only);

/* Is that under way? */
bool successors_seeks(const struct successors *successors);

/* Seek no longer. */
void successors_stop(struct successors *successors);

/* The same, and forget who was told: all processes of the instance are about to be killed. */
void successors_reset(struct successors *successors);

/*
 * Send @signal to the other servers of the instance. There are such while a server replaces itself:
 * both the family of the main process @main and another one accept, or have clients. (If that of
 * the main process does neither, the others are its workers, and hear of the signal from it.)
 * Whoever was told of an earlier signal is told of this one, too; nobody twice of the same.
 */
void successors_tell(struct successors *successors, pid_t main, int signal);

/* Has successors_tell() sent @signal to @pid? */
bool successors_was_told(const struct successors *successors, pid_t pid, int signal);
