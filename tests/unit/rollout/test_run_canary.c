/* SPDX-License-Identifier: BSD-2-Clause */
/* Canary: the new instances get a share of the connections that grows. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/rollout/run_fixture.h"

/* ---- canary --------------------------------------------------------------------------------- */

static void test_run_canary_shifts_step_by_step(void **state)
{
	(void)state;
	be_canary(2);
	begin_replace(RUN_ORDER_RESTART);
	drive_to_step(0);
	assert_calls("start 2.0; start 2.1; check 2.0; check 2.1; "
		     "publish 1.0,1.1,2.0,2.1 canary 2 10%");
	assert_true(fake_there(1, 0)->steady);
	assert_false(fake_there(2, 0)->steady);
	drive_to_step(1);
	assert_calls("publish 1.0,1.1,2.0,2.1 canary 2 50%");
	assert_true(run_can_promote(&run));
	run_promote(&run);
	drive_to_end();
	assert_calls("publish 2.0,2.1 backup 1.0,1.1; steady 1.0 off; steady 1.1 off; "
		     "hook after_shift; steady 2.0 on; steady 2.1 on; commit; publish 2.0,2.1; "
		     "uncheck 1.0; uncheck 1.1; leave 1.0; leave 1.1; hook after_drain; "
		     "stop 1.0; stop 1.1; done 1.0; done 1.1");
	assert_int_equal(result.exit, 0);
	assert_null(published.canary);
}

/* A step that would end by itself can be cut short, too. */
static void test_run_canary_promote_ends_a_hold(void **state)
{
	(void)state;
	be_canary(1);
	config.rollout.steps[0].dwell_ms = 60000;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DWELLING);
	assert_true(run_can_promote(&run));
	run_promote(&run);
	drive_to_step(1);
}

static void test_run_canary_that_nobody_promotes_goes_back(void **state)
{
	(void)state;
	be_canary(1);
	config.rollout.promote_timeout_ms = 40;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_step(1);
	forget_calls();
	drive_to_end();
	assert_calls("publish 1.0 backup 2.0; hook on_rollback; publish 1.0; uncheck 2.0; "
		     "leave 2.0; stop 2.0; done 2.0");
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.step, "hold");
	assert_string_equal(result.reason, "nobody promoted it within 40ms");
	assert_null(published.canary);
}

static void test_run_canary_that_fails_while_held_goes_back(void **state)
{
	(void)state;
	be_canary(1);
	config.rollout.steps[0].dwell_ms = 60000;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DWELLING);
	change(fake(2, 0)->unhealthy = true);
	drive_to_end();
	assert_undone(ROLLOUT_ROLLED_BACK, "hold",
		      "generation 2: instance 0 turned unhealthy: " FAKE_ANSWER);
	assert_true(fake_there(1, 0)->steady);
}

static void test_run_canary_abort_while_held_goes_back(void **state)
{
	(void)state;
	be_canary(1);
	config.rollout.steps[0].dwell_ms = 60000;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DWELLING);
	run_abort(&run, false, "aborted by request");
	drive_to_end();
	assert_undone(ROLLOUT_ROLLED_BACK, "hold", "aborted by request");
}

/* Nobody is left to share with. */
static void test_run_canary_gets_all_when_the_old_ones_are_gone(void **state)
{
	(void)state;
	be_canary(1);
	config.rollout.steps[0].dwell_ms = 60000;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DWELLING);
	forget_calls();
	change(fake(1, 0)->dead = true);
	drive_to_end();
	assert_int_equal(result.exit, 0);
	assert_memory_equal(calls, "publish 2.0 backup 1.0; ", 24);
}

/* There is no way back: the service tries again, as soon as anything changes. */
static void test_run_canary_that_gets_all_without_a_table_for_it_goes_on(void **state)
{
	(void)state;
	be_canary(1);
	config.rollout.steps[0].dwell_ms = 60000;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DWELLING);
	publish_error = -EIO;
	change(fake(1, 0)->dead = true);
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_string_equal(result.reason, "");
	assert_null(published.canary);
	assert_int_equal(fake_there(2, 0)->role, INSTANCE_IN);
	assert_true(fake_there(2, 0)->steady);
}

/* A table that shares otherwise is not kept in part. */
static void test_run_canary_step_that_cannot_be_published_goes_back(void **state)
{
	(void)state;
	be_canary(1);
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DWELLING);
	forget_calls();
	publish_error = -EIO;
	drive_to_end();
	assert_memory_equal(calls,
			    "publish 1.0,2.0 canary 2 50%; publish 1.0,2.0 canary 2 10%; "
			    "publish 1.0 backup 2.0; ",
			    83);
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.reason, "steer: Input/output error");
}

static void test_run_canary_of_a_first_start_has_no_steps(void **state)
{
	(void)state;
	be_canary(1);
	begin_start();
	drive_to_end();
	assert_calls("start 2.0; check 2.0; publish 2.0; steady 2.0 on; hook after_shift; commit");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_canary_shifts_step_by_step),
		TEST(test_run_canary_promote_ends_a_hold),
		TEST(test_run_canary_that_nobody_promotes_goes_back),
		TEST(test_run_canary_that_fails_while_held_goes_back),
		TEST(test_run_canary_abort_while_held_goes_back),
		TEST(test_run_canary_gets_all_when_the_old_ones_are_gone),
		TEST(test_run_canary_that_gets_all_without_a_table_for_it_goes_on),
		TEST(test_run_canary_step_that_cannot_be_published_goes_back),
		TEST(test_run_canary_of_a_first_start_has_no_steps),
	};
#undef TEST

	return cmocka_run_group_tests_name("run canary", tests, NULL, NULL);
}
