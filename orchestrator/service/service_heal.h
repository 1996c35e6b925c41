/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_heal: what is unhealthy, dead or missing is told, left out of the table (by
 * service_publish.c), and replaced, as often as "restart" allows.
 *
 * A crash is mended by the instance's agent, on the same sockets. What is left for here is an
 * instance whose agent has given up or is gone, one that runs but fails its checks, and one that is
 * not there. All of it counts against "restart". What is more than that stays as it is, and the
 * service is degraded until the window has room again.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/timer.h"
#include "orchestrator/service/restarts.h"

struct service;

struct service_healing {
	struct restarts restarts; /* of instances of the current generation */
	uint64_t at_ms;           /* when something is to be replaced; 0: nothing is */
	struct timer timer;
	bool dead;          /* it is degraded, and none of its servers runs */
	char degraded[320]; /* why it is not as it should be, for good; "": it is */
};

/* Who has turned unhealthy or well again; what is to be replaced; is the service degraded? */
void service_look_health(struct service *service);

/* Somebody has given an order: what has failed before counts no more. */
void service_forgive(struct service *service);
