/* SPDX-License-Identifier: BSD-2-Clause */
/* Rollouts of one service that overlap, and how they end. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service_fixture.h"

static void test_service_first_generation_that_cannot_be_made_leaves_nothing(void **state)
{
	(void)state;
	fake_generations[1].new_error = -ENOMEM;
	refused("start", NULL);
	assert_int_equal(fake_steers_open, 0);
	assert_false(service->open);
}

static struct adopt_agent agent = {.hello = {.generation = 3, .state = AGENT_LEFT}};

static void test_service_adopted_retirement_does_not_settle_the_start(void **state)
{
	struct adopt_agent *found[] = {&agent};

	(void)state;
	assert_int_equal(service_adopt(service, found, 1, &err), 0);
	fake_generations[4].not_healthy = true;
	order("start", NULL);
	drive_until(n_ended == 1); /* generation 3 is gone; 4 has not been healthy yet */
	assert_int_equal(run->machine.state, ROLLOUT_VERIFYING);
	assert_false(service->settled);
}

/* ---- the kernel's word ---------------------------------------------------------------------- */

/* The counters say that the last connection has ended: nobody waits for the next look. */
static void test_service_drain_ends_with_the_last_connection(void **state)
{
	struct hooks *hooks;

	(void)state;
	carry_out("start", NULL);
	hooks = service->wiring.hooks;
	assert_int_equal(hooks_attach(hooks, "", 1, 0, false, &err), 0);
	fake_generations[1].counted = true;
	fake_generations[1].count.live = fake_generations[1].live = 2;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	assert_true(fake_hooks_find(hooks, 1, 0)->watched);
	fake_generations[1].count.live = 0;
	fake_hooks_end_all(hooks, 1, 0);
	for (int k = 0; k < 3; k++) /* a timer may be due as well */
		sd_event_run(context.event, 0);
	assert_int_equal(n_ended, 2);
}

/* One that has no connection left, but is not on its way out, is none of its business. */
static void test_service_drain_is_not_ended_by_another_one(void **state)
{
	(void)state;
	carry_out("start", NULL);
	assert_int_equal(hooks_attach(service->wiring.hooks, "", 2, 0, false, &err), 0);
	fake_generations[1].counted = true;
	fake_generations[1].count.live = fake_generations[1].live = 2;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	service->wiring.hooks->callbacks->on_zero(service->wiring.hooks->userdata, 2, 0);
	sd_event_run(context.event, 0);
	assert_int_equal(run->machine.state, ROLLOUT_DRAINING);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_first_generation_that_cannot_be_made_leaves_nothing),
		TEST(test_service_adopted_retirement_does_not_settle_the_start),
		TEST(test_service_drain_ends_with_the_last_connection),
		TEST(test_service_drain_is_not_ended_by_another_one),
	};
#undef TEST

	return cmocka_run_group_tests_name("service_end", tests, NULL, NULL);
}
