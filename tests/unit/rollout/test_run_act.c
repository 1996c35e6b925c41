/* SPDX-License-Identifier: BSD-2-Clause */
/* How a rollout carries out what its machine has decided. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/rollout/run_fixture.h"

/* ---- starting ------------------------------------------------------------------------------- */

/* What the agent cannot even begin is the instance's failure. */
static void test_run_start_that_returns_an_error_fails_by_the_instance(void **state)
{
	(void)state;
	fake(2, 0)->start_error = -ENOENT;
	begin_start();
	drive_to_end();
	assert_int_equal(result.exit, 8);
	assert_int_equal(result.replaces, 0);
	assert_string_equal(result.reason,
			    "generation 2: instance 0 agent: No such file or directory");
	assert_calls("start 2.0; hook on_failure; done 2.0");
}

static void test_run_failed_start_that_does_not_stop_is_killed(void **state)
{
	(void)state;
	fake(2, 0)->not_listening = fake(2, 0)->cannot_stop = true;
	begin_replace(RUN_ORDER_RESTART);
	run.machine.policy.stop_timeout_ms = 30;
	drive_to(ROLLOUT_STARTING);
	fail_new("exited with status 1");
	drive_to_end();
	assert_calls("start 2.0; stop 2.0; hook on_failure; kill 2.0; done 2.0");
	assert_int_equal(result.exit, 3);
}

/* No more fit into a generation, where some of an earlier rollout are still on their way out. */
static void test_run_without_room_for_its_instances_fails(void **state)
{
	(void)state;
	have_old(INSTANCES_MAX);
	begin_partial(RUN_ORDER_SCALE, 1, (struct instances){});
	drive_to_end();
	assert_calls("");
	assert_int_equal(result.exit, 3);
	assert_string_equal(result.reason, "generation 1: not every instance could be made");
}

/* ---- publishing ----------------------------------------------------------------------------- */

static void test_run_shift_that_cannot_be_published_stops_the_new(void **state)
{
	(void)state;
	publish_error = -EIO;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "shift", "steer: Input/output error");
	assert_steps("start verify shift stop");
	/* Nobody keeps a table that names the new one, and the old one is still the steady one. */
	assert_calls("start 2.0; check 2.0; publish 2.0 backup 1.0; publish 1.0; stop 2.0; "
		     "hook on_failure; done 2.0");
	assert_true(fake_there(1, 0)->steady);
	assert_int_equal(fake_there(1, 0)->role, INSTANCE_IN);
}

/* A server may have closed one of them since it was started. */
static void test_run_shift_without_every_socket_is_not_published(void **state)
{
	(void)state;
	sockets_error = -ENOENT;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "shift", "sockets: No such file or directory");
	assert_calls("start 2.0; check 2.0; publish 1.0; stop 2.0; hook on_failure; done 2.0");
}

static void test_run_new_fails_after_the_old_was_told_to_leave_goes_on(void **state)
{
	(void)state;
	fake(1, 0)->live = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	fail_new("exited with status 1");
	turn();
	assert_int_equal(run.machine.state, ROLLOUT_DRAINING);
	change(fake(1, 0)->live = 0);
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_string_equal(result.reason, "");
}

static void test_run_leave_goes_on_where_the_last_table_is_refused(void **state)
{
	(void)state;
	fake(1, 0)->queued = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_SETTLING);
	publish_error = -EIO;
	change(fake(1, 0)->queued = 0);
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_non_null(strstr(calls, "leave 1.0"));
}

static void test_run_stop_that_cannot_be_published_stops_all_the_same(void **state)
{
	(void)state;
	publish_error = -EIO;
	begin_stop(false);
	drive_to_end();
	assert_calls("publish nothing backup 1.0; steady 1.0 off; leave 1.0; publish nothing; "
		     "uncheck 1.0; hook after_drain; stop 1.0; done 1.0");
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_step("shift", true, "the table could not be published: steer: Input/output error");
}

/* ---- leaving and stopping ------------------------------------------------------------------- */

static void test_run_leave_deadline_drains_all_the_same(void **state)
{
	(void)state;
	fake(1, 0)->cannot_leave = true;
	begin_replace(RUN_ORDER_RESTART);
	run.machine.policy.leave_timeout_ms = 30;
	drive_to_end();
	assert_int_equal(result.exit, 0);
	assert_step("leave", true, "generation 1 did not say in time that it has left");
	assert_true(number_of(event_named("leave"), "took_ms") >= 29);
}

static void test_run_stop_deadline_kills(void **state)
{
	(void)state;
	fake(1, 0)->cannot_stop = true;
	begin_replace(RUN_ORDER_RESTART);
	run.machine.policy.stop_timeout_ms = 30;
	drive_to(ROLLOUT_STOPPING);
	assert_false(ended);
	forget_calls();
	drive_to_end();
	assert_calls("kill 1.0; done 1.0");
	assert_step("stop", true, "generation 1 was killed by SIGKILL (it did not stop by itself)");
	assert_true(number_of(event_named("stop"), "took_ms") >= 29);
	assert_int_equal(result.exit, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_start_that_returns_an_error_fails_by_the_instance),
		TEST(test_run_failed_start_that_does_not_stop_is_killed),
		TEST(test_run_without_room_for_its_instances_fails),
		TEST(test_run_shift_that_cannot_be_published_stops_the_new),
		TEST(test_run_shift_without_every_socket_is_not_published),
		TEST(test_run_new_fails_after_the_old_was_told_to_leave_goes_on),
		TEST(test_run_leave_goes_on_where_the_last_table_is_refused),
		TEST(test_run_stop_that_cannot_be_published_stops_all_the_same),
		TEST(test_run_leave_deadline_drains_all_the_same),
		TEST(test_run_stop_deadline_kills),
	};
#undef TEST

	return cmocka_run_group_tests_name("run act", tests, NULL, NULL);
}
