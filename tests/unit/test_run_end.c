/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/run_fixture.h"

static void test_run_stop_that_was_killed_says_so(void **state)
{
	(void)state;
	fake_generations[1].cannot_stop = true;
	run_begin(&run, &service, "restart", new, old);
	run.machine.policy.stop_timeout_ms = 30;
	drive_to_end();
	assert_string_not_equal(text_of(event_named("stop"), "message"),
				"generation 1 exited with status 0");
}

static void test_run_flip_back_that_cannot_be_published_keeps_the_reason(void **state)
{
	(void)state;
	config.rollout.bake_ms = 60000;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_BAKING);
	publish_error = -EIO;
	run_abort(&run, "rolled back by request");
	drive_to_end();
	assert_string_equal(result.reason, "rolled back by request");
}

static void test_run_result_has_the_tail_of_the_one_to_blame(void **state)
{
	(void)state;
	new->n_instances = 2;
	new->instances[1] = new->instances[0];
	new->instances[1].index = 1;
	memcpy(new->instances[0].tail, "all is well\n", 13);
	memcpy(new->instances[1].tail, "panic\n", 7);
	new->instances[1].failed = true;
	fake_generations[2].failed = &new->instances[1];
	run_begin(&run, &service, "restart", new, old);
	drive_to_end();
	assert_string_equal(result.tail, "panic\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_stop_that_was_killed_says_so),
		TEST(test_run_flip_back_that_cannot_be_published_keeps_the_reason),
		TEST(test_run_result_has_the_tail_of_the_one_to_blame),
	};
#undef TEST

	return cmocka_run_group_tests_name("run_end", tests, NULL, NULL);
}
