/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * takeover_fixture: agents that an earlier daemon has left, for service_take_over().
 */
#pragma once

#include "tests/unit/service/service_fixture.h"

static struct takeover_agent agents[12];

static struct takeover_agent *found[12];

static size_t n_found;

/* By generation; its instances are numbered. */
static inline void find_agent(uint32_t generation, enum agent_state state, bool steady)
{
	uint32_t instance = 0;

	for (size_t k = 0; k < n_found; k++)
		instance += agents[k].hello.generation == generation;
	agents[n_found] = (struct takeover_agent){
		.hello = {.generation = generation,
			  .state = state,
			  .steady = steady,
			  .pid = 4000 + (int)n_found,
			  .n_sockets = 2},
		.spec = {.instance = instance,
			 .listen = service->config->listen,
			 .n_listen = service->config->n_listen},
	};
	found[n_found] = &agents[n_found];
	n_found++;
}

/* By the table that the earlier daemon has left. */
static inline void named_before(uint32_t generation, uint32_t instance)
{
	fake_steer_old_slots[n_fake_steer_old_slots++] = (uint16_t)(10 * generation + 2 * instance);
}

/* Returns what service_take_over() does. */
static inline int adopt(void)
{
	return service_take_over(service, found, n_found, &err);
}

static inline int set_up_adoption(void **state)
{
	n_found = 0;
	return set_up(state);
}

static inline void assert_retiring(const struct run *r, uint32_t number)
{
	assert_int_equal(r->order, RUN_ORDER_RETIRE);
	assert_true(r->machine.retire);
	assert_null(r->new);
	assert_int_equal(r->old->number, number);
}

/* Missing instances of @number are started; so many of @other carry on until they are well. */
static inline void assert_restoring(const struct run *r, uint32_t number, uint32_t missing,
				    uint32_t other, size_t substitutes)
{
	assert_int_equal(r->order, RUN_ORDER_RESTORE);
	assert_false(r->machine.retire);
	assert_int_equal(r->new->number, number);
	assert_int_equal(r->machine.wanted[ROLLOUT_NEW], missing);
	assert_int_equal(r->old->number, other);
	assert_int_equal(r->side[ROLLOUT_OLD].n, substitutes);
}
