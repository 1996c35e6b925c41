/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/health/health.h"

#include <assert.h>

bool health_note(struct health *health, bool ok, uint32_t healthy, uint32_t unhealthy)
{
	enum health_state before = health->state;

	assert(healthy > 0 && unhealthy > 0);
	if (ok) {
		health->failures = 0;
		if (health->successes < UINT32_MAX)
			health->successes++;
		if (health->successes >= healthy)
			health->state = HEALTH_HEALTHY;
	} else {
		health->successes = 0;
		if (health->failures < UINT32_MAX)
			health->failures++;
		if ((health->state == HEALTH_HEALTHY || health->was_healthy) &&
		    health->failures >= unhealthy)
			health->state = HEALTH_UNHEALTHY;
	}
	return health->state != before;
}

const char *health_state_name(enum health_state state)
{
	static const char *const names[] = {
		[HEALTH_UNKNOWN] = "unknown",
		[HEALTH_HEALTHY] = "healthy",
		[HEALTH_UNHEALTHY] = "unhealthy",
	};

	return names[state];
}
