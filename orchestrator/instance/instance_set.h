/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * instance_set: some instances, and orders to and questions about all of them at once.
 *
 * A set borrows its instances. Their generation owns them, and must take an instance out of every
 * set before it frees it. Questions that begin with "are" or "have" are true of the empty set.
 *
 * A set grows with what is in it, and is all zero at first. Whoever has one ends it with
 * instances_done(); a local one is declared cleanup(instances_done). A set takes 4 KiB at most.
 * INSTANCES_SPARE of them need no memory: so many may be made or grow while there is none. The next
 * one would end the daemon by an assertion, and the next daemon takes over.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orchestrator/instance/instance.h"

/* A generation may have all instances of its service, and as many that replace them. */
#define INSTANCES_MAX (2 * CONFIG_INSTANCES_MAX)

#define INSTANCES_SPARE 64

struct instances {
	struct instance **list;
	size_t n;
	size_t size; /* so many fit without another allocation */
};

/* Free the list, not the instances. The set is empty afterwards. */
void instances_done(struct instances *set);
static inline void instances_done_ptr(struct instances *set)
{
	instances_done(set);
}

/* *@ret, which may have instances, has those of @set afterwards. */
void instances_copy(const struct instances *set, struct instances *ret);

/* Each is in a set once. -E2BIG: the set has INSTANCES_MAX. */
int instances_add(struct instances *set, struct instance *instance);
void instances_remove(struct instances *set, const struct instance *instance);
bool instances_have(const struct instances *set, const struct instance *instance);

/* Orders to each (instance.h). */
void instances_check(const struct instances *set);
void instances_uncheck(const struct instances *set);
void instances_steady(const struct instances *set, bool on);
void instances_leave(const struct instances *set);
void instances_stop(const struct instances *set);
void instances_kill(const struct instances *set);
void instances_name(const struct instances *set, enum instance_role role);

/* The server of each runs, with its sockets in slots. */
bool instances_are_listening(const struct instances *set);
bool instances_are_healthy(const struct instances *set);
bool instances_have_left(const struct instances *set);
bool instances_have_stopped(const struct instances *set);
/* ... and nothing of them is dying still. Asks the kernel. */
bool instances_are_gone(const struct instances *set);
/* None is serving. */
bool instances_are_dead(const struct instances *set);
/* No process of them is left but agents. */
bool instances_have_exited(const struct instances *set);
/* How the servers have ended is known, as far as anybody can tell it. */
bool instances_ends_are_known(const struct instances *set);

/* The first that has failed or turned unhealthy; NULL: none. */
struct instance *instances_failed(const struct instances *set);
/* How many are serving (instance_is_serving()). */
size_t instances_serving(const struct instances *set);

/* Sums; a negative errno if the kernel could not be asked about one of them. */
int instances_queued(const struct instances *set, uint32_t *ret);
int instances_live(const struct instances *set, uint64_t *ret);
int instances_busy(const struct instances *set, uint64_t idle_ms, uint64_t *ret);
int instances_silent(const struct instances *set, uint64_t age_ms, uint64_t *ret);
int instances_kinds(const struct instances *set, struct connections_kinds *ret);
int instances_count(const struct instances *set, struct tap_count *ret);

/* Close every connection that is left by a reset; *ret is how many were closed. */
int instances_cut(const struct instances *set, uint64_t *ret, struct error *err);
