/* SPDX-License-Identifier: BSD-2-Clause */
/* Rollouts of one service that overlap, and the way down. */
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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_first_generation_that_cannot_be_made_leaves_nothing),
		TEST(test_service_adopted_retirement_does_not_settle_the_start),
	};
#undef TEST

	return cmocka_run_group_tests_name("service_end", tests, NULL, NULL);
}
