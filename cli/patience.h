/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * patience: waiting for something that only can be looked at again and again, up to a deadline.
 *
 *	patience_begin(&patience, 30000);
 *	while (!there() && patience_wait(&patience, 500))
 *		;
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct patience {
	uint64_t end_ms; /* monotonic */
};

void patience_begin(struct patience *patience, uint64_t limit_ms);

/* Sleep for @delay_ms. False, at once: the limit has been reached. */
bool patience_wait(const struct patience *patience, uint64_t delay_ms);
