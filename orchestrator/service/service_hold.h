/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_hold: lets connections wait at the anchors instead of refusing them: while a service with
 * "hold" has no instance that can accept, and while it is paused. Each waits for at most
 * service_hold_ms(); hold.h counts those that have waited too long.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/timer.h"
#include "orchestrator/instance/instances.h"
#include "orchestrator/rollout/run.h"
#include "orchestrator/service/hold.h"

struct service;

struct service_hold {
	bool paused; /* by an order: the tables name nothing. Also of a service that was stopped */
	bool on;     /* the anchors hold connections that the tables send nowhere */
	struct hold queues[WIRING_MAX];
	uint64_t expired[WIRING_MAX]; /* connections that were reset after waiting */
	uint64_t dropped[WIRING_MAX]; /* attempts: as many waited as can; their clients try again */
	uint64_t dropped_told_ms;     /* when that was told last; 0: never */
	uint64_t hold_ms;             /* for how long, while they do */
	uint64_t alone_since_ms;      /* since when the tables name nobody; 0: they name somebody */
	struct run_held held;         /* since the last rollout began that starts something */
	uint32_t held_for;            /* that rollout */
	struct timer timer;
};

/* How long connections wait at most; 0: they do not. */
uint64_t service_hold_ms(const struct service *service);

/*
 * Begin or end holding, if the service is to hold, or not to. Begin before a table is published, so
 * that no connection is refused meanwhile; end after it.
 */
void service_begin_hold(struct service *service);
void service_end_hold(struct service *service);

/* Reset all that wait, whose service will not come. */
void service_refuse_held(struct service *service);

/* The endpoint at @place has just been opened: its anchor holds as the others do. */
void service_join_hold(struct service *service, size_t place);

/* The tables name nobody: note when, so that it is known for how long connections wait. */
void service_await(struct service *service);

/* How many wait now, and what has been held since @run began (NULL: only those). */
void service_held(struct service *service, const struct run *run, struct run_held *ret);

/* Send connections that wait to the instances that the tables name. */
void service_unhold(struct service *service);

/* The endpoints are new, or are closed. */
void service_forget_hold(struct service *service);
