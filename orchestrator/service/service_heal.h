/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_heal: tells of instances that are unhealthy, dead or missing, and replaces them as often
 * as "restart" allows. (service_publish.c leaves them out of the tables.)
 *
 * After a crash the instance's agent starts the server again, on the same sockets. This module
 * replaces an instance whose agent has given up or is gone, one that runs but fails its checks, and
 * one that is missing. Each start of either kind counts against "restart". If no more are allowed,
 * the service is degraded until the window has room again.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/timer.h"
#include "orchestrator/service/restarts.h"

struct service;

struct service_healing {
	struct restarts restarts; /* of instances of the current generation */
	uint64_t at_ms;           /* when instances are to be replaced; 0: none are */
	struct timer timer;
	bool dead;          /* it is degraded, and none of its servers runs */
	char degraded[320]; /* why it stays unwell for now; "": it does not */
};

/* Tell who has become unhealthy or healthy again, and replace what has to be replaced. */
void service_look_health(struct service *service);

/* Note since when nothing serves of a service that should. */
void service_look_failed(struct service *service);

/*
 * When something of the current generation is started again by itself, if nothing recovers before;
 * *ret_ms is monotonic, and may have passed. False: it is not.
 */
bool service_next_try(const struct service *service, uint64_t *ret_ms);

/* Another generation serves, or none: earlier failures count no more. */
void service_forgive(struct service *service);
