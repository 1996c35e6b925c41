/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/service/restarts.h"

#include <assert.h>

static size_t kept(const struct restarts *r)
{
	return r->n < RESTARTS_MAX ? r->n : RESTARTS_MAX;
}

uint32_t restarts_used(const struct restarts *r, const struct restart_config *policy,
		       uint64_t now_ms)
{
	uint32_t n = 0;

	assert(policy->max <= RESTARTS_MAX);
	for (size_t k = 0; k < kept(r); k++)
		n += now_ms - r->at_ms[k] < policy->window_ms;
	return n;
}

uint32_t restarts_left(const struct restarts *r, const struct restart_config *policy,
		       uint64_t now_ms)
{
	uint32_t used = restarts_used(r, policy, now_ms);

	return used < policy->max ? policy->max - used : 0;
}

void restarts_take(struct restarts *r, uint64_t now_ms)
{
	r->at_ms[r->n++ % RESTARTS_MAX] = now_ms;
}

uint64_t restarts_delay_ms(const struct restarts *r, const struct restart_config *policy,
			   uint64_t now_ms)
{
	uint64_t most = policy->delay_ms * RESTARTS_DELAY_GROWTH;
	uint64_t delay = policy->delay_ms;

	for (uint32_t k = restarts_used(r, policy, now_ms); k > 0 && delay < most; k--)
		delay *= 2;
	return delay < most ? delay : most;
}

uint64_t restarts_wait_ms(const struct restarts *r, const struct restart_config *policy,
			  uint64_t now_ms)
{
	uint64_t oldest_ms = UINT64_MAX;
	uint32_t used = 0;

	if (policy->max == 0)
		return UINT64_MAX;
	if (restarts_left(r, policy, now_ms) > 0)
		return 0;
	/* There may be more than .max. Find the restart that must leave the window. */
	for (size_t k = 0; k < kept(r); k++)
		used += now_ms - r->at_ms[k] < policy->window_ms;
	for (size_t skip = used - policy->max, k = r->n - kept(r); k < r->n; k++) {
		uint64_t at_ms = r->at_ms[k % RESTARTS_MAX];

		if (now_ms - at_ms >= policy->window_ms)
			continue;
		if (skip-- > 0)
			continue;
		oldest_ms = at_ms;
		break;
	}
	return oldest_ms + policy->window_ms - now_ms;
}
