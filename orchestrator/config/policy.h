/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy: how a rollout is to go, in the words of the configuration. Its types are apart from
 * config.h so that the pure rollout (rollout.h) needs nothing else of it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define ROLLOUT_STEPS_MAX 64 /* of a canary, the last, full one included */

enum rollout_strategy {
	ROLLOUT_BLUE_GREEN,
	ROLLOUT_ROLLING,
	ROLLOUT_CANARY,
	ROLLOUT_STOP_FIRST, /* the old ones end before the new ones start */
};

/* The points at which gates can be asked; a bit each. */
enum rollout_gate {
	ROLLOUT_GATE_SHIFT = 1, /* before a batch is named for the first time */
	ROLLOUT_GATE_STEP = 2,  /* canary: before each further step */
	ROLLOUT_GATE_LEAVE = 4, /* before the victims leave */
};

struct rollout_weight {
	uint32_t weight;   /* percent of the new connections, 1 to 100 */
	bool manual;       /* the step lasts until it is promoted */
	uint64_t dwell_ms; /* else how long it lasts */
};
