/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_hold: connections that nothing can take wait at the anchors, each for so long at most,
 * instead of being refused: while a service that holds ("hold") has nobody who can accept, and
 * while it is paused. hold.h counts who has waited too long.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/timer.h"
#include "orchestrator/config/config.h"
#include "orchestrator/service/hold.h"

struct service;

struct service_hold {
	bool paused; /* nothing is named; connections wait */
	bool on;     /* connections that nothing can take wait */
	struct hold queues[CONFIG_LISTEN_MAX];
	uint64_t expired[CONFIG_LISTEN_MAX]; /* have waited too long and were reset */
	struct timer timer;
};

/* How long connections wait at most; 0: they do not. */
uint64_t service_hold_ms(const struct service *service);

/*
 * Hold connections that nothing can take, or refuse them, as the service's situation says: begin
 * before a table is published, so that none is refused meanwhile, end after it.
 */
void service_begin_hold(struct service *service);
void service_end_hold(struct service *service);

/* Send what waits to where the table says. */
void service_unhold(struct service *service);

/* The endpoints are new, or are closed. */
void service_forget_hold(struct service *service);
