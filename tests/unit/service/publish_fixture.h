/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * publish_fixture: the tables of a service, and what is published of them.
 */
#pragma once

#include "tests/unit/service/service_fixture.h"

static inline unsigned published(void)
{
	return service->wiring.endpoints[0]->published;
}

/* As close to @share as whole buckets allow. */
static inline void assert_buckets(size_t e, uint32_t generation, uint32_t index, double share)
{
	double exact = share * STEER_BUCKETS;

	assert_in_range(buckets_of(e, generation, index), (size_t)exact,
			(size_t)exact + (exact > (double)(size_t)exact));
}

static inline void publish(void)
{
	if (service_publish(service, &err) < 0)
		fail_msg("%s", err.text);
}

static inline size_t backups_of(size_t e, uint32_t generation, uint32_t index)
{
	const struct steer_table *table = &service->wiring.endpoints[e]->table;
	const struct instance *i = fake_there(generation, index);
	size_t n = 0;

	for (size_t k = 0; k < STEER_BUCKETS; k++)
		n += table->buckets[k].backup == i->sockets.list[e].slot;
	return n;
}

/* A rollout with two generations of @n instances, at the step where only one is named, or both. */
static inline void start_rolling(uint32_t n)
{
	start_instances(n);
	for (uint32_t k = 0; k < n; k++)
		fake(1, k)->queued = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_SETTLING);
}

/* @weights are steps that wait for somebody; the last is 100. */
static inline void use_canary(size_t n, const uint32_t *weights)
{
	service->config->rollout.strategy = ROLLOUT_CANARY;
	service->config->rollout.n_steps = n;
	service->config->rollout.promote_timeout_ms = 60000;
	for (size_t k = 0; k < n; k++)
		service->config->rollout.steps[k] =
			(struct rollout_weight){.weight = weights[k], .manual = true};
}
