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
	begin_replace("upgrade");
	assert_int_equal(run.id, 42);
	assert_int_equal(last_rollout, 42);
	assert_string_equal(run.order, "upgrade");
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
	begin_replace("upgrade");
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
	run_begin(
		&run, &host,
		&(struct run_plan){.order = "stop", .id = 17, .old = old, .goes = &old->instances});
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
	begin_replace("restart");
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

static void test_run_replace_tells_each_step(void **state)
{
	(void)state;
	config.instances = 2;
	fake(1, 0)->live = 7;
	fake(1, 0)->cannot_stop = true;
	fake(1, 0)->exit_signal = SIGTERM;
	begin_replace("restart");
	drive_to(ROLLOUT_DRAINING);
	change(fake(1, 0)->live = 0);
	drive_to(ROLLOUT_STOPPING);
	change(fake_stopped(1, 0));
	drive_to_end();
	assert_steps("start verify shift settle leave drain stop");
	assert_step("start", true, "generation 2, pid 200, 201");
	assert_step("verify", true, "GET /: 200 OK (2 in a row)");
	assert_step("shift", true, "new connections go to generation 2");
	assert_step("settle", true, "queue of generation 1 is empty");
	assert_step("leave", true, "generation 1 is out of the group");
	assert_step("drain", true, "7 connections ended");
	assert_step("stop", true, "generation 1 was killed by SIGTERM");
	for (size_t k = 0; k < n_events; k++) {
		const json_t *details = events[k].details;

		assert_int_equal(number_of(details, "rollout"), run.id);
		assert_string_equal(text_of(details, "order"), "restart");
		assert_int_equal(number_of(details, "generation"), 2);
		assert_int_equal(number_of(details, "replaces"), 1);
		assert_true(number_of(details, "took_ms") >= 0);
		assert_true(number_of(details, "elapsed_ms") >= number_of(details, "took_ms"));
	}
	/* The queue had to stay empty for that long. */
	assert_true(number_of(event_named("settle"), "took_ms") >= 20);
	assert_true(number_of(event_named("shift"), "took_ms") < 20);
}

static void test_run_replace_messages_name_what_was_unusual(void **state)
{
	(void)state;
	config.health.kind = HEALTH_KIND_NOTIFY;
	config.rollout.bake_ms = 30;
	have_old(2);
	fake(1, 1)->forced = true;
	for (uint32_t k = 0; k < 2; k++) {
		fake_there(1, k)->killed = true;
		fake(1, k)->exit_signal = SIGKILL;
	}
	begin_replace("restart");
	drive_to_end();
	assert_steps("start verify shift settle bake leave drain stop");
	assert_step("verify", true, "READY=1");
	assert_memory_equal(text_of(event_named("bake"), "message"), "generation 1 stood by for ",
			    26);
	assert_true(number_of(event_named("bake"), "took_ms") >= 29);
	assert_step("leave", true,
		    "generation 1 is out of the group (its listening socket had to be shut down)");
	assert_step("drain", true, "0 connections ended");
	assert_step("stop", true, "generation 1 was killed by SIGKILL (it did not stop by itself)");
}

/* ---- settling ------------------------------------------------------------------------------- */

static void test_run_settle_waits_for_an_empty_queue(void **state)
{
	(void)state;
	fake(1, 0)->queued = 3;
	fake(1, 0)->cannot_leave = true;
	begin_replace("restart");
	drive_until(fake(1, 0)->queue_looks >= 8);
	assert_int_equal(run.machine.state, ROLLOUT_SETTLING);
	assert_int_equal(run.queue_empty_since_ms, 0);
}

static void test_run_settle_wants_the_queue_empty_for_a_while(void **state)
{
	uint64_t empty_ms;

	(void)state;
	fake(1, 0)->queued = 3;
	fake(1, 0)->cannot_leave = true;
	begin_replace("restart");
	drive_to(ROLLOUT_SETTLING);
	/* Not asked to look: it polls. */
	fake(1, 0)->queued = 0;
	drive_until(run.queue_empty_since_ms > 0);
	/* A late handshake begins the wait anew. */
	fake(1, 0)->queued = 1;
	drive_until(run.queue_empty_since_ms == 0);
	assert_int_equal(run.machine.state, ROLLOUT_SETTLING);
	empty_ms = clock_monotonic_ms();
	fake(1, 0)->queued = 0;
	drive_to(ROLLOUT_LEAVING);
	assert_true(clock_monotonic_ms() - empty_ms >= 20);
	assert_step("settle", true, "queue of generation 1 is empty");
}

static void test_run_settle_deadline_goes_on_and_says_what_is_queued(void **state)
{
	(void)state;
	config.rollout.settle_timeout_ms = 40;
	fake(1, 0)->queued = 3;
	begin_replace("restart");
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_step("settle", true, "3 connections still in the queue of generation 1");
	assert_true(number_of(event_named("settle"), "took_ms") >= 39);
}

/* Not being able to ask is not the same as an empty queue. */
static void test_run_settle_deadline_ends_what_cannot_be_asked(void **state)
{
	(void)state;
	config.rollout.settle_timeout_ms = 60;
	fake(1, 0)->ask_error = -ENOBUFS;
	fake(1, 0)->cannot_leave = true;
	begin_replace("restart");
	drive_to(ROLLOUT_LEAVING);
	assert_true(fake(1, 0)->queue_looks >= 3);
	assert_step("settle", true, "the queue of generation 1 could not be read");
	assert_true(number_of(event_named("settle"), "took_ms") >= 59);
}

static void test_run_old_dead_after_the_shift_leaves_at_once(void **state)
{
	(void)state;
	fake(1, 0)->queued = 3;
	fake(1, 0)->cannot_leave = true;
	begin_replace("restart");
	drive_to(ROLLOUT_SETTLING);
	forget_calls();
	change(fake(1, 0)->dead = true);
	drive_to(ROLLOUT_LEAVING);
	assert_calls("steady 2.0 on; commit; publish 2.0; uncheck 1.0; leave 1.0");
	assert_true(run.machine.old_gone);
}

static void test_run_old_dead_while_baking_leaves_at_once(void **state)
{
	(void)state;
	config.rollout.bake_ms = 60000;
	begin_replace("restart");
	drive_to(ROLLOUT_BAKING);
	change(fake(1, 0)->dead = true);
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_true(result.took_ms < FIXTURE_DEADLINE_MS);
}

/* It may be the reason for the restart: the rollout goes on. */
static void test_run_old_dead_before_the_shift_changes_nothing(void **state)
{
	(void)state;
	fake(1, 0)->dead = true;
	fake(2, 0)->not_healthy = true;
	begin_replace("restart");
	drive_to(ROLLOUT_VERIFYING);
	host_poke(&host);
	turn();
	assert_int_equal(run.machine.state, ROLLOUT_VERIFYING);
	change(fake(2, 0)->not_healthy = false);
	drive_to_end();
	assert_int_equal(result.exit, 0);
}

/* ---- leaving and stopping; draining is in test_run_drain.c ---------------------------------- */

static void test_run_leave_deadline_drains_all_the_same(void **state)
{
	(void)state;
	fake(1, 0)->cannot_leave = true;
	begin_replace("restart");
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
	begin_replace("restart");
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

static void test_run_stop_refuses_connections_first(void **state)
{
	(void)state;
	fake(1, 0)->queued = 1;
	begin_stop(false);
	drive_to(ROLLOUT_SETTLING);
	assert_calls("publish nothing backup 1.0; steady 1.0 off");
	change(fake(1, 0)->queued = 0);
	drive_to_end();
	assert_calls("publish nothing; uncheck 1.0; leave 1.0; hook after_drain; stop 1.0; "
		     "done 1.0");
	assert_steps("shift settle leave drain stop");
	assert_step("shift", true, "new connections are refused");
	assert_true(json_is_null(json_object_get(event_named("shift"), "generation")));
	assert_int_equal(number_of(event_named("shift"), "replaces"), 1);
	assert_int_equal(result.generation, 0);
	assert_int_equal(result.replaces, 1);
}

static void test_run_stop_that_cannot_be_published_stops_all_the_same(void **state)
{
	(void)state;
	publish_error = -EIO;
	begin_stop(false);
	drive_to_end();
	assert_calls("publish nothing backup 1.0; steady 1.0 off; publish nothing; uncheck 1.0; "
		     "leave 1.0; hook after_drain; stop 1.0; done 1.0");
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_step("shift", true, "the table could not be published: steer: Input/output error");
}

/* The table names somebody else, who is not asked. */
static void test_run_retire_publishes_nothing(void **state)
{
	(void)state;
	fake(1, 0)->queued = 1;
	fake(1, 0)->live = 1;
	begin_retire();
	assert_string_equal(run.order, "retire");
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

/* What is true of one of them is not said of all. */
static void test_run_stop_tells_each_way_to_end(void **state)
{
	(void)state;
	have_old(4);
	fake(1, 1)->exit_signal = SIGKILL;
	fake_there(1, 1)->killed = true;
	fake(1, 2)->exit_code = 3;
	begin_stop(false);
	drive_to_end();
	assert_step(
		"stop", true,
		"generation 1: 2 exited with status 0, 1 was killed by SIGKILL (it did not stop "
		"by itself), 1 exited with status 3");
}

/* Its main process had ended by itself: what was killed is what it had forked. */
static void test_run_stop_tells_what_was_killed_after_the_server_had_ended(void **state)
{
	(void)state;
	fake_there(1, 0)->killed = true;
	begin_stop(false);
	drive_to_end();
	assert_step("stop", true,
		    "generation 1 exited with status 0 (what it left had to be killed)");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_begin_takes_policies_of_both_and_the_next_number),
		TEST(test_run_begin_of_one_generation_takes_its_policies),
		TEST(test_run_begin_with_a_number_of_its_own_takes_that),
		TEST(test_run_replace_calls_in_order),
		TEST(test_run_replace_tells_each_step),
		TEST(test_run_replace_messages_name_what_was_unusual),
		TEST(test_run_settle_waits_for_an_empty_queue),
		TEST(test_run_settle_wants_the_queue_empty_for_a_while),
		TEST(test_run_settle_deadline_goes_on_and_says_what_is_queued),
		TEST(test_run_settle_deadline_ends_what_cannot_be_asked),
		TEST(test_run_old_dead_after_the_shift_leaves_at_once),
		TEST(test_run_old_dead_while_baking_leaves_at_once),
		TEST(test_run_old_dead_before_the_shift_changes_nothing),
		TEST(test_run_leave_deadline_drains_all_the_same),
		TEST(test_run_stop_deadline_kills),
		TEST(test_run_first_start_serves_without_settling),
		TEST(test_run_stop_refuses_connections_first),
		TEST(test_run_stop_that_cannot_be_published_stops_all_the_same),
		TEST(test_run_retire_publishes_nothing),
		TEST(test_run_retire_of_a_dead_one_does_not_settle),
		TEST(test_run_stop_tells_each_way_to_end),
		TEST(test_run_stop_tells_what_was_killed_after_the_server_had_ended),
	};
#undef TEST

	return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
