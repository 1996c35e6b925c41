/* SPDX-License-Identifier: BSD-2-Clause */
/* Rollouts that reach what was asked for, and what is told of their steps. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/rollout/run_fixture.h"

/* ---- beginning ------------------------------------------------------------------------------ */

static void test_run_begin_takes_policies_of_both_and_the_next_number(void **state)
{
	const struct rollout_policy *policy = &run.machine.policy;

	(void)state;
	last_rollout = 41;
	config.health.start_timeout_ms = 11;
	config.rollout = (struct rollout_config){
		.bake_ms = 12, .settle_timeout_ms = 13, .promote_timeout_ms = 17};
	config.drain = (struct drain_config){
		.timeout_ms = 91, .kill_timeout_ms = 92, .leave_timeout_ms = 93};
	old_config.health.start_timeout_ms = 94;
	old_config.rollout = (struct rollout_config){.bake_ms = 95, .settle_timeout_ms = 96};
	old_config.drain = (struct drain_config){
		.timeout_ms = 14, .kill_timeout_ms = 15, .leave_timeout_ms = 16};
	begin_replace(RUN_ORDER_UPGRADE);
	assert_int_equal(run.id, 42);
	assert_int_equal(last_rollout, 42);
	assert_int_equal(run.order, RUN_ORDER_UPGRADE);
	assert_ptr_equal(run.new, new);
	assert_ptr_equal(run.old, old);
	/* How the old one drains was said when it was started. */
	assert_int_equal(policy->start_timeout_ms, 11);
	assert_int_equal(policy->bake_ms, 12);
	assert_int_equal(policy->settle_timeout_ms, 13);
	assert_int_equal(policy->promote_timeout_ms, 17);
	assert_int_equal(policy->old_drain_timeout_ms, 14);
	assert_int_equal(policy->new_drain_timeout_ms, 91);
	/* Either may have to leave and stop: whoever may take longer counts. */
	assert_int_equal(policy->stop_timeout_ms, 92 + 5000);
	assert_int_equal(policy->leave_timeout_ms, 93 + 5000);
	/* Nothing is done before the loop is back on top. */
	assert_true(poked);
	assert_int_equal(run.machine.state, ROLLOUT_IDLE);
	assert_calls("");
	assert_int_equal(n_events, 0);
	old_config.drain.kill_timeout_ms = 102;
	old_config.drain.leave_timeout_ms = 103;
	begin_replace(RUN_ORDER_UPGRADE);
	assert_int_equal(policy->stop_timeout_ms, 102 + 5000);
	assert_int_equal(policy->leave_timeout_ms, 103 + 5000);
}

static void test_run_begin_of_one_generation_takes_its_policies(void **state)
{
	(void)state;
	config.drain.timeout_ms = 21;
	old_config.drain.timeout_ms = 22;
	old_config.drain.shutdown_timeout_ms = 24;
	old_config.rollout.settle_timeout_ms = 23;
	begin_stop(false);
	assert_int_equal(run.machine.policy.old_drain_timeout_ms, 22);
	assert_int_equal(run.machine.policy.settle_timeout_ms, 23);
	assert_false(run.machine.has_new);
	assert_true(run.machine.has_old);
	assert_false(run.machine.retire);
	begin_stop(true);
	assert_int_equal(run.machine.policy.old_drain_timeout_ms, 24);
	begin_start();
	assert_int_equal(run.machine.policy.new_drain_timeout_ms, 21);
	assert_true(run.machine.has_new);
	assert_false(run.machine.has_old);
}

/* The number has been told already, for an order that had to wait. */
static void test_run_begin_with_a_number_of_its_own_takes_that(void **state)
{
	(void)state;
	last_rollout = 41;
	run_begin(&run, &host,
		  &(struct run_plan){
			  .order = RUN_ORDER_STOP, .id = 17, .old = old, .goes = &old->instances});
	assert_int_equal(run.id, 17);
	assert_int_equal(last_rollout, 41);
}

/* ---- replacing ------------------------------------------------------------------------------ */

/* Everything that waits has to be told to go on. */
static void test_run_replace_calls_in_order(void **state)
{
	(void)state;
	fake(2, 0)->not_listening = fake(2, 0)->not_healthy = true;
	fake(1, 0)->queued = 2;
	fake(1, 0)->live = 7;
	fake(1, 0)->cannot_leave = fake(1, 0)->cannot_stop = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_STARTING);
	assert_calls("start 2.0");
	change(fake_listen(2, 0));
	drive_to(ROLLOUT_VERIFYING);
	assert_calls("check 2.0");
	change(fake(2, 0)->not_healthy = false);
	drive_to(ROLLOUT_SETTLING);
	assert_calls("publish 2.0 backup 1.0; steady 1.0 off; hook after_shift");
	assert_ptr_equal(current, old);
	change(fake(1, 0)->queued = 0);
	drive_to(ROLLOUT_LEAVING);
	assert_calls("steady 2.0 on; commit; publish 2.0; uncheck 1.0; leave 1.0");
	assert_ptr_equal(current, new);
	change(fake_left(1, 0));
	drive_to(ROLLOUT_DRAINING);
	assert_calls("");
	change(fake(1, 0)->live = 0);
	drive_to(ROLLOUT_STOPPING);
	assert_calls("hook after_drain; stop 1.0");
	assert_false(ended);
	change(fake_stopped(1, 0));
	drive_to_end();
	assert_calls("done 1.0");
	assert_int_equal(result.exit, 0);
}

/* ---- the other orders ----------------------------------------------------------------------- */

static void test_run_first_start_serves_without_settling(void **state)
{
	(void)state;
	current = NULL;
	begin_start();
	drive_to_end();
	assert_calls("start 2.0; check 2.0; publish 2.0; steady 2.0 on; hook after_shift; commit");
	assert_steps("start verify shift");
	assert_step("shift", true, "new connections go to generation 2");
	assert_true(json_is_null(json_object_get(event_named("start"), "replaces")));
	assert_int_equal(result.generation, 2);
	assert_int_equal(result.replaces, 0);
	assert_int_equal(result.exit, 0);
}

/* Nobody else could take them: the table of a service makes primaries of the last backups. */
static void test_run_stop_refuses_connections_when_all_have_left(void **state)
{
	(void)state;
	fake(1, 0)->cannot_leave = true;
	begin_stop(false);
	drive_to(ROLLOUT_LEAVING);
	assert_calls("publish nothing backup 1.0; steady 1.0 off; leave 1.0");
	change(fake_left(1, 0));
	drive_to_end();
	assert_calls("publish nothing; uncheck 1.0; hook after_drain; stop 1.0; done 1.0");
	assert_steps("shift leave drain stop");
	assert_step("shift", true, "new connections go to generation 1 until it has left");
	assert_step("leave", true, "generation 1 is out of the group, new connections are refused");
	assert_true(json_is_null(json_object_get(event_named("shift"), "generation")));
	assert_int_equal(number_of(event_named("shift"), "replaces"), 1);
	assert_int_equal(result.generation, 0);
	assert_int_equal(result.replaces, 1);
}

/* Its sockets are open, but it has stopped accepting: what comes would wait in vain. */
static void test_run_stop_refuses_connections_of_one_that_accepts_no_more(void **state)
{
	(void)state;
	fake(1, 0)->cannot_leave = true;
	fake(1, 0)->queued = 1;
	begin_stop(false);
	drive_to(ROLLOUT_LEAVING);
	assert_calls("publish nothing backup 1.0; steady 1.0 off; leave 1.0");
	/* Not asked to look: it polls. A queue that is empty once is accepted from. */
	drive_until(run.deaf_since_ms > 0);
	fake(1, 0)->queued = 0;
	drive_until(run.deaf_since_ms == 0);
	assert_true(run.machine.open);
	fake(1, 0)->queued = 1;
	drive_until(!run.machine.open);
	assert_int_equal(run.machine.state, ROLLOUT_LEAVING);
	assert_calls("publish nothing; uncheck 1.0");
	change(fake_left(1, 0));
	drive_to_end();
	assert_calls("hook after_drain; stop 1.0; done 1.0");
}

/* It cannot drain: only when new connections are refused can its own end. */
static void test_run_stop_of_what_stays_refuses_connections_first(void **state)
{
	(void)state;
	old_config.drain.wait = DRAIN_WAIT_CONNECTIONS;
	fake(1, 0)->queued = 1;
	begin_stop(false);
	drive_to(ROLLOUT_SETTLING);
	assert_calls("publish nothing backup 1.0; steady 1.0 off");
	change(fake(1, 0)->queued = 0);
	drive_to_end();
	assert_calls("publish nothing; uncheck 1.0; hook after_drain; stop 1.0; done 1.0");
	assert_step("shift", true, "new connections are refused");
}

/* The table names somebody else, who is not asked. */
static void test_run_retire_publishes_nothing(void **state)
{
	(void)state;
	fake(1, 0)->queued = 1;
	fake(1, 0)->live = 1;
	begin_retire();
	assert_int_equal(run.order, RUN_ORDER_RETIRE);
	drive_to(ROLLOUT_SETTLING);
	assert_calls("");
	change(fake(1, 0)->queued = 0);
	drive_to(ROLLOUT_DRAINING);
	assert_calls("uncheck 1.0; leave 1.0");
	change(fake(1, 0)->live = 0);
	drive_to_end();
	assert_calls("hook after_drain; stop 1.0; done 1.0");
	assert_steps("settle leave drain stop");
	assert_int_equal(result.exit, 0);
}

static void test_run_retire_of_a_dead_one_does_not_settle(void **state)
{
	(void)state;
	fake(1, 0)->queued = 1;
	fake(1, 0)->dead = true;
	begin_retire();
	drive_to_end();
	assert_calls("uncheck 1.0; leave 1.0; hook after_drain; stop 1.0; done 1.0");
	assert_true(result.took_ms < 5000);
}

/* ---- promoting, and the end ----------------------------------------------------------------- */

static void test_run_promote_ends_the_bake(void **state)
{
	(void)state;
	config.rollout.bake_ms = 60000;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_BAKING);
	assert_true(run_can_promote(&run));
	run_promote(&run);
	drive_to_end();
	assert_int_equal(result.exit, 0);
}

static void test_run_done_ends_timers_and_clears(void **state)
{
	(void)state;
	fake(1, 0)->live = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	assert_non_null(run.timer.source);
	assert_non_null(run.poll.source);
	run_done(&run);
	assert_int_equal(run.id, 0);
	assert_null(run.timer.source);
	run_done(&run);
	poked = false;
	forget_calls();
	assert_int_equal(sd_event_run(context.event, 60 * 1000), 0); /* longer than a poll */
	assert_false(poked);
	assert_calls("");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_begin_takes_policies_of_both_and_the_next_number),
		TEST(test_run_begin_of_one_generation_takes_its_policies),
		TEST(test_run_begin_with_a_number_of_its_own_takes_that),
		TEST(test_run_replace_calls_in_order),
		TEST(test_run_first_start_serves_without_settling),
		TEST(test_run_stop_refuses_connections_when_all_have_left),
		TEST(test_run_stop_refuses_connections_of_one_that_accepts_no_more),
		TEST(test_run_stop_of_what_stays_refuses_connections_first),
		TEST(test_run_retire_publishes_nothing),
		TEST(test_run_retire_of_a_dead_one_does_not_settle),
		TEST(test_run_promote_ends_the_bake),
		TEST(test_run_done_ends_timers_and_clears),
	};
#undef TEST

	return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
