/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/backoff.h"

uint64_t backoff_delay_ms(uint64_t first_ms, uint64_t most_ms, uint64_t tries)
{
	uint64_t delay_ms;

	if (first_ms == 0)
		return 0;
	/* Here doubling would overflow: that is beyond every limit. */
	if (tries >= 64 || first_ms > UINT64_MAX >> tries)
		return most_ms;
	delay_ms = first_ms << tries;
	return delay_ms < most_ms ? delay_ms : most_ms;
}
