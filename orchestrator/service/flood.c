/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/service/flood.h"

static void refill(struct flood *flood, uint64_t now_ms)
{
	uint64_t free = (now_ms - flood->since_ms) / FLOOD_EVERY_MS;

	flood->used -= free < flood->used ? (unsigned)free : flood->used;
	flood->since_ms += free * FLOOD_EVERY_MS;
	if (flood->used == 0)
		flood->since_ms = now_ms;
}

bool flood_keep(struct flood *flood, uint64_t now_ms, uint64_t *ret_passed)
{
	refill(flood, now_ms);
	if (flood_full(flood)) {
		flood->passed++;
		return false;
	}
	flood->used++;
	*ret_passed = flood->passed;
	flood->passed = 0;
	return true;
}

bool flood_full(const struct flood *flood)
{
	return flood->used >= FLOOD_BURST;
}
