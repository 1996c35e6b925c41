/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * restarts: how often instances may be started again: at most policy->max times within a window of
 * time, each after a delay that grows with the starts before it. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "orchestrator/config/config.h"

#define RESTARTS_MAX          64 /* the most that restart.max can be */
#define RESTARTS_DELAY_GROWTH 50 /* the delay is at most that many times the configured one */

/* Plain data; all zero is none yet. */
struct restarts {
	uint64_t at_ms[RESTARTS_MAX]; /* a ring: when the last ones were */
	size_t n;                     /* how many there were, ever */
};

/* How many were within the window before @now_ms. */
uint32_t restarts_used(const struct restarts *restarts, const struct restart_config *policy,
		       uint64_t now_ms);

/* How many more there may be now. */
uint32_t restarts_left(const struct restarts *restarts, const struct restart_config *policy,
		       uint64_t now_ms);

/* One is taken now. */
void restarts_take(struct restarts *restarts, uint64_t now_ms);

/* How long to wait before the next: the delay is doubled for each one within the window. */
uint64_t restarts_delay_ms(const struct restarts *restarts, const struct restart_config *policy,
			   uint64_t now_ms);

/* How long until there is one left; 0: now; UINT64_MAX: never, because none is allowed. */
uint64_t restarts_wait_ms(const struct restarts *restarts, const struct restart_config *policy,
			  uint64_t now_ms);
