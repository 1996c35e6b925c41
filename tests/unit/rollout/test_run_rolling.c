/* SPDX-License-Identifier: BSD-2-Clause */
/* Rolling: instances are replaced in batches. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/rollout/run_fixture.h"

/* ---- rolling -------------------------------------------------------------------------------- */

static void test_run_rolling_replaces_one_after_the_other(void **state)
{
	(void)state;
	be_rolling(3, 3, 1, 0);
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_calls(
		"start 2.0; check 2.0; publish 1.1,1.2,2.0 backup 1.0; steady 1.0 off; "
		"publish 1.1,1.2,2.0; uncheck 1.0; leave 1.0; stop 1.0; done 1.0; "
		"start 2.1; check 2.1; publish 1.2,2.0,2.1 backup 1.1; steady 1.1 off; "
		"publish 1.2,2.0,2.1; uncheck 1.1; leave 1.1; stop 1.1; done 1.1; "
		"start 2.2; check 2.2; publish 2.0,2.1,2.2 backup 1.2; steady 1.2 off; "
		"hook after_shift; steady 2.0 on; steady 2.1 on; steady 2.2 on; commit; "
		"publish 2.0,2.1,2.2; uncheck 1.2; leave 1.2; hook after_drain; stop 1.2; done 1.2");
	assert_int_equal(fake_instances_most, 4);
	assert_int_equal(fewest_named, 3);
	assert_int_equal(result.exit, 0);
	assert_ptr_equal(current, new);
	assert_int_equal(old->instances.n, 0);
	assert_int_equal(new->instances.n, 3);
}

/* What does not work goes before what does; then the lowest index. */
static void test_run_rolling_sends_away_what_does_not_work_first(void **state)
{
	(void)state;
	be_rolling(4, 4, 1, 0);
	fake(1, 2)->unhealthy = true;
	fake_fail(1, 3, "exited with status 1");
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_non_null(strstr(calls, "publish 1.0,1.1,1.3,2.0 backup 1.2"));
	assert_non_null(strstr(calls, "publish 1.0,1.1,2.0,2.1 backup 1.3"));
	assert_non_null(strstr(calls, "publish 1.1,2.0,2.1,2.2 backup 1.0"));
	assert_non_null(strstr(calls, "publish 2.0,2.1,2.2,2.3 backup 1.1"));
}

/* How often @what is among the calls. */
static unsigned times(const char *what)
{
	unsigned n = 0;

	for (const char *at = calls; (at = strstr(at, what)); at += strlen(what))
		n++;
	return n;
}

static void test_run_rolling_without_surge_makes_room_first(void **state)
{
	(void)state;
	be_rolling(3, 3, 0, 1);
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_memory_equal(calls, "publish 1.1,1.2 backup 1.0; steady 1.0 off; ", 44);
	assert_int_equal(fake_instances_most, 3);
	assert_int_equal(fewest_named, 2);
	assert_int_equal(times("done 1."), 3);
	assert_int_equal(result.exit, 0);
}

static void test_run_rolling_in_batches_keeps_within_both_limits(void **state)
{
	(void)state;
	be_rolling(5, 5, 2, 1);
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_int_equal(fake_instances_most, 7);
	assert_int_equal(fewest_named, 4);
	assert_int_equal(times("start 2."), 5);
	assert_int_equal(times("done 1."), 5);
	assert_int_equal(times("commit"), 1);
	assert_int_equal(times("hook after_shift"), 1);
	assert_int_equal(times("hook after_drain"), 1);
	assert_null(strstr(calls, "done 2."));
}

/* Both could be 0 for one instance only: then one more it is. */
static void test_run_rolling_of_one_instance_starts_the_other_first(void **state)
{
	(void)state;
	be_rolling(1, 1, 0, 1);
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_int_equal(fake_instances_most, 2);
	assert_int_equal(fewest_named, 1);
}

/* Those that have left are started again, in the places of those that did not work. */
static void test_run_rolling_that_fails_starts_the_old_ones_again(void **state)
{
	(void)state;
	be_rolling(3, 3, 1, 0);
	fake(2, 1)->not_listening = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_until(fake(2, 1)->instance);
	assert_null(fake(1, 0)->instance);
	forget_calls();
	change(fake_fail(2, 1, "exited with status 1"));
	drive_to_end();
	assert_calls("publish 1.1,1.2,2.0; hook on_rollback; "
		     "publish 1.1,1.2,2.0; uncheck 2.1; leave 2.1; stop 2.1; done 2.1; "
		     "start 1.0; check 1.0; publish 1.1,1.2,1.0 backup 2.0; steady 1.0 on; "
		     "publish 1.1,1.2,1.0; uncheck 2.0; leave 2.0; stop 2.0; done 2.0");
	assert_int_equal(result.outcome, ROLLOUT_ROLLED_BACK);
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.step, "start");
	assert_string_equal(result.reason, "generation 2: instance 1 exited with status 1");
	assert_int_equal(fake_instances_most, 4);
	assert_int_equal(fewest_named, 3);
	assert_int_equal(old->instances.n, 3);
	assert_int_equal(new->instances.n, 0);
	assert_ptr_equal(current, old);
}

/* Before a new one was ever in service, but with an old one gone to make room. */
static void test_run_rolling_without_surge_that_fails_early_has_failed(void **state)
{
	(void)state;
	be_rolling(3, 3, 0, 1);
	fake(2, 0)->not_listening = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_until(fake(2, 0)->instance);
	change(fake_fail(2, 0, "exited with status 1"));
	forget_calls();
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_FAILED);
	assert_int_equal(times("hook on_failure"), 1);
	assert_int_equal(times("hook on_rollback"), 0);
	assert_string_equal(result.step, "start");
	assert_string_equal(result.reason, "generation 2: instance 0 exited with status 1");
	assert_int_equal(old->instances.n, 3);
	assert_int_equal(new->instances.n, 0);
	for (size_t k = 0; k < 3; k++) {
		assert_int_equal(old->instances.list[k]->role, INSTANCE_IN);
		assert_true(old->instances.list[k]->steady);
	}
}

/* An old one that cannot be had any more is done without; who heals that is the service. */
static void test_run_rolling_back_does_without_what_cannot_be_started(void **state)
{
	(void)state;
	be_rolling(3, 3, 1, 0);
	fake(2, 1)->not_listening = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_until(fake(2, 1)->instance);
	fake(1, 0)->start_error = -EIO;
	forget_calls();
	change(fake_fail(2, 1, "exited with status 1"));
	drive_to_end();
	assert_non_null(strstr(calls, "start 1.0; done 1.0; publish 1.1,1.2 backup 2.0; "));
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.reason, "generation 2: instance 1 exited with status 1");
	assert_int_equal(old->instances.n, 2);
	assert_int_equal(new->instances.n, 0);
}

static void test_run_rolling_back_kills_what_is_not_healthy_in_time(void **state)
{
	(void)state;
	be_rolling(3, 3, 1, 0);
	config.health.start_timeout_ms = 50;
	fake(2, 1)->not_listening = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_until(fake(2, 1)->instance);
	fake(1, 0)->not_healthy = true;
	forget_calls();
	drive_to_end();
	assert_non_null(strstr(calls, "start 1.0; check 1.0; kill 1.0; done 1.0; "));
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.reason, "generation 2 was not running within 50ms");
	assert_int_equal(old->instances.n, 2);
}

/* Those on their way out are seen off first. */
static void test_run_rolling_abort_while_draining_turns_round_afterwards(void **state)
{
	(void)state;
	be_rolling(2, 2, 1, 0);
	fake(1, 0)->live = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	run_abort(&run, false, "aborted by request");
	assert_int_equal(run.machine.state, ROLLOUT_DRAINING);
	forget_calls();
	change(fake(1, 0)->live = 0);
	drive_to_end();
	assert_calls("stop 1.0; done 1.0; publish 1.1,2.0; hook on_rollback; "
		     "start 1.0; check 1.0; publish 1.1,1.0 backup 2.0; steady 1.0 on; "
		     "publish 1.1,1.0; uncheck 2.0; leave 2.0; stop 2.0; done 2.0");
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.reason, "aborted by request");
}

static void test_run_rolling_new_that_fails_while_draining_turns_round_afterwards(void **state)
{
	(void)state;
	be_rolling(2, 2, 1, 0);
	fake(1, 0)->live = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	change(fake_fail(2, 0, "was killed by SIGSEGV"));
	look();
	assert_int_equal(run.machine.state, ROLLOUT_DRAINING);
	/* What is asked for then changes nothing about why. */
	run_abort(&run, false, "aborted by request");
	change(fake(1, 0)->live = 0);
	drive_to_end();
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.reason, "generation 2: instance 0 was killed by SIGSEGV");
	assert_int_equal(old->instances.n, 2);
}

/* Everything is to end: nothing is started only to be stopped. */
static void test_run_rolling_quit_starts_nothing_again(void **state)
{
	(void)state;
	be_rolling(3, 3, 1, 0);
	fake(2, 1)->not_listening = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_until(fake(2, 1)->instance);
	forget_calls();
	run_abort(&run, true, "batond is shutting down");
	drive_to_end();
	assert_null(strstr(calls, "start"));
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.reason, "batond is shutting down");
	assert_int_equal(old->instances.n, 2);
	assert_int_equal(new->instances.n, 0);
}

/* ---- past the point of no return ------------------------------------------------------------ */

/* Both old ones go at once, before the last two new ones are there. */
static void go_past_commit(void)
{
	be_rolling(2, 4, 0, 2);
	fake(2, 2)->not_listening = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_until(fake(2, 3)->instance);
	assert_true(run.machine.committed);
	assert_ptr_equal(current, new);
	forget_calls();
}

static void test_run_committed_batch_that_fails_is_done_without(void **state)
{
	(void)state;
	go_past_commit();
	change(fake_fail(2, 2, "exited with status 1"));
	drive_to_end();
	assert_calls("kill 2.2; kill 2.3; done 2.2; done 2.3");
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_int_equal(result.exit, 0);
	assert_int_equal(new->instances.n, 2);
	assert_int_equal(result.missing, 2);
	assert_result_says("generation 2 serves with 2 of 4 instances, generation 1 is gone; 2 "
			   "instances could not be started");
}

/* What serves already is the service's to heal. */
static void test_run_committed_batch_goes_on_where_another_one_fails(void **state)
{
	(void)state;
	go_past_commit();
	change(fake_fail(2, 0, "exited with status 1"));
	look();
	assert_int_equal(run.machine.state, ROLLOUT_STARTING);
	change(fake_listen(2, 2));
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_int_equal(new->instances.n, 4);
}

static void test_run_committed_batch_is_given_up_when_all_is_to_end(void **state)
{
	(void)state;
	go_past_commit();
	run_abort(&run, true, "batond is shutting down");
	assert_calls("kill 2.2; kill 2.3; done 2.2; done 2.3");
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_string_equal(result.reason, "");
}

static void test_run_committed_abort_is_too_late(void **state)
{
	(void)state;
	go_past_commit();
	run_abort(&run, false, "aborted by request");
	change(fake_listen(2, 2));
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_string_equal(result.reason, "");
	assert_int_equal(new->instances.n, 4);
}

/* They are meant to serve: the service tries again, as soon as anything changes. */
static void test_run_committed_batch_that_cannot_be_published_stays(void **state)
{
	(void)state;
	go_past_commit();
	publish_error = -EIO;
	change(fake_listen(2, 2));
	drive_to_end();
	assert_calls("check 2.2; check 2.3; publish 2.0,2.1,2.2,2.3; steady 2.2 on; steady 2.3 on");
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	for (size_t k = 0; k < 4; k++) {
		assert_int_equal(new->instances.list[k]->role, INSTANCE_IN);
		assert_true(new->instances.list[k]->steady);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_rolling_replaces_one_after_the_other),
		TEST(test_run_rolling_sends_away_what_does_not_work_first),
		TEST(test_run_rolling_without_surge_makes_room_first),
		TEST(test_run_rolling_in_batches_keeps_within_both_limits),
		TEST(test_run_rolling_of_one_instance_starts_the_other_first),
		TEST(test_run_rolling_that_fails_starts_the_old_ones_again),
		TEST(test_run_rolling_without_surge_that_fails_early_has_failed),
		TEST(test_run_rolling_back_does_without_what_cannot_be_started),
		TEST(test_run_rolling_back_kills_what_is_not_healthy_in_time),
		TEST(test_run_rolling_abort_while_draining_turns_round_afterwards),
		TEST(test_run_rolling_new_that_fails_while_draining_turns_round_afterwards),
		TEST(test_run_rolling_quit_starts_nothing_again),
		TEST(test_run_committed_batch_that_fails_is_done_without),
		TEST(test_run_committed_batch_goes_on_where_another_one_fails),
		TEST(test_run_committed_batch_is_given_up_when_all_is_to_end),
		TEST(test_run_committed_abort_is_too_late),
		TEST(test_run_committed_batch_that_cannot_be_published_stays),
	};
#undef TEST

	return cmocka_run_group_tests_name("run rolling", tests, NULL, NULL);
}
