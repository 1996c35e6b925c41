/* SPDX-License-Identifier: BSD-2-Clause */
/* What a rollout sees: queues that are empty, instances that are gone, deadlines. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/rollout/run_fixture.h"

/* ---- settling ------------------------------------------------------------------------------- */

static void test_run_settle_waits_for_an_empty_queue(void **state)
{
	(void)state;
	fake(1, 0)->queued = 3;
	fake(1, 0)->cannot_leave = true;
	begin_replace(RUN_ORDER_RESTART);
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
	begin_replace(RUN_ORDER_RESTART);
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

/* Where the kernel moves what comes late, two looks a millisecond apart are enough. */
static void test_run_settle_is_short_if_late_handshakes_migrate(void **state)
{
	uint64_t began_ms;
	unsigned looks;

	(void)state;
	fake_steer_migrates = true;
	fake(1, 0)->cannot_leave = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_SETTLING);
	began_ms = run.queue_empty_since_ms;
	looks = fake(1, 0)->queue_looks;
	assert_int_equal(looks, 1);
	drive_to(ROLLOUT_LEAVING);
	fake_steer_migrates = false;
	assert_true(clock_monotonic_ms() - began_ms >= 2);
	assert_in_range(fake(1, 0)->queue_looks - looks, 1, 3);
}

/* What is half open there cannot follow to the new ones. */
static void test_run_settle_waits_longer_for_what_cannot_migrate(void **state)
{
	uint64_t empty_ms;

	(void)state;
	fake(1, 0)->competes = true;
	fake(1, 0)->cannot_leave = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_SETTLING);
	empty_ms = clock_monotonic_ms();
	drive_to(ROLLOUT_LEAVING);
	assert_true(clock_monotonic_ms() - empty_ms >= 1100);
	assert_step("settle", true, "queue of generation 1 is empty");
}

static void test_run_settle_deadline_goes_on_and_says_what_is_queued(void **state)
{
	(void)state;
	config.rollout.settle_timeout_ms = 40;
	fake(1, 0)->queued = 3;
	begin_replace(RUN_ORDER_RESTART);
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
	begin_replace(RUN_ORDER_RESTART);
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
	begin_replace(RUN_ORDER_RESTART);
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
	begin_replace(RUN_ORDER_RESTART);
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
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_VERIFYING);
	host_poke(&host);
	turn();
	assert_int_equal(run.machine.state, ROLLOUT_VERIFYING);
	change(fake(2, 0)->not_healthy = false);
	drive_to_end();
	assert_int_equal(result.exit, 0);
}

/* ---- deadlines ------------------------------------------------------------------------------ */

/* Starting and verifying have one deadline together. */
static void test_run_start_timeout_is_not_renewed_by_listening(void **state)
{
	uint64_t before, after;

	(void)state;
	fake(2, 0)->not_listening = fake(2, 0)->not_healthy = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_STARTING);
	assert_int_equal(sd_event_source_get_time(run.timer.source, &before), 0);
	drive_until(clock_monotonic_ms() * 1000 + 5000 * 1000 > before + 2000);
	change(fake_listen(2, 0));
	drive_to(ROLLOUT_VERIFYING);
	assert_int_equal(sd_event_source_get_time(run.timer.source, &after), 0);
	assert_int_equal(before, after);
}

/* What has become true by the deadline, but was not looked at yet, counts. */
static void test_run_start_timeout_looks_once_more(void **state)
{
	(void)state;
	config.health.start_timeout_ms = 30;
	fake(2, 0)->not_healthy = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_VERIFYING);
	fake(2, 0)->not_healthy = false; /* nobody says so */
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_int_equal(result.exit, 0);
}

/* ---- instances that are gone ---------------------------------------------------------------- */

static void test_run_without_any_victim_left_ends(void **state)
{
	(void)state;
	fake(1, 0)->live = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	change(host_remove_instance(&host, fake_there(1, 0)));
	drive_to_end();
	assert_int_equal(result.exit, 0);
	assert_step("stop", true, "nothing was running");
}

static void test_run_whose_batch_is_forgotten_fails(void **state)
{
	(void)state;
	config.instances = 2;
	fake(2, 1)->not_listening = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_STARTING);
	change(host_remove_instance(&host, fake_there(2, 1)));
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "start", "generation 2: not every instance could be made");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_settle_waits_for_an_empty_queue),
		TEST(test_run_settle_wants_the_queue_empty_for_a_while),
		TEST(test_run_settle_is_short_if_late_handshakes_migrate),
		TEST(test_run_settle_waits_longer_for_what_cannot_migrate),
		TEST(test_run_settle_deadline_goes_on_and_says_what_is_queued),
		TEST(test_run_settle_deadline_ends_what_cannot_be_asked),
		TEST(test_run_old_dead_after_the_shift_leaves_at_once),
		TEST(test_run_old_dead_while_baking_leaves_at_once),
		TEST(test_run_old_dead_before_the_shift_changes_nothing),
		TEST(test_run_start_timeout_is_not_renewed_by_listening),
		TEST(test_run_start_timeout_looks_once_more),
		TEST(test_run_without_any_victim_left_ends),
		TEST(test_run_whose_batch_is_forgotten_fails),
	};
#undef TEST

	return cmocka_run_group_tests_name("run look", tests, NULL, NULL);
}
