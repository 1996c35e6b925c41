/* SPDX-License-Identifier: BSD-2-Clause */
/* Rollouts of some instances of a generation, and instances that go for another reason. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/rollout/run_fixture.h"

/* ---- some instances of a generation --------------------------------------------------------- */

static void test_run_scale_up_adds_instances(void **state)
{
	(void)state;
	begin_partial(RUN_ORDER_SCALE, 2, (struct instances){});
	drive_to_end();
	assert_calls("start 1.1; start 1.2; check 1.1; check 1.2; publish 1.0,1.1,1.2; "
		     "steady 1.1 on; steady 1.2 on; commit");
	assert_steps("start verify shift");
	assert_step("start", true, "2 instances of generation 1, pid 101, 102");
	assert_step("shift", true, "new connections go to 3 instances of generation 1");
	assert_int_equal(result.exit, 0);
	assert_result_says("2 instances came; generation 1 serves");
}

static void test_run_scale_up_that_fails_keeps_what_was(void **state)
{
	(void)state;
	fake(1, 1)->not_listening = true;
	begin_partial(RUN_ORDER_SCALE, 1, (struct instances){});
	drive_to(ROLLOUT_STARTING);
	change(fake_fail(1, 1, "exited with status 1"));
	drive_to_end();
	assert_calls("start 1.1; stop 1.1; done 1.1");
	assert_int_equal(result.exit, 3);
	assert_string_equal(result.reason, "generation 1: instance 1 exited with status 1");
	assert_result_says("generation 1 keeps serving");
	assert_true(fake_there(1, 0)->steady);
}

static void test_run_scale_down_takes_instances_away(void **state)
{
	cleanup(instances_done) struct instances goes = {};

	(void)state;
	have_old(3);
	instances_add(&goes, fake_there(1, 2));
	begin_partial(RUN_ORDER_SCALE, 0, goes);
	drive_to_end();
	assert_calls("publish 1.0,1.1 backup 1.2; steady 1.2 off; publish 1.0,1.1; uncheck 1.2; "
		     "leave 1.2; stop 1.2; done 1.2");
	assert_steps("shift settle leave drain stop");
	assert_step("shift", true, "new connections go to 2 instances of generation 1");
	assert_step("leave", true, "instance 2 of generation 1 is out of the group");
	assert_result_says("1 instance went; generation 1 serves");
}

static void test_run_replace_of_one_instance_starts_its_successor_first(void **state)
{
	cleanup(instances_done) struct instances goes = {};

	(void)state;
	have_old(2);
	fake(1, 0)->unhealthy = true;
	fake(1, 0)->live = 3;
	old_config.drain.timeout_ms = 30;
	instances_add(&goes, fake_there(1, 0));
	begin_partial(RUN_ORDER_REPLACE, 1, goes);
	drive_to_end();
	assert_calls("start 1.2; check 1.2; publish 1.1,1.2 backup 1.0; steady 1.0 off; "
		     "steady 1.2 on; commit; publish 1.1,1.2; uncheck 1.0; leave 1.0; "
		     "stop 1.0; done 1.0");
	assert_int_equal(result.exit, 5);
	assert_result_says("1 instance came, 1 instance went; generation 1 serves; "
			   "3 connections were cut at the deadline");
	assert_int_equal(old->instances.n, 2);
}

static void test_run_replace_that_cannot_start_keeps_the_old_one(void **state)
{
	cleanup(instances_done) struct instances goes = {};

	(void)state;
	have_old(2);
	fake(1, 2)->start_error = -EIO;
	instances_add(&goes, fake_there(1, 0));
	begin_partial(RUN_ORDER_REPLACE, 1, goes);
	drive_to_end();
	assert_calls("start 1.2; done 1.2");
	assert_int_equal(result.exit, 3);
	assert_int_equal(fake_there(1, 0)->role, INSTANCE_IN);
	assert_true(fake_there(1, 0)->steady);
}

/* ---- instances that go for another reason --------------------------------------------------- */

static void test_run_forgets_an_instance_of_every_set(void **state)
{
	(void)state;
	have_old(2);
	fake(1, 0)->live = fake(1, 1)->live = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	host_remove_instance(&host, fake_there(1, 0));
	assert_int_equal(run.side[ROLLOUT_OLD].n, 1);
	assert_int_equal(run.victims.n, 1);
	fake(1, 1)->live = 0;
	drive_to_end();
	assert_int_equal(result.exit, 0);
	assert_int_equal(old->instances.n, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_scale_up_adds_instances),
		TEST(test_run_scale_up_that_fails_keeps_what_was),
		TEST(test_run_scale_down_takes_instances_away),
		TEST(test_run_replace_of_one_instance_starts_its_successor_first),
		TEST(test_run_replace_that_cannot_start_keeps_the_old_one),
		TEST(test_run_forgets_an_instance_of_every_set),
	};
#undef TEST

	return cmocka_run_group_tests_name("run partial", tests, NULL, NULL);
}
