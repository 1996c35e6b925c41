/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/patience.h"

#include <time.h>

#include "common/clock.h"

void patience_begin(struct patience *patience, uint64_t limit_ms)
{
	patience->end_ms = clock_monotonic_ms() + limit_ms;
}

bool patience_wait(const struct patience *patience, uint64_t delay_ms)
{
	struct timespec delay = {.tv_sec = (time_t)(delay_ms / 1000),
				 .tv_nsec = (long)(delay_ms % 1000) * 1000000};

	if (clock_monotonic_ms() >= patience->end_ms)
		return false;
	/* A signal that does not end the program may cut it short: then it is looked at sooner. */
	(void)nanosleep(&delay, NULL);
	return true;
}
