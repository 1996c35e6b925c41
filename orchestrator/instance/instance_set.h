/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * instance_set: some instances, and orders to and questions about all of them at once.
 *
 * A set borrows its instances. Their generation owns them, and must take an instance out of every
 * set before it frees it. Questions that begin with "are" or "have" are true of the empty set.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orchestrator/instance/instance.h"

/* A generation may have all instances of its service, and as many that replace them. */
#define INSTANCES_MAX (2 * CONFIG_INSTANCES_MAX)

struct instances {
	struct instance *list[INSTANCES_MAX];
	size_t n;
};

/* Each is in a set once. -E2BIG: the set is full. */
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
