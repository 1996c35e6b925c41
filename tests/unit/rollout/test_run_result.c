/* SPDX-License-Identifier: BSD-2-Clause */
/* How a rollout has ended. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/rollout/run_fixture.h"

/* A later rollout may have replaced its new generation while it still drains the old one. */
static void test_run_goes_on_when_its_new_generation_is_gone(void **state)
{
	(void)state;
	fake(1, 0)->live = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	run.new = NULL;
	run_forget_instance(&run, fake_there(2, 0));
	change(fake(1, 0)->live = 0);
	drive_to_end();
	assert_int_equal(number_of(event_named("stop"), "generation"), 2);
	assert_int_equal(number_of(event_named("stop"), "replaces"), 1);
	assert_int_equal(result.generation, 2);
	assert_int_equal(result.replaces, 1);
	assert_int_equal(result.exit, 0);
}

static void test_run_result_counts_instances_of_both_sides(void **state)
{
	(void)state;
	have_old(2);
	config.instances = 3;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_int_equal(result.n_new, 3);
	assert_int_equal(result.n_old, 2);
	assert_false(result.partial);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_goes_on_when_its_new_generation_is_gone),
		TEST(test_run_result_counts_instances_of_both_sides),
	};
#undef TEST

	return cmocka_run_group_tests_name("run result", tests, NULL, NULL);
}
