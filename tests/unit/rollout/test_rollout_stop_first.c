/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The strategy for servers that cannot run twice.
 */
#include "tests/unit/rollout/rollout_fixture.h"

static void init(struct rollout *r, bool one_way)
{
	struct rollout_policy p = policy_of(ROLLOUT_STOP_FIRST);

	p.one_way = one_way;
	rollout_init(r, &p, 2, 3);
}

static void test_rollout_stop_first_starts_when_the_old_ones_are_gone(void **state)
{
	struct rollout r;

	(void)state;
	init(&r, false);
	expect(&r, ROLLOUT_BEGIN, "no-timer publish:new-2 | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady settle timer:+20 | settle");
	expect(&r, ROLLOUT_SETTLED, "unname leave timer:+40 | leave");
	expect(&r, ROLLOUT_LEFT, "drain timer:+500 | drain");
	expect(&r, ROLLOUT_DRAINED, "stop timer:+60 | stop");
	assert_false(rollout_is_committed(&r));
	assert_false(rollout_is_decided(&r));
	expect(&r, ROLLOUT_STOPPED, "reap start:new:3 timer:+1000 | start");
	expect(&r, ROLLOUT_LISTENING, "verify | verify");
	expect(&r, ROLLOUT_HEALTHY, "no-timer publish:new-0 | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady shifted commit drained no-timer end | ended");
	assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 3);
}

static void test_rollout_stop_first_new_ones_fail_the_old_ones_are_started_again(void **state)
{
	struct rollout r;

	(void)state;
	init(&r, false);
	advance(&r, ROLLOUT_VERIFYING, 1);
	expect(&r, ROLLOUT_NEW_FAILED, "stop timer:+60 undone | stop");
	assert_false(rollout_is_decided(&r));
	expect(&r, ROLLOUT_STOPPED, "reap start:old:2 timer:+1000 | start");
	expect(&r, ROLLOUT_LISTENING, "verify | verify");
	expect(&r, ROLLOUT_HEALTHY, "no-timer publish:old-0 | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady no-timer end | ended");
	assert_ended(&r, ROLLOUT_FAILED, ROLLOUT_INSTANCE_FAILED, 2, 0);
}

/* Its tables could not be published, or it is too late: the same way back. */
static void test_rollout_stop_first_each_failure_goes_the_same_way_back(void **state)
{
	static const struct {
		enum rollout_state at;
		int time;
		enum rollout_event event;
		const char *expected;
	} cases[] = {
		{ROLLOUT_STARTING, 1, ROLLOUT_TIMER, "stop timer:+60 undone | stop"},
		{ROLLOUT_STARTING, 1, ROLLOUT_ABORT, "stop timer:+60 undone | stop"},
		{ROLLOUT_SHIFTING, 2, ROLLOUT_SHIFT_FAILED, "restore stop timer:+60 undone | stop"},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		struct rollout r;

		init(&r, false);
		advance(&r, cases[k].at, cases[k].time);
		expect(&r, cases[k].event, cases[k].expected);
		finish(&r);
		assert_int_equal(r.outcome, ROLLOUT_FAILED);
		assert_int_equal(r.alive[ROLLOUT_OLD], 2);
	}
}

static void test_rollout_stop_first_old_ones_cannot_be_started_again_ends(void **state)
{
	struct rollout r;

	(void)state;
	init(&r, false);
	advance(&r, ROLLOUT_VERIFYING, 1);
	feed(&r, ROLLOUT_NEW_FAILED);
	feed(&r, ROLLOUT_STOPPED);
	expect(&r, ROLLOUT_RESTORE_FAILED, "discard no-timer end | ended");
	assert_ended(&r, ROLLOUT_FAILED, ROLLOUT_INSTANCE_FAILED, 0, 0);
}

static void test_rollout_stop_first_undone_before_anything_has_left_names_the_old_ones(void **state)
{
	struct rollout r;

	(void)state;
	init(&r, false);
	advance(&r, ROLLOUT_SETTLING, 1);
	expect(&r, ROLLOUT_ABORT, "no-timer publish:old-0 undone | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady no-timer end | ended");
	assert_ended(&r, ROLLOUT_FAILED, ROLLOUT_ABORTED, 2, 0);
}

static void test_rollout_stop_first_undone_while_they_go_waits_until_they_are_gone(void **state)
{
	static const enum rollout_state states[] = {ROLLOUT_LEAVING, ROLLOUT_DRAINING,
						    ROLLOUT_STOPPING};

	(void)state;
	for (size_t k = 0; k < sizeof(states) / sizeof(states[0]); k++) {
		struct rollout r;

		init(&r, false);
		advance(&r, states[k], 1);
		feed(&r, ROLLOUT_ABORT);
		assert_int_equal(r.state, states[k]);
		advance(&r, ROLLOUT_STOPPING, 1);
		expect(&r, ROLLOUT_STOPPED, "reap start:old:2 timer:+1000 undone | start");
		finish(&r);
		assert_ended(&r, ROLLOUT_FAILED, ROLLOUT_ABORTED, 2, 0);
	}
}

static void test_rollout_stop_first_quit_starts_nobody(void **state)
{
	struct rollout r;

	(void)state;
	init(&r, false);
	advance(&r, ROLLOUT_DRAINING, 1);
	feed(&r, ROLLOUT_QUIT);
	feed(&r, ROLLOUT_DRAINED);
	expect(&r, ROLLOUT_STOPPED, "reap no-timer end undone | ended");
	assert_ended(&r, ROLLOUT_FAILED, ROLLOUT_ABORTED, 0, 0);
}

/* Of one generation: what has failed would fail again. */
static void test_rollout_stop_first_one_way_starts_nothing_again(void **state)
{
	struct rollout r;

	(void)state;
	init(&r, true);
	advance(&r, ROLLOUT_VERIFYING, 1);
	expect(&r, ROLLOUT_NEW_FAILED, "stop timer:+60 undone | stop");
	expect(&r, ROLLOUT_STOPPED, "reap no-timer end | ended");
	assert_ended(&r, ROLLOUT_FAILED, ROLLOUT_INSTANCE_FAILED, 0, 0);
}

static void test_rollout_stop_first_what_was_killed_is_waited_for_once_more(void **state)
{
	struct rollout r;

	(void)state;
	init(&r, false);
	advance(&r, ROLLOUT_STOPPING, 1);
	expect(&r, ROLLOUT_TIMER, "kill timer:+60 | stop");
	expect(&r, ROLLOUT_TIMER, "kill reap start:new:3 timer:+1000 | start");
	finish(&r);
	assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 3);
}

/* It is not lost: it would have been stopped anyway. */
static void test_rollout_stop_first_old_side_ends_by_itself_can_still_be_undone(void **state)
{
	struct rollout r;

	(void)state;
	init(&r, false);
	advance(&r, ROLLOUT_SETTLING, 1);
	expect(&r, ROLLOUT_OLD_GONE, "unname leave timer:+40 | leave");
	advance(&r, ROLLOUT_VERIFYING, 1);
	assert_true(rollout_can_undo(&r));
	feed(&r, ROLLOUT_NEW_FAILED);
	finish(&r);
	assert_ended(&r, ROLLOUT_FAILED, ROLLOUT_INSTANCE_FAILED, 2, 0);
}

/* On tiers that cannot shift new ones have been reached as soon as they listen. */
static void test_rollout_stop_first_joins_at_once_new_ones_leave_before_they_stop(void **state)
{
	struct rollout_policy p = policy_of(ROLLOUT_STOP_FIRST);
	struct rollout r;

	(void)state;
	p.joins_at_once = true;
	rollout_init(&r, &p, 1, 1);
	advance(&r, ROLLOUT_VERIFYING, 1);
	expect(&r, ROLLOUT_NEW_FAILED, "no-timer publish:old-1 undone | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady settle timer:+20 | settle");
	advance(&r, ROLLOUT_STOPPING, 1);
	expect(&r, ROLLOUT_STOPPED, "reap start:old:1 timer:+1000 | start");
	finish(&r);
	assert_ended(&r, ROLLOUT_FAILED, ROLLOUT_INSTANCE_FAILED, 1, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rollout_stop_first_starts_when_the_old_ones_are_gone),
		cmocka_unit_test(
			test_rollout_stop_first_new_ones_fail_the_old_ones_are_started_again),
		cmocka_unit_test(test_rollout_stop_first_each_failure_goes_the_same_way_back),
		cmocka_unit_test(test_rollout_stop_first_old_ones_cannot_be_started_again_ends),
		cmocka_unit_test(
			test_rollout_stop_first_undone_before_anything_has_left_names_the_old_ones),
		cmocka_unit_test(
			test_rollout_stop_first_undone_while_they_go_waits_until_they_are_gone),
		cmocka_unit_test(test_rollout_stop_first_quit_starts_nobody),
		cmocka_unit_test(test_rollout_stop_first_one_way_starts_nothing_again),
		cmocka_unit_test(test_rollout_stop_first_what_was_killed_is_waited_for_once_more),
		cmocka_unit_test(
			test_rollout_stop_first_old_side_ends_by_itself_can_still_be_undone),
		cmocka_unit_test(
			test_rollout_stop_first_joins_at_once_new_ones_leave_before_they_stop),
	};

	return cmocka_run_group_tests_name("rollout stop-first", tests, NULL, NULL);
}
