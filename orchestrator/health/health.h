/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * health: from single answers to a verdict. Pure.
 *
 * UNKNOWN until @healthy successes in a row make it HEALTHY; from there @unhealthy failures in a
 * row make it UNHEALTHY, and @healthy successes in a row HEALTHY again. An instance that has never
 * been healthy stays UNKNOWN however often it fails: whether to wait for it is its rollout's to
 * decide, by its deadline. One that was healthy before anybody asked here becomes UNHEALTHY from
 * UNKNOWN, too.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum health_state {
	HEALTH_UNKNOWN,
	HEALTH_HEALTHY,
	HEALTH_UNHEALTHY,
};

struct health {
	enum health_state state;
	uint32_t successes; /* in a row */
	uint32_t failures;  /* in a row */
	bool was_healthy;   /* as an earlier batond has seen; the caller says so */
};

/* Returns whether the state changed. @healthy and @unhealthy are at least 1. */
bool health_note(struct health *health, bool ok, uint32_t healthy, uint32_t unhealthy);

const char *health_state_name(enum health_state state);
