/* SPDX-License-Identifier: BSD-2-Clause */
/* Each order and each strategy from its beginning to its end, when all goes well; and deadlines. */
#include "tests/unit/rollout/rollout_fixture.h"

/* ---- strategies ----------------------------------------------------------------------------- */

static void test_rollout_blue_green_replaces_all_at_once(void **state)
{
	struct rollout r;

	(void)state;
	rollout_init(&r, &plain, 4, 3);
	expect(&r, ROLLOUT_BEGIN, "start:new:3 timer:+1000 | start");
	expect(&r, ROLLOUT_LISTENING, "verify | verify");
	expect(&r, ROLLOUT_HEALTHY, "no-timer publish:new-4 | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady shifted settle timer:+20 | settle");
	assert_false(rollout_is_committed(&r));
	expect(&r, ROLLOUT_SETTLED, "commit unname leave timer:+40 | leave");
	assert_true(rollout_is_committed(&r));
	assert_true(rollout_is_decided(&r));
	expect(&r, ROLLOUT_LEFT, "drain timer:+500 | drain");
	expect(&r, ROLLOUT_DRAINED, "drained stop timer:+60 | stop");
	expect(&r, ROLLOUT_STOPPED, "reap no-timer end | ended");
	assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 3);
}

static void test_rollout_blue_green_asking_asks_at_each_point(void **state)
{
	struct rollout_policy p = asking(ROLLOUT_BLUE_GREEN);
	struct rollout r;

	(void)state;
	rollout_init(&r, &p, 2, 2);
	expect(&r, ROLLOUT_BEGIN, "prepare timer:+10 | prepare");
	expect(&r, ROLLOUT_PREPARED, "start:new:2 timer:+1000 | start");
	feed(&r, ROLLOUT_LISTENING);
	expect(&r, ROLLOUT_HEALTHY, "gate:shift timer:+30 | gate");
	expect(&r, ROLLOUT_GATE_PASSED, "no-timer publish:new-2 | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady shifted settle timer:+20 | settle");
	expect(&r, ROLLOUT_SETTLED, "timer:+300 | bake");
	expect(&r, ROLLOUT_TIMER, "gate:leave timer:+30 | gate");
	/* Nothing is told to go before that: the old side still backs the new one up. */
	expect(&r, ROLLOUT_GATE_PASSED, "delay timer:+70 | delay");
	assert_false(rollout_is_committed(&r));
	expect(&r, ROLLOUT_DELAYED, "commit unname leave timer:+40 | leave");
	finish(&r);
	assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 2);
}

static void test_rollout_canary_shifts_step_by_step(void **state)
{
	struct rollout_policy p = policy_of(ROLLOUT_CANARY);
	struct rollout r;

	(void)state;
	p.gates = ROLLOUT_GATE_STEP;
	rollout_init(&r, &p, 4, 4);
	advance(&r, ROLLOUT_VERIFYING, 1);
	expect(&r, ROLLOUT_HEALTHY, "no-timer publish:new-0@5 | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady timer:+70 | hold");
	expect(&r, ROLLOUT_TIMER, "gate:step timer:+30 | gate");
	expect(&r, ROLLOUT_GATE_PASSED, "no-timer publish:new-0@25 | shift");
	/* A manual one: the deadline is that of promoting. */
	expect(&r, ROLLOUT_SHIFTED, "steady wait timer:+4000 | hold");
	expect(&r, ROLLOUT_PROMOTE, "gate:step timer:+30 | gate");
	expect(&r, ROLLOUT_GATE_PASSED, "no-timer publish:new-4 | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady shifted settle timer:+20 | settle");
	expect(&r, ROLLOUT_SETTLED, "commit unname leave timer:+40 | leave");
	finish(&r);
	assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 4);
}

static void test_rollout_canary_promoted_early_goes_to_the_next_step(void **state)
{
	struct rollout_policy p = policy_of(ROLLOUT_CANARY);
	struct rollout r;

	(void)state;
	rollout_init(&r, &p, 2, 2);
	advance(&r, ROLLOUT_DWELLING, 1);
	expect(&r, ROLLOUT_PROMOTE, "no-timer publish:new-0@25 | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady wait timer:+4000 | hold");
}

/* From begin to end: the most that were alive, the fewest in service, and how many cycles it took.
 */
struct course {
	uint32_t most, fewest, cycles;
};

static struct course follow(struct rollout *r)
{
	struct course c = {.fewest = UINT32_MAX};

	for (int n = 0; r->state != ROLLOUT_ENDED; n++) {
		uint32_t all = r->alive[ROLLOUT_OLD] + r->alive[ROLLOUT_NEW];
		uint32_t serving = all - r->victims - r->stale;

		/* While it shifts the batch is being named. */
		if (r->state != ROLLOUT_SHIFTING) {
			serving -= r->batch;
			c.fewest = serving < c.fewest ? serving : c.fewest;
		}
		c.most = all > c.most ? all : c.most;
		c.cycles += r->state == ROLLOUT_LEAVING;
		assert_true(n < 500);
		feed(r, onwards(r));
	}
	return c;
}

static void test_rollout_rolling_surge_one_in_one_out(void **state)
{
	struct rollout_policy p = rolling(1, 0);
	struct rollout r;

	(void)state;
	rollout_init(&r, &p, 4, 4);
	expect(&r, ROLLOUT_BEGIN, "start:new:1 timer:+1000 | start");
	expect(&r, ROLLOUT_LISTENING, "verify | verify");
	expect(&r, ROLLOUT_HEALTHY, "no-timer publish:new-1 | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady settle timer:+20 | settle");
	expect(&r, ROLLOUT_SETTLED, "unname leave timer:+40 | leave");
	assert_false(rollout_is_decided(&r));
	expect(&r, ROLLOUT_LEFT, "drain timer:+500 | drain");
	expect(&r, ROLLOUT_DRAINED, "stop timer:+60 | stop");
	expect(&r, ROLLOUT_STOPPED, "reap start:new:1 timer:+1000 | start");
	advance(&r, ROLLOUT_SHIFTING, 3);
	assert_int_equal(r.alive[ROLLOUT_OLD], 1);
	expect(&r, ROLLOUT_SHIFTED, "steady shifted settle timer:+20 | settle");
	assert_false(rollout_is_committed(&r));
	expect(&r, ROLLOUT_SETTLED, "commit unname leave timer:+40 | leave");
	finish(&r);
	assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 4);
}

static void test_rollout_rolling_unavailable_first_makes_room(void **state)
{
	struct rollout_policy p = rolling(0, 1);
	struct rollout r;

	(void)state;
	rollout_init(&r, &p, 4, 4);
	expect(&r, ROLLOUT_BEGIN, "no-timer publish:new-1 | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady settle timer:+20 | settle");
	assert_false(r.shifted);
	expect(&r, ROLLOUT_SETTLED, "unname leave timer:+40 | leave");
	feed(&r, ROLLOUT_LEFT);
	feed(&r, ROLLOUT_DRAINED);
	expect(&r, ROLLOUT_STOPPED, "reap start:new:1 timer:+1000 | start");
	feed(&r, ROLLOUT_LISTENING);
	expect(&r, ROLLOUT_HEALTHY, "no-timer publish:new-1 | shift");
	feed(&r, ROLLOUT_SHIFTED);
	assert_true(r.shifted);
	finish(&r);
	assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 4);
}

static void test_rollout_rolling_all_sizes_within_bounds(void **state)
{
	(void)state;
	for (uint32_t old = 1; old <= 6; old++)
		for (uint32_t new = 1; new <= 6; new ++)
			for (uint32_t k = 0; k < 16; k++) {
				struct rollout_policy p = rolling(k % 4, k / 4);
				uint32_t larger = old > new ? old : new;
				uint32_t smaller = old < new ? old : new;
				struct rollout r;
				struct course c;

				rollout_init(&r, &p, old, new);
				c = follow(&r);
				assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, new);
				assert_true(r.shifted && r.full && r.committed);
				assert_in_range(c.most, larger, larger + r.policy.max_surge);
				assert_true(c.fewest >= 1);
				assert_true(c.fewest + r.policy.max_unavailable >= smaller);
			}
}

static void test_rollout_rolling_neither_counts_as_a_surge_of_one(void **state)
{
	struct rollout_policy none = rolling(0, 0), unavailable = rolling(0, 1);
	struct rollout r;

	(void)state;
	rollout_init(&r, &none, 4, 4);
	expect(&r, ROLLOUT_BEGIN, "start:new:1 timer:+1000 | start");
	rollout_init(&r, &unavailable, 1, 1);
	expect(&r, ROLLOUT_BEGIN, "start:new:1 timer:+1000 | start");
}

static void test_rollout_rolling_much_larger_new_side_commits_before_the_last_batch(void **state)
{
	struct rollout_policy p = rolling(1, 0);
	struct rollout r;

	(void)state;
	rollout_init(&r, &p, 2, 6);
	expect(&r, ROLLOUT_BEGIN, "start:new:5 timer:+1000 | start");
	feed(&r, ROLLOUT_LISTENING);
	expect(&r, ROLLOUT_HEALTHY, "no-timer publish:new-2 | shift");
	/* No old one has connections any more, although one new one is to come. */
	expect(&r, ROLLOUT_SHIFTED, "steady shifted settle timer:+20 | settle");
	expect(&r, ROLLOUT_SETTLED, "commit unname leave timer:+40 | leave");
	feed(&r, ROLLOUT_LEFT);
	feed(&r, ROLLOUT_DRAINED);
	expect(&r, ROLLOUT_STOPPED, "reap start:new:1 timer:+1000 | start");
	feed(&r, ROLLOUT_LISTENING);
	expect(&r, ROLLOUT_HEALTHY, "no-timer publish:new-0 | shift");
	expect(&r, ROLLOUT_SHIFTED, "steady no-timer end | ended");
	assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 6);
}

static void test_rollout_rolling_last_one_cannot_be_started_done_without(void **state)
{
	static const enum rollout_event reasons[] = {ROLLOUT_NEW_FAILED, ROLLOUT_TIMER,
						     ROLLOUT_QUIT};
	struct rollout_policy p = rolling(1, 0);

	(void)state;
	for (size_t k = 0; k < 3; k++) {
		struct rollout r;

		rollout_init(&r, &p, 2, 6);
		advance(&r, ROLLOUT_STARTING, 2);
		expect(&r, reasons[k], "discard no-timer end | ended");
		assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 5);
		assert_true(r.full);
	}
}

/* ---- orders --------------------------------------------------------------------------------- */

static void test_rollout_first_start_of_each_strategy_names_all_at_once(void **state)
{
	(void)state;
	for (int k = ROLLOUT_BLUE_GREEN; k <= ROLLOUT_CANARY; k++) {
		struct rollout_policy p = policy_of((enum rollout_strategy)k);
		struct rollout r;

		rollout_init(&r, &p, 0, 4);
		assert_false(rollout_is_decided(&r));
		expect(&r, ROLLOUT_BEGIN, "start:new:4 timer:+1000 | start");
		expect(&r, ROLLOUT_LISTENING, "verify | verify");
		expect(&r, ROLLOUT_HEALTHY, "no-timer publish:new-0 | shift");
		expect(&r, ROLLOUT_SHIFTED, "steady shifted commit no-timer end | ended");
		assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 4);
	}
}

static void test_rollout_stop_of_each_strategy_takes_all_at_once(void **state)
{
	(void)state;
	for (int k = ROLLOUT_BLUE_GREEN; k <= ROLLOUT_CANARY; k++) {
		struct rollout_policy p = asking((enum rollout_strategy)k);
		struct rollout r;

		rollout_init(&r, &p, 3, 0);
		assert_true(rollout_is_decided(&r));
		assert_true(rollout_is_committed(&r));
		expect(&r, ROLLOUT_BEGIN, "no-timer publish:new-3 | shift");
		expect(&r, ROLLOUT_SHIFTED, "steady settle timer:+20 | settle");
		expect(&r, ROLLOUT_SETTLED, "delay timer:+70 | delay");
		expect(&r, ROLLOUT_TIMER, "unname leave timer:+40 | leave");
		expect(&r, ROLLOUT_LEFT, "drain timer:+500 | drain");
		expect(&r, ROLLOUT_DRAINED, "drained stop timer:+60 | stop");
		expect(&r, ROLLOUT_STOPPED, "reap no-timer end | ended");
		assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 0);
		assert_false(r.shifted);
	}
}

/* Nobody else is left: they are refused new connections when they have left, and no sooner. */
static void test_rollout_last_is_open_until_it_has_left(void **state)
{
	static const struct {
		enum rollout_event event;
		const char *expected;
	} ends[] = {
		{ROLLOUT_LEFT, "unname drain timer:+500 | drain"},
		{ROLLOUT_TIMER, "unname drain timer:+500 | drain"},
		{ROLLOUT_STOPPED, "unname stop timer:+60 | stop"},
	};
	struct rollout_policy p = asking(ROLLOUT_BLUE_GREEN);

	(void)state;
	p.lasts = true;
	for (size_t k = 0; k < sizeof(ends) / sizeof(ends[0]); k++) {
		struct rollout r;

		rollout_init(&r, &p, 3, 0);
		expect(&r, ROLLOUT_BEGIN, "no-timer publish:new-3 | shift");
		expect(&r, ROLLOUT_SHIFTED, "steady delay timer:+70 | delay");
		expect(&r, ROLLOUT_DELAYED, "leave timer:+40 | leave");
		expect(&r, ends[k].event, ends[k].expected);
		finish(&r);
		assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 0);
	}
}

/* They do not accept any more, though they still listen. */
static void test_rollout_last_turns_deaf_is_refused_at_once(void **state)
{
	struct rollout_policy p = plain;
	struct rollout r;

	(void)state;
	p.lasts = true;
	rollout_init(&r, &p, 2, 0);
	advance(&r, ROLLOUT_LEAVING, 1);
	expect(&r, ROLLOUT_DEAF, "unname | leave");
	expect(&r, ROLLOUT_DEAF, "| leave");
	expect(&r, ROLLOUT_LEFT, "drain timer:+500 | drain");
}

static void test_rollout_last_gone_while_delayed_leaves_at_once(void **state)
{
	struct rollout_policy p = asking(ROLLOUT_BLUE_GREEN);
	struct rollout r;

	(void)state;
	p.lasts = true;
	rollout_init(&r, &p, 2, 0);
	advance(&r, ROLLOUT_DELAYING, 1);
	expect(&r, ROLLOUT_OLD_GONE, "leave timer:+40 | leave");
}

static void test_rollout_retire_publishes_nothing(void **state)
{
	struct rollout r;

	(void)state;
	rollout_init_retire(&r, &plain, 3);
	assert_true(rollout_is_decided(&r));
	expect(&r, ROLLOUT_BEGIN, "settle timer:+20 | settle");
	assert_int_equal(r.victims, 3);
	expect(&r, ROLLOUT_SETTLED, "unname leave timer:+40 | leave");
	finish(&r);
	assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 0);
}

static void test_rollout_old_stays_is_not_told_to_leave(void **state)
{
	struct rollout_policy p = plain;
	struct rollout r;

	(void)state;
	p.old_stays = true;
	rollout_init(&r, &p, 2, 2);
	advance(&r, ROLLOUT_SETTLING, 1);
	expect(&r, ROLLOUT_SETTLED, "commit unname drain timer:+500 | drain");
	expect(&r, ROLLOUT_DRAINED, "drained stop timer:+60 | stop");
}

static void test_rollout_orders_before_the_beginning_end_at_once(void **state)
{
	static const enum rollout_event orders[] = {ROLLOUT_ABORT, ROLLOUT_QUIT};

	(void)state;
	for (size_t k = 0; k < 6; k++) {
		uint32_t old = k % 3 == 0 ? 0 : 2, new = k % 3 == 1 ? 0 : 2;
		struct rollout r;

		rollout_init(&r, &plain, old, new);
		expect(&r, orders[k / 3], "no-timer end undone | ended");
		assert_ended(&r, ROLLOUT_FAILED, ROLLOUT_ABORTED, old, 0);
	}
}

/* ---- gates ---------------------------------------------------------------------------------- */

/* One is asked at @point, for the time that advance() has to count. */
static void init_gate(struct rollout *r, enum rollout_gate point)
{
	struct rollout_policy p = policy_of(ROLLOUT_CANARY);

	p.gates = point;
	rollout_init(r, &p, 2, 2);
	advance(r, ROLLOUT_GATING, 1);
	assert_int_equal(r->point, point);
}

static const enum rollout_gate points[] = {ROLLOUT_GATE_SHIFT, ROLLOUT_GATE_STEP,
					   ROLLOUT_GATE_LEAVE};
static const char *const passed[] = {
	"no-timer publish:new-0@5 | shift",
	"no-timer publish:new-0@25 | shift",
	"commit unname leave timer:+40 | leave",
};
/* Before the shift nobody has reached the new ones. */
static const char *const refused[] = {
	"stop timer:+60 undone | stop",
	"no-timer publish:old-2 undone | shift",
	"no-timer publish:old-2 undone | shift",
};

static void test_rollout_gate_passes_goes_on(void **state)
{
	(void)state;
	for (size_t k = 0; k < 3; k++) {
		struct rollout r;

		init_gate(&r, points[k]);
		expect(&r, ROLLOUT_GATE_PASSED, passed[k]);
	}
}

static void test_rollout_gate_fails_or_does_not_answer_undone(void **state)
{
	(void)state;
	for (size_t k = 0; k < 6; k++) {
		struct rollout r;

		init_gate(&r, points[k % 3]);
		expect(&r, k < 3 ? ROLLOUT_GATE_FAILED : ROLLOUT_TIMER, refused[k % 3]);
		finish(&r);
		assert_ended(&r, k % 3 == 0 ? ROLLOUT_FAILED : ROLLOUT_ROLLED_BACK,
			     ROLLOUT_GATE_REFUSED, 2, 0);
	}
}

static void test_rollout_gate_unsure_waits_for_somebody(void **state)
{
	(void)state;
	for (size_t k = 0; k < 3; k++) {
		struct rollout r;

		init_gate(&r, points[k]);
		expect(&r, ROLLOUT_GATE_UNSURE, "wait timer:+4000 | wait");
		expect(&r, ROLLOUT_GATE_PASSED, "| wait");
		expect(&r, ROLLOUT_PROMOTE, passed[k]);
	}
}

static void test_rollout_gate_unsure_nobody_comes_undone(void **state)
{
	(void)state;
	for (size_t k = 0; k < 3; k++) {
		struct rollout r;

		init_gate(&r, points[k]);
		feed(&r, ROLLOUT_GATE_UNSURE);
		expect(&r, ROLLOUT_TIMER, refused[k]);
		finish(&r);
		assert_int_equal(r.cause, ROLLOUT_NOT_PROMOTED);
	}
}

static void test_rollout_gate_while_asked_old_side_goes_not_waited_for(void **state)
{
	static const char *const expected[] = {
		NULL,
		"no-timer publish:new-2 | shift",
		"commit unname leave timer:+40 | leave",
	};

	(void)state;
	for (size_t k = 0; k < 6; k++) {
		struct rollout r;

		init_gate(&r, points[k % 3]);
		if (k >= 3)
			feed(&r, ROLLOUT_GATE_UNSURE);
		/* Before the first shift its agents start it again. */
		expect(&r, ROLLOUT_OLD_GONE,
		       expected[k % 3] ? expected[k % 3]
		       : k >= 3        ? "| wait"
				       : "| gate");
	}
}

static void test_rollout_gate_of_other_points_is_not_asked(void **state)
{
	struct rollout_policy p = policy_of(ROLLOUT_BLUE_GREEN);
	struct rollout r;

	(void)state;
	p.gates = ROLLOUT_GATE_STEP;
	rollout_init(&r, &p, 2, 2);
	while (r.state != ROLLOUT_ENDED) {
		assert_int_not_equal(r.state, ROLLOUT_GATING);
		feed(&r, onwards(&r));
	}
}

static void test_rollout_rolling_asks_for_each_batch(void **state)
{
	struct rollout_policy p = rolling(1, 0);
	unsigned asked[5] = {0};
	struct rollout r;

	(void)state;
	p.gates = ROLLOUT_GATE_SHIFT | ROLLOUT_GATE_LEAVE;
	rollout_init(&r, &p, 4, 4);
	while (r.state != ROLLOUT_ENDED) {
		if (r.state == ROLLOUT_GATING)
			asked[r.point]++;
		feed(&r, onwards(&r));
	}
	assert_int_equal(asked[ROLLOUT_GATE_SHIFT], 4);
	assert_int_equal(asked[ROLLOUT_GATE_LEAVE], 4);
}

/* ---- deadlines, and what ends earlier ------------------------------------------------------- */

static void test_rollout_settle_deadline_goes_on(void **state)
{
	struct rollout r;

	(void)state;
	rollout_init(&r, &plain, 2, 2);
	advance(&r, ROLLOUT_SETTLING, 1);
	expect(&r, ROLLOUT_TIMER, "commit unname leave timer:+40 | leave");
}

static void test_rollout_bake_promoted_ends(void **state)
{
	struct rollout_policy p = plain;
	struct rollout r;

	(void)state;
	p.bake_ms = 300;
	rollout_init(&r, &p, 2, 2);
	advance(&r, ROLLOUT_BAKING, 1);
	expect(&r, ROLLOUT_PROMOTE, "commit unname leave timer:+40 | leave");
}

static void test_rollout_late_deadlines_pass_ends_all_the_same(void **state)
{
	struct rollout r;

	(void)state;
	rollout_init(&r, &plain, 2, 2);
	advance(&r, ROLLOUT_LEAVING, 1);
	expect(&r, ROLLOUT_TIMER, "drain timer:+500 | drain");
	expect(&r, ROLLOUT_TIMER, "drained stop timer:+60 | stop");
	expect(&r, ROLLOUT_TIMER, "kill reap no-timer end | ended");
	assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 2);
}

static void test_rollout_victims_end_early_are_stopped_at_once(void **state)
{
	struct rollout r;

	(void)state;
	rollout_init(&r, &plain, 2, 2);
	advance(&r, ROLLOUT_LEAVING, 1);
	expect(&r, ROLLOUT_STOPPED, "stop timer:+60 | stop");
	rollout_init(&r, &plain, 2, 2);
	advance(&r, ROLLOUT_DRAINING, 1);
	expect(&r, ROLLOUT_STOPPED, "drained stop timer:+60 | stop");
}

static void test_rollout_old_side_goes_is_not_settled_nor_baked(void **state)
{
	struct rollout_policy p = asking(ROLLOUT_BLUE_GREEN);
	struct rollout r;

	(void)state;
	rollout_init(&r, &p, 2, 2);
	advance(&r, ROLLOUT_SETTLING, 1);
	expect(&r, ROLLOUT_OLD_GONE, "commit unname leave timer:+40 | leave");
	rollout_init(&r, &p, 2, 2);
	advance(&r, ROLLOUT_BAKING, 1);
	expect(&r, ROLLOUT_OLD_GONE, "commit unname leave timer:+40 | leave");
}

/* There is nothing to go back to from the moment on at which it is known. */
static void test_rollout_canary_old_side_goes_all_is_shifted_at_once(void **state)
{
	static const enum rollout_event answers[] = {ROLLOUT_SHIFTED, ROLLOUT_SHIFT_FAILED};
	struct rollout_policy p = asking(ROLLOUT_CANARY);

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct rollout r;

		rollout_init(&r, &p, 2, 2);
		advance(&r, ROLLOUT_DWELLING, 1);
		expect(&r, ROLLOUT_OLD_GONE, "no-timer publish:new-2 | shift");
		expect(&r, answers[k], "steady shifted commit unname leave timer:+40 | leave");
		finish(&r);
		assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 2);
	}
}

static void test_rollout_stop_cannot_be_published_goes_on(void **state)
{
	struct rollout r;

	(void)state;
	rollout_init(&r, &plain, 2, 0);
	feed(&r, ROLLOUT_BEGIN);
	expect(&r, ROLLOUT_SHIFT_FAILED, "steady settle timer:+20 | settle");
	finish(&r);
	assert_ended(&r, ROLLOUT_DONE, ROLLOUT_NO_CAUSE, 0, 0);
}

static void test_rollout_decided_no_sooner_than_nothing_can_change(void **state)
{
	struct rollout_policy p = rolling(1, 0);
	struct rollout r;

	(void)state;
	rollout_init(&r, &p, 2, 2);
	while (r.state != ROLLOUT_ENDED) {
		assert_int_equal(rollout_is_decided(&r), r.committed && r.alive[ROLLOUT_NEW] == 2 &&
								 r.state >= ROLLOUT_LEAVING);
		feed(&r, onwards(&r));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rollout_blue_green_replaces_all_at_once),
		cmocka_unit_test(test_rollout_blue_green_asking_asks_at_each_point),
		cmocka_unit_test(test_rollout_canary_shifts_step_by_step),
		cmocka_unit_test(test_rollout_canary_promoted_early_goes_to_the_next_step),
		cmocka_unit_test(test_rollout_rolling_surge_one_in_one_out),
		cmocka_unit_test(test_rollout_rolling_unavailable_first_makes_room),
		cmocka_unit_test(test_rollout_rolling_all_sizes_within_bounds),
		cmocka_unit_test(test_rollout_rolling_neither_counts_as_a_surge_of_one),
		cmocka_unit_test(
			test_rollout_rolling_much_larger_new_side_commits_before_the_last_batch),
		cmocka_unit_test(test_rollout_rolling_last_one_cannot_be_started_done_without),
		cmocka_unit_test(test_rollout_first_start_of_each_strategy_names_all_at_once),
		cmocka_unit_test(test_rollout_stop_of_each_strategy_takes_all_at_once),
		cmocka_unit_test(test_rollout_last_is_open_until_it_has_left),
		cmocka_unit_test(test_rollout_last_turns_deaf_is_refused_at_once),
		cmocka_unit_test(test_rollout_last_gone_while_delayed_leaves_at_once),
		cmocka_unit_test(test_rollout_retire_publishes_nothing),
		cmocka_unit_test(test_rollout_old_stays_is_not_told_to_leave),
		cmocka_unit_test(test_rollout_orders_before_the_beginning_end_at_once),
		cmocka_unit_test(test_rollout_gate_passes_goes_on),
		cmocka_unit_test(test_rollout_gate_fails_or_does_not_answer_undone),
		cmocka_unit_test(test_rollout_gate_unsure_waits_for_somebody),
		cmocka_unit_test(test_rollout_gate_unsure_nobody_comes_undone),
		cmocka_unit_test(test_rollout_gate_while_asked_old_side_goes_not_waited_for),
		cmocka_unit_test(test_rollout_gate_of_other_points_is_not_asked),
		cmocka_unit_test(test_rollout_rolling_asks_for_each_batch),
		cmocka_unit_test(test_rollout_settle_deadline_goes_on),
		cmocka_unit_test(test_rollout_bake_promoted_ends),
		cmocka_unit_test(test_rollout_late_deadlines_pass_ends_all_the_same),
		cmocka_unit_test(test_rollout_victims_end_early_are_stopped_at_once),
		cmocka_unit_test(test_rollout_old_side_goes_is_not_settled_nor_baked),
		cmocka_unit_test(test_rollout_canary_old_side_goes_all_is_shifted_at_once),
		cmocka_unit_test(test_rollout_stop_cannot_be_published_goes_on),
		cmocka_unit_test(test_rollout_decided_no_sooner_than_nothing_can_change),
	};

	return cmocka_run_group_tests_name("rollout paths", tests, NULL, NULL);
}
