/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * restarts: how often something may be started again: at most so many times within a window of
 * time, the delay before each growing with those before it. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "orchestrator/config/config.h"

#define RESTARTS_MAX          64 /* config.h: restart.max is no more */
#define RESTARTS_DELAY_GROWTH 50 /* the delay grows to so many times the configured one */

/* Plain data; all zero is none yet. */
struct restarts {
	uint64_t at_ms[RESTARTS_MAX]; /* a ring of the last ones */
	size_t n;                     /* ever */
};

/* How many were within the window before @now_ms. */
uint32_t restarts_used(const struct restarts *restarts, const struct restart_config *policy,
		       uint64_t now_ms);

/* How many more there may be now. */
uint32_t restarts_left(const struct restarts *restarts, const struct restart_config *policy,
		       uint64_t now_ms);

void restarts_take(struct restarts *restarts, uint64_t now_ms);

/* How long to wait before the next: doubled for each one within the window. */
uint64_t restarts_delay_ms(const struct restarts *restarts, const struct restart_config *policy,
			   uint64_t now_ms);

/* How long until there is one left; 0: now; UINT64_MAX: never, because none is allowed. */
uint64_t restarts_wait_ms(const struct restarts *restarts, const struct restart_config *policy,
			  uint64_t now_ms);
