/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/clock.h"

#include <time.h>

static uint64_t read_ms(clockid_t clock)
{
	struct timespec ts;

	/* It cannot fail: Linux has both clocks, and the pointer is good (clock_gettime(2)). */
	(void)clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t clock_monotonic_ms(void)
{
	return read_ms(CLOCK_MONOTONIC);
}

uint64_t clock_realtime_ms(void)
{
	return read_ms(CLOCK_REALTIME);
}
