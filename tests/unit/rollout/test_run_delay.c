/* SPDX-License-Identifier: BSD-2-Clause */
/* Before victims are told to leave: who is waited for, and for how long. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/rollout/run_fixture.h"

static void be_auto(uint64_t max_ms)
{
	old_config.drain.delay_auto = config.drain.delay_auto = true;
	old_config.drain.delay_max_ms = config.drain.delay_max_ms = max_ms;
}

static void test_run_delay_waits_until_all_have_spoken(void **state)
{
	(void)state;
	be_auto(60000);
	fake(1, 0)->silent = 3;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DELAYING);
	drive_until(fake(1, 0)->silent_looks > 2);
	assert_int_equal(run.machine.state, ROLLOUT_DELAYING);
	/* Nothing has been told yet, and the old one still backs the new one up. */
	assert_null(strstr(calls, "leave"));
	assert_false(rollout_is_committed(&run.machine));
	assert_int_equal(fake_there(1, 0)->role, INSTANCE_BACKUP);
	assert_string_equal(run_waits_for(&run), "delay");
	assert_true(run_waits_for_silent(&run));
	assert_string_equal(text_of(event_named("delaying"), "message"),
			    "waiting for 3 connections that have not sent a request yet, up to 1m");
	assert_int_equal(number_of(event_named("delaying"), "silent"), 3);
	/* Not asked to look: it polls. */
	fake(1, 0)->silent = 0;
	drive_to_end();
	assert_steps("start verify shift settle delaying delay leave drain stop");
	assert_step("delay", true,
		    "3 connections had not sent a request yet: all have now, or ended");
	assert_int_equal(number_of(event_named("delay"), "silent"), 0);
	assert_int_equal(result.outcome, ROLLOUT_DONE);
}

static void test_run_delay_of_nobody_is_none_and_not_told(void **state)
{
	uint64_t began_ms;

	(void)state;
	be_auto(60000);
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_SETTLING);
	began_ms = clock_monotonic_ms();
	drive_to_end();
	assert_true(clock_monotonic_ms() - began_ms < 30000);
	assert_int_equal(fake(1, 0)->silent_looks, 1);
	assert_steps("start verify shift settle leave drain stop");
}

static void test_run_delay_ends_at_its_deadline(void **state)
{
	(void)state;
	be_auto(60);
	fake(1, 0)->silent = 2;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DELAYING);
	drive_until(run.delay.most > 0);
	fake(1, 0)->silent = 1;
	drive_to_end();
	assert_int_equal(number_of(event_named("delay"), "silent"), 1);
	assert_true(number_of(event_named("delay"), "took_ms") >= 59);
	assert_non_null(strstr(calls, "leave 1.0"));
}

/* If the kernel cannot be asked, nobody would be found as a rule. */
static void test_run_delay_that_cannot_be_judged_is_none(void **state)
{
	(void)state;
	be_auto(60000);
	fake(1, 0)->silent = 2;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_SETTLING);
	fake(1, 0)->ask_error = -EIO;
	drive_until(run.machine.state > ROLLOUT_DELAYING);
	fake(1, 0)->ask_error = 0;
	drive_to_end();
	assert_null(strstr(calls, "delay"));
	assert_steps("start verify shift settle leave drain stop");
}

static void test_run_delay_that_is_fixed_passes_whoever_is_there(void **state)
{
	(void)state;
	old_config.drain.delay_ms = 60;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DELAYING);
	assert_string_equal(run_waits_for(&run), "delay");
	assert_false(run_waits_for_silent(&run));
	assert_string_equal(text_of(event_named("delaying"), "message"),
			    "waiting for 60ms before the drain signal");
	drive_to_end();
	assert_int_equal(fake(1, 0)->silent_looks, 0);
	assert_null(json_object_get(event_named("delay"), "silent"));
	assert_true(number_of(event_named("delay"), "took_ms") >= 59);
}

/* Nothing will be sent to it. */
static void test_run_delay_of_what_stays_is_none(void **state)
{
	(void)state;
	be_auto(60000);
	old_config.drain.wait = DRAIN_WAIT_CONNECTIONS;
	fake(1, 0)->silent = 2;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_int_equal(fake(1, 0)->silent_looks, 0);
}

static void test_run_delay_an_abort_names_the_old_one_again(void **state)
{
	(void)state;
	be_auto(60000);
	fake(1, 0)->silent = 2;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DELAYING);
	drive_until(run.delay.most > 0);
	run_abort(&run, false, "enough");
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_ROLLED_BACK);
	assert_string_equal(result.step, "delay");
	assert_int_equal(fake_there(1, 0)->role, INSTANCE_IN);
}

/* The service is to end: that may take no longer than it may. */
static void test_run_delay_under_way_is_cut_short(void **state)
{
	uint64_t end_ms;

	(void)state;
	be_auto(60000);
	fake(1, 0)->silent = 2;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DELAYING);
	end_ms = clock_monotonic_ms() + 40;
	run_limit_drain(&run, end_ms);
	assert_int_equal(run.deadline_ms, end_ms);
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
}

static void test_run_delay_of_a_shutdown_is_no_longer_than_it(void **state)
{
	(void)state;
	be_auto(60000);
	old_config.drain.shutdown_timeout_ms = 60;
	fake(1, 0)->silent = 1;
	begin_stop(true);
	assert_int_equal(run.machine.policy.old_delay_ms, 60);
	drive_to_end();
	assert_steps("shift delaying delay leave drain stop");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_run_delay_waits_until_all_have_spoken),
		TEST(test_run_delay_of_nobody_is_none_and_not_told),
		TEST(test_run_delay_ends_at_its_deadline),
		TEST(test_run_delay_that_cannot_be_judged_is_none),
		TEST(test_run_delay_that_is_fixed_passes_whoever_is_there),
		TEST(test_run_delay_of_what_stays_is_none),
		TEST(test_run_delay_an_abort_names_the_old_one_again),
		TEST(test_run_delay_under_way_is_cut_short),
		TEST(test_run_delay_of_a_shutdown_is_no_longer_than_it),
	};

	return cmocka_run_group_tests_name("run delay", tests, NULL, NULL);
}
