/* SPDX-License-Identifier: BSD-2-Clause */
/* Rollouts that are undone: where, why, and the way back. */
#include "tests/unit/rollout/rollout_fixture.h"

/* ---- before anything was shifted ------------------------------------------------------------ */

static void test_rollout_undone_while_preparing_ends(void **state)
{
	static const enum rollout_event reasons[] = {ROLLOUT_PREPARE_FAILED, ROLLOUT_TIMER,
						     ROLLOUT_ABORT, ROLLOUT_QUIT};

	(void)state;
	for (size_t k = 0; k < 8; k++) {
		struct rollout_policy p = asking(ROLLOUT_ROLLING);
		uint32_t old = k < 4 ? 3 : 0;
		struct rollout r;

		rollout_init(&r, &p, old, 3);
		feed(&r, ROLLOUT_BEGIN);
		expect(&r, reasons[k % 4], "no-timer end undone | ended");
		assert_ended(&r, ROLLOUT_FAILED,
			     k % 4 < 2 ? ROLLOUT_PREPARE_REFUSED : ROLLOUT_ABORTED, old, 0);
	}
}

static void test_rollout_undone_before_the_shift_new_ones_simply_stop(void **state)
{
	static const struct {
		enum rollout_event event;
		enum rollout_cause cause;
	} reasons[] = {
		{ROLLOUT_NEW_FAILED, ROLLOUT_INSTANCE_FAILED},
		{ROLLOUT_TIMER, ROLLOUT_START_TIMEOUT},
		{ROLLOUT_ABORT, ROLLOUT_ABORTED},
		{ROLLOUT_QUIT, ROLLOUT_ABORTED},
	};

	(void)state;
	for (int strategy = ROLLOUT_BLUE_GREEN; strategy <= ROLLOUT_CANARY; strategy++)
		for (size_t k = 0; k < 16; k++) {
			struct rollout_policy p = policy_of((enum rollout_strategy)strategy);
			uint32_t old = k < 8 ? 4 : 0;
			struct rollout r;

			p.max_surge = 4;
			rollout_init(&r, &p, old, 4);
			advance(&r, k % 2 ? ROLLOUT_VERIFYING : ROLLOUT_STARTING, 1);
			expect(&r, reasons[k / 2 % 4].event, "stop timer:+60 undone | stop");
			assert_true(rollout_victim_is_new(&r));
			assert_true(rollout_is_decided(&r));
			assert_int_equal(r.victims, 4);
			expect(&r, ROLLOUT_STOPPED, "reap no-timer end | ended");
			assert_ended(&r, ROLLOUT_FAILED, reasons[k / 2 % 4].cause, old, 0);
		}
}

static void test_rollout_first_table_cannot_be_published_new_ones_simply_stop(void **state)
{
	(void)state;
	for (int strategy = ROLLOUT_BLUE_GREEN; strategy <= ROLLOUT_CANARY; strategy++)
		for (uint32_t old = 0; old <= 4; old += 4) {
			struct rollout_policy p = policy_of((enum rollout_strategy)strategy);
			struct rollout r;

			p.max_surge = 4;
			rollout_init(&r, &p, old, 4);
			advance(&r, ROLLOUT_SHIFTING, 1);
			expect(&r, ROLLOUT_SHIFT_FAILED, "restore stop timer:+60 undone | stop");
			finish(&r);
			assert_ended(&r, ROLLOUT_FAILED, ROLLOUT_PUBLISH_FAILED, old, 0);
		}
}

/* Without a surge the first table names no new one: there is nothing to be undone yet. */
static void test_rollout_table_that_makes_room_cannot_be_published_ends(void **state)
{
	struct rollout_policy p = rolling(0, 1);
	struct rollout r;

	(void)state;
	rollout_init(&r, &p, 4, 4);
	feed(&r, ROLLOUT_BEGIN);
	expect(&r, ROLLOUT_SHIFT_FAILED, "restore no-timer end undone | ended");
	assert_ended(&r, ROLLOUT_FAILED, ROLLOUT_PUBLISH_FAILED, 4, 0);
}

static void test_rollout_undone_after_making_room_old_ones_are_named_again(void **state)
{
	struct rollout_policy p = rolling(0, 1);
	struct rollout r;

	(void)state;
	rollout_init(&r, &p, 4, 4);
	advance(&r, ROLLOUT_SETTLING, 1);
	expect(&r, ROLLOUT_ABORT, "no-timer publish:old-0 undone | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady no-timer end | ended");
	assert_ended(&r, ROLLOUT_FAILED, ROLLOUT_ABORTED, 4, 0);
}

static void test_rollout_undone_after_room_was_made_old_ones_are_restored(void **state)
{
	struct rollout_policy p = rolling(0, 1);
	struct rollout r;

	(void)state;
	rollout_init(&r, &p, 4, 4);
	advance(&r, ROLLOUT_VERIFYING, 1);
	expect(&r, ROLLOUT_NEW_FAILED, "no-timer publish:old-1 undone | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady settle timer:+20 | settle");
	expect(&r, ROLLOUT_SETTLED, "unname leave timer:+40 | leave");
	expect(&r, ROLLOUT_LEFT, "drain timer:+600 | drain");
	expect(&r, ROLLOUT_DRAINED, "stop timer:+60 | stop");
	expect(&r, ROLLOUT_STOPPED, "reap start:old:1 timer:+1000 | start");
	expect(&r, ROLLOUT_LISTENING, "verify | verify");
	expect(&r, ROLLOUT_HEALTHY, "no-timer publish:old-0 | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady no-timer end | ended");
	/* Nothing had been shifted. */
	assert_ended(&r, ROLLOUT_FAILED, ROLLOUT_INSTANCE_FAILED, 4, 0);
}

/* ---- blue-green and canary, after the shift ------------------------------------------------- */

static const struct {
	enum rollout_event event;
	enum rollout_cause cause;
} against[] = {
	{ROLLOUT_NEW_FAILED, ROLLOUT_INSTANCE_FAILED},
	{ROLLOUT_ABORT, ROLLOUT_ABORTED},
	{ROLLOUT_QUIT, ROLLOUT_ABORTED},
};

static void test_rollout_undone_after_the_shift_old_ones_are_named_first(void **state)
{
	static const struct {
		enum rollout_strategy strategy;
		enum rollout_state state;
		int time;
	} where[] = {
		{ROLLOUT_BLUE_GREEN, ROLLOUT_SETTLING, 1}, {ROLLOUT_BLUE_GREEN, ROLLOUT_BAKING, 1},
		{ROLLOUT_BLUE_GREEN, ROLLOUT_GATING, 2},   {ROLLOUT_CANARY, ROLLOUT_DWELLING, 1},
		{ROLLOUT_CANARY, ROLLOUT_DWELLING, 2},     {ROLLOUT_CANARY, ROLLOUT_GATING, 2},
		{ROLLOUT_CANARY, ROLLOUT_SETTLING, 1},     {ROLLOUT_CANARY, ROLLOUT_BAKING, 1},
		{ROLLOUT_CANARY, ROLLOUT_DELAYING, 1},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(where) / sizeof(where[0]) * 3; k++) {
		struct rollout_policy p = asking(where[k / 3].strategy);
		struct rollout r;

		rollout_init(&r, &p, 4, 3);
		advance(&r, where[k / 3].state, where[k / 3].time);
		expect(&r, against[k % 3].event, "no-timer publish:old-3 undone | shift");
		expect(&r, ROLLOUT_SHIFTED, "steady settle timer:+20 | settle");
		/* Neither baked nor asked, but clients of the new ones are waited for, too. */
		expect(&r, ROLLOUT_SETTLED, "delay timer:+80 | delay");
		expect(&r, ROLLOUT_DELAYED, "unname leave timer:+40 | leave");
		assert_true(rollout_is_decided(&r));
		expect(&r, ROLLOUT_LEFT, "drain timer:+600 | drain");
		expect(&r, ROLLOUT_DRAINED, "stop timer:+60 | stop");
		expect(&r, ROLLOUT_STOPPED, "reap no-timer end | ended");
		assert_ended(&r, ROLLOUT_ROLLED_BACK, against[k % 3].cause, 4, 0);
	}
}

static void test_rollout_canary_not_promoted_goes_back(void **state)
{
	struct rollout_policy p = policy_of(ROLLOUT_CANARY);
	struct rollout r;

	(void)state;
	rollout_init(&r, &p, 2, 2);
	advance(&r, ROLLOUT_DWELLING, 2);
	expect(&r, ROLLOUT_TIMER, "no-timer publish:old-2 undone | shift");
	finish(&r);
	assert_ended(&r, ROLLOUT_ROLLED_BACK, ROLLOUT_NOT_PROMOTED, 2, 0);
}

static void test_rollout_canary_step_cannot_be_published_goes_back(void **state)
{
	struct rollout_policy p = policy_of(ROLLOUT_CANARY);

	(void)state;
	for (int time = 2; time <= 3; time++) {
		struct rollout r;

		rollout_init(&r, &p, 2, 2);
		advance(&r, ROLLOUT_SHIFTING, time);
		expect(&r, ROLLOUT_SHIFT_FAILED, "restore no-timer publish:old-2 undone | shift");
		finish(&r);
		assert_ended(&r, ROLLOUT_ROLLED_BACK, ROLLOUT_PUBLISH_FAILED, 2, 0);
	}
}

static void test_rollout_way_back_cannot_be_published_goes_on(void **state)
{
	struct rollout r;

	(void)state;
	rollout_init(&r, &plain, 2, 2);
	advance(&r, ROLLOUT_SETTLING, 1);
	feed(&r, ROLLOUT_ABORT);
	expect(&r, ROLLOUT_SHIFT_FAILED, "steady settle timer:+20 | settle");
	finish(&r);
	assert_ended(&r, ROLLOUT_ROLLED_BACK, ROLLOUT_ABORTED, 2, 0);
}

static void test_rollout_new_stays_is_not_told_to_leave(void **state)
{
	struct rollout_policy p = plain;
	struct rollout r;

	(void)state;
	p.new_stays = true;
	rollout_init(&r, &p, 2, 2);
	advance(&r, ROLLOUT_SETTLING, 1);
	feed(&r, ROLLOUT_ABORT);
	feed(&r, ROLLOUT_SHIFTED);
	expect(&r, ROLLOUT_SETTLED, "unname drain timer:+600 | drain");
}

static void test_rollout_committed_nothing_turns_it_round(void **state)
{
	static const enum rollout_state states[] = {ROLLOUT_LEAVING, ROLLOUT_DRAINING,
						    ROLLOUT_STOPPING};

	(void)state;
	for (size_t k = 0; k < 9; k++) {
		struct rollout r;

		rollout_init(&r, &plain, 4, 4);
		advance(&r, states[k / 3], 1);
		feed(&r, against[k % 3].event);
		assert_int_equal(r.state, states[k / 3]);
		finish(&r);
		assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 4);
	}
}

static void test_rollout_turned_once_does_not_turn_again(void **state)
{
	struct rollout r;

	(void)state;
	rollout_init(&r, &plain, 2, 2);
	advance(&r, ROLLOUT_SETTLING, 1);
	feed(&r, ROLLOUT_NEW_FAILED);
	feed(&r, ROLLOUT_SHIFTED);
	expect(&r, ROLLOUT_ABORT, "| settle");
	expect(&r, ROLLOUT_NEW_FAILED, "| settle");
	expect(&r, ROLLOUT_OLD_GONE, "| settle");
	finish(&r);
	assert_ended(&r, ROLLOUT_ROLLED_BACK, ROLLOUT_INSTANCE_FAILED, 2, 0);
}

/* ---- rolling -------------------------------------------------------------------------------- */

/* On the way back as on the way there: never too many, never too few. Returns the restored ones. */
static uint32_t follow_back(struct rollout *r, uint32_t least, uint32_t most)
{
	uint32_t restored = 0;

	for (int n = 0; r->state != ROLLOUT_ENDED; n++) {
		uint32_t all = r->alive[ROLLOUT_OLD] + r->alive[ROLLOUT_NEW];

		assert_true(all <= most);
		if (r->state != ROLLOUT_SHIFTING) {
			uint32_t idle = r->batch + r->victims;

			/* The stale ones are the first victims. */
			assert_true(r->stale <= r->victims);
			assert_true(all - idle >= least);
		}
		restored += r->state == ROLLOUT_STARTING ? r->batch : 0;
		assert_true(n < 500);
		feed(r, onwards(r));
	}
	return restored;
}

static void test_rollout_rolling_undone_in_each_batch_restores_what_has_left(void **state)
{
	static const struct {
		enum rollout_state state;
		bool batch; /* one is on trial */
	} where[] = {
		{ROLLOUT_STARTING, true},  {ROLLOUT_VERIFYING, true}, {ROLLOUT_GATING, true},
		{ROLLOUT_SETTLING, false}, {ROLLOUT_BAKING, false},
	};

	(void)state;
	for (int batch = 1; batch <= 4; batch++)
		for (size_t k = 0; k < 5; k++) {
			struct rollout_policy p = rolling(1, 0);
			uint32_t left = (uint32_t)batch - 1;
			struct rollout r;

			p.bake_ms = 300;
			p.gates = ROLLOUT_GATE_SHIFT;
			rollout_init(&r, &p, 4, 4);
			advance(&r, where[k].state, batch);
			assert_int_equal(r.alive[ROLLOUT_OLD], 4 - left);
			feed(&r, ROLLOUT_ABORT);
			assert_true(rollout_victim_is_new(&r));
			assert_int_equal(follow_back(&r, 4, 5), left);
			assert_ended(&r,
				     left > 0 || !where[k].batch ? ROLLOUT_ROLLED_BACK
								 : ROLLOUT_FAILED,
				     ROLLOUT_ABORTED, 4, 0);
		}
}

static void test_rollout_rolling_undone_while_some_leave_turns_when_they_have_stopped(void **state)
{
	static const enum rollout_state states[] = {ROLLOUT_LEAVING, ROLLOUT_DRAINING,
						    ROLLOUT_STOPPING};

	(void)state;
	for (int batch = 1; batch <= 3; batch++)
		for (size_t k = 0; k < 6; k++) {
			struct rollout_policy p = rolling(1, 0);
			struct rollout r;

			rollout_init(&r, &p, 4, 4);
			advance(&r, states[k % 3], batch);
			feed(&r, against[k / 3].event);
			assert_int_equal(r.state, states[k % 3]);
			assert_false(rollout_victim_is_new(&r));
			/* The first reason counts. */
			feed(&r, ROLLOUT_ABORT);
			advance(&r, ROLLOUT_STOPPING, 1);
			feed(&r, ROLLOUT_STOPPED);
			assert_int_equal(r.state, ROLLOUT_SHIFTING);
			assert_true(rollout_victim_is_new(&r));
			assert_int_equal(follow_back(&r, 4, 5), (uint32_t)batch);
			assert_ended(&r, ROLLOUT_ROLLED_BACK, against[k / 3].cause, 4, 0);
		}
}

static void test_rollout_rolling_undone_of_all_sizes_within_bounds(void **state)
{
	(void)state;
	for (uint32_t k = 0; k < 5 * 5 * 16; k++) {
		uint32_t old = 1 + k % 5, new = 1 + k / 5 % 5;
		uint32_t smaller = old < new ? old : new, larger = old < new ? new : old;
		struct rollout_policy p = rolling(k / 25 % 4, k / 100);
		uint32_t least = smaller > p.max_unavailable ? smaller - p.max_unavailable : 1;
		struct rollout base;

		rollout_init(&base, &p, old, new);
		while (base.state != ROLLOUT_ENDED) {
			struct rollout r = base;

			feed(&base, onwards(&base));
			if (r.state == ROLLOUT_IDLE || r.state == ROLLOUT_SHIFTING || r.committed)
				continue;
			feed(&r, ROLLOUT_NEW_FAILED);
			follow_back(&r, least, larger + r.policy.max_surge);
			assert_int_equal(r.alive[r.to], r.wanted[r.to]);
			assert_int_equal(r.alive[rollout_from(&r)], 0);
			assert_int_not_equal(r.outcome, ROLLOUT_DONE);
		}
	}
}

static void test_rollout_rolling_table_cannot_be_published_goes_back(void **state)
{
	struct rollout_policy p = rolling(1, 0);
	struct rollout r;

	(void)state;
	rollout_init(&r, &p, 4, 4);
	advance(&r, ROLLOUT_SHIFTING, 3);
	/* 2 have left, 2 new ones serve, the third is on trial: it goes first. */
	expect(&r, ROLLOUT_SHIFT_FAILED, "restore no-timer publish:old-1 undone | shift");
	assert_int_equal(r.stale, 1);
	finish(&r);
	assert_ended(&r, ROLLOUT_ROLLED_BACK, ROLLOUT_PUBLISH_FAILED, 4, 0);
}

static void test_rollout_restore_fails_done_without(void **state)
{
	static const enum rollout_event reasons[] = {ROLLOUT_RESTORE_FAILED, ROLLOUT_TIMER};

	(void)state;
	for (size_t k = 0; k < 4; k++) {
		struct rollout_policy p = rolling(1, 0);
		struct rollout r;

		rollout_init(&r, &p, 4, 4);
		advance(&r, ROLLOUT_VERIFYING, 4);
		feed(&r, ROLLOUT_NEW_FAILED);
		advance(&r, k < 2 ? ROLLOUT_STARTING : ROLLOUT_VERIFYING, 1);
		assert_int_equal(r.batch, 1);
		/* What serves is not given up before the old ones that are left are named. */
		expect(&r, reasons[k % 2], "discard no-timer publish:old-3 | shift");
		expect(&r, ROLLOUT_SHIFTED, "steady settle timer:+20 | settle");
		finish(&r);
		assert_ended(&r, ROLLOUT_ROLLED_BACK, ROLLOUT_INSTANCE_FAILED, 1, 0);
	}
}

static void test_rollout_last_restored_one_fails_ends(void **state)
{
	struct rollout_policy p = rolling(2, 2);
	struct rollout r;

	(void)state;
	rollout_init(&r, &p, 2, 1);
	advance(&r, ROLLOUT_SETTLING, 1);
	/* The new one is complete with its first batch, and both old ones are victims. */
	assert_int_equal(r.victims, 2);
	feed(&r, ROLLOUT_ABORT);
	finish(&r);
	assert_ended(&r, ROLLOUT_ROLLED_BACK, ROLLOUT_ABORTED, 2, 0);

	p = rolling(0, 1);
	rollout_init(&r, &p, 2, 2);
	advance(&r, ROLLOUT_STARTING, 1);
	feed(&r, ROLLOUT_NEW_FAILED);
	advance(&r, ROLLOUT_STARTING, 1);
	assert_int_equal(r.alive[ROLLOUT_NEW], 0);
	expect(&r, ROLLOUT_RESTORE_FAILED, "discard no-timer end | ended");
	assert_ended(&r, ROLLOUT_FAILED, ROLLOUT_INSTANCE_FAILED, 1, 0);
}

/* An instance of the side that goes is no reason for anything any more. */
static void test_rollout_on_the_way_back_new_ones_may_fail(void **state)
{
	struct rollout_policy p = rolling(1, 0);
	struct rollout r;

	(void)state;
	rollout_init(&r, &p, 4, 4);
	advance(&r, ROLLOUT_SETTLING, 3);
	feed(&r, ROLLOUT_ABORT);
	advance(&r, ROLLOUT_STARTING, 1);
	expect(&r, ROLLOUT_NEW_FAILED, "| start");
	expect(&r, ROLLOUT_ABORT, "| start");
	feed(&r, ROLLOUT_LISTENING);
	expect(&r, ROLLOUT_NEW_FAILED, "| verify");
}

/* ---- quitting ------------------------------------------------------------------------------- */

static void test_rollout_quit_restores_nobody(void **state)
{
	static const enum rollout_state states[] = {ROLLOUT_STARTING, ROLLOUT_SETTLING,
						    ROLLOUT_DRAINING};

	(void)state;
	for (size_t k = 0; k < 3; k++) {
		struct rollout_policy p = rolling(1, 0);
		uint32_t left = states[k] == ROLLOUT_DRAINING ? 3 : 2;
		struct rollout r;

		rollout_init(&r, &p, 4, 4);
		advance(&r, states[k], 3);
		feed(&r, ROLLOUT_QUIT);
		while (r.state != ROLLOUT_ENDED) {
			assert_false(r.state == ROLLOUT_STARTING);
			feed(&r, onwards(&r));
		}
		assert_ended(&r, ROLLOUT_ROLLED_BACK, ROLLOUT_ABORTED, 4 - left, 0);
	}
}

static void test_rollout_quit_while_restoring_gives_up_the_rest(void **state)
{
	static const enum rollout_state states[] = {ROLLOUT_STARTING, ROLLOUT_VERIFYING,
						    ROLLOUT_SETTLING, ROLLOUT_LEAVING,
						    ROLLOUT_STOPPING};

	(void)state;
	for (size_t k = 0; k < 5; k++) {
		struct rollout_policy p = rolling(1, 0);
		struct rollout r;

		rollout_init(&r, &p, 4, 4);
		advance(&r, ROLLOUT_STARTING, 4);
		feed(&r, ROLLOUT_ABORT);
		advance(&r, states[k], 1);
		feed(&r, ROLLOUT_QUIT);
		while (r.state != ROLLOUT_ENDED) {
			assert_false(r.state == ROLLOUT_STARTING);
			feed(&r, onwards(&r));
		}
		assert_ended(&r, ROLLOUT_ROLLED_BACK, ROLLOUT_ABORTED, 1, 0);
	}
}

static void test_rollout_quit_while_the_last_leave_starts_nobody(void **state)
{
	struct rollout_policy p = rolling(1, 0);
	struct rollout r;

	(void)state;
	rollout_init(&r, &p, 2, 6);
	advance(&r, ROLLOUT_DRAINING, 1);
	assert_true(r.committed);
	expect(&r, ROLLOUT_QUIT, "| drain");
	feed(&r, ROLLOUT_DRAINED);
	expect(&r, ROLLOUT_STOPPED, "reap no-timer end | ended");
	assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 5);
}

static void test_rollout_quit_of_a_stop_changes_nothing(void **state)
{
	struct rollout r;

	(void)state;
	rollout_init(&r, &plain, 2, 0);
	advance(&r, ROLLOUT_SETTLING, 1);
	expect(&r, ROLLOUT_QUIT, "| settle");
	expect(&r, ROLLOUT_ABORT, "| settle");
	finish(&r);
	assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rollout_undone_while_preparing_ends),
		cmocka_unit_test(test_rollout_undone_before_the_shift_new_ones_simply_stop),
		cmocka_unit_test(test_rollout_first_table_cannot_be_published_new_ones_simply_stop),
		cmocka_unit_test(test_rollout_table_that_makes_room_cannot_be_published_ends),
		cmocka_unit_test(test_rollout_undone_after_making_room_old_ones_are_named_again),
		cmocka_unit_test(test_rollout_undone_after_room_was_made_old_ones_are_restored),
		cmocka_unit_test(test_rollout_undone_after_the_shift_old_ones_are_named_first),
		cmocka_unit_test(test_rollout_canary_not_promoted_goes_back),
		cmocka_unit_test(test_rollout_canary_step_cannot_be_published_goes_back),
		cmocka_unit_test(test_rollout_way_back_cannot_be_published_goes_on),
		cmocka_unit_test(test_rollout_new_stays_is_not_told_to_leave),
		cmocka_unit_test(test_rollout_committed_nothing_turns_it_round),
		cmocka_unit_test(test_rollout_turned_once_does_not_turn_again),
		cmocka_unit_test(test_rollout_rolling_undone_in_each_batch_restores_what_has_left),
		cmocka_unit_test(
			test_rollout_rolling_undone_while_some_leave_turns_when_they_have_stopped),
		cmocka_unit_test(test_rollout_rolling_undone_of_all_sizes_within_bounds),
		cmocka_unit_test(test_rollout_rolling_table_cannot_be_published_goes_back),
		cmocka_unit_test(test_rollout_restore_fails_done_without),
		cmocka_unit_test(test_rollout_last_restored_one_fails_ends),
		cmocka_unit_test(test_rollout_on_the_way_back_new_ones_may_fail),
		cmocka_unit_test(test_rollout_quit_restores_nobody),
		cmocka_unit_test(test_rollout_quit_while_restoring_gives_up_the_rest),
		cmocka_unit_test(test_rollout_quit_while_the_last_leave_starts_nobody),
		cmocka_unit_test(test_rollout_quit_of_a_stop_changes_nothing),
	};

	return cmocka_run_group_tests_name("rollout turn", tests, NULL, NULL);
}
