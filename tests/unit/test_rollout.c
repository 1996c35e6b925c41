/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tests/unit/rollout_fixture.h"

static bool has_action(const struct rollout_actions *a, enum rollout_action_type type)
{
	for (size_t k = 0; k < a->n; k++)
		if (a->list[k].type == type)
			return true;
	return false;
}

/* ---- every cell of the table ---------------------------------------------------------------- */

/*
 * What a replacement (old and new, bake configured, nothing undone yet) does in each state at each
 * event: the state it is in afterwards. -1: the event is ignored.
 */
#define IGNORED -1
static const int replace_cells[_ROLLOUT_STATE_COUNT][_ROLLOUT_EVENT_COUNT] = {
	[ROLLOUT_IDLE] =
		{
			ROLLOUT_STARTING,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			ROLLOUT_ENDED,
			IGNORED,
		},
	[ROLLOUT_STARTING] =
		{
			IGNORED,
			ROLLOUT_VERIFYING,
			IGNORED,
			ROLLOUT_STOPPING,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			ROLLOUT_STOPPING,
			ROLLOUT_STOPPING,
		},
	[ROLLOUT_VERIFYING] =
		{
			IGNORED,
			IGNORED,
			ROLLOUT_SHIFTING,
			ROLLOUT_STOPPING,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			ROLLOUT_STOPPING,
			ROLLOUT_STOPPING,
		},
	[ROLLOUT_SHIFTING] =
		{
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			ROLLOUT_SETTLING,
			ROLLOUT_STOPPING,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
		},
	[ROLLOUT_SETTLING] =
		{
			IGNORED,
			IGNORED,
			IGNORED,
			ROLLOUT_SHIFTING,
			ROLLOUT_LEAVING,
			IGNORED,
			IGNORED,
			ROLLOUT_BAKING,
			IGNORED,
			IGNORED,
			IGNORED,
			ROLLOUT_SHIFTING,
			ROLLOUT_BAKING,
		},
	[ROLLOUT_BAKING] =
		{
			IGNORED,
			IGNORED,
			IGNORED,
			ROLLOUT_SHIFTING,
			ROLLOUT_LEAVING,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			ROLLOUT_SHIFTING,
			ROLLOUT_LEAVING,
		},
	[ROLLOUT_LEAVING] =
		{
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			ROLLOUT_DRAINING,
			IGNORED,
			ROLLOUT_STOPPING,
			IGNORED,
			ROLLOUT_DRAINING,
		},
	[ROLLOUT_DRAINING] =
		{
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			ROLLOUT_STOPPING,
			ROLLOUT_STOPPING,
			IGNORED,
			ROLLOUT_STOPPING,
		},
	[ROLLOUT_STOPPING] =
		{
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			ROLLOUT_ENDED,
			IGNORED,
			ROLLOUT_ENDED,
		},
	[ROLLOUT_ENDED] =
		{
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
			IGNORED,
		},
};

/* The shortest way into each state of a replacement that goes well. */
static void walk_to(struct rollout *r, enum rollout_state state)
{
	static const enum rollout_event path[] = {
		ROLLOUT_BEGIN,   ROLLOUT_NEW_LISTENING, ROLLOUT_NEW_HEALTHY,
		ROLLOUT_SHIFTED, ROLLOUT_SETTLED,       ROLLOUT_TIMER,
		ROLLOUT_LEFT,    ROLLOUT_DRAINED,       ROLLOUT_STOPPED,
	};
	struct rollout_actions actions;

	for (size_t k = 0; r->state != state; k++) {
		assert_true(k < sizeof(path) / sizeof(path[0]));
		rollout_step(r, path[k], 0, &actions);
	}
}

static void test_rollout_every_cell_goes_where_the_table_says(void **state)
{
	(void)state;
	for (int s = 0; s < _ROLLOUT_STATE_COUNT; s++) {
		for (int e = 0; e < _ROLLOUT_EVENT_COUNT; e++) {
			struct rollout_actions actions;
			struct rollout r, before;
			int want = replace_cells[s][e];

			init(&r, REPLACE);
			walk_to(&r, (enum rollout_state)s);
			before = r;
			rollout_step(&r, (enum rollout_event)e, 7, &actions);
			if (want == IGNORED) {
				if (memcmp(&r, &before, sizeof(r)) != 0 || actions.n != 0)
					fail_msg("%s at %s is not ignored",
						 rollout_event_name((enum rollout_event)e),
						 rollout_state_name((enum rollout_state)s));
			} else if ((int)r.state != want) {
				fail_msg("%s at %s: %s, expected %s",
					 rollout_event_name((enum rollout_event)e),
					 rollout_state_name((enum rollout_state)s),
					 rollout_state_name(r.state),
					 rollout_state_name((enum rollout_state)want));
			}
		}
	}
}

/* ---- what is done on the way ---------------------------------------------------------------- */

static void expect(struct rollout *r, enum rollout_event event, uint64_t now_ms,
		   const enum rollout_action_type *want, size_t n)
{
	struct rollout_actions actions;

	rollout_step(r, event, now_ms, &actions);
	assert_int_equal(actions.n, n);
	for (size_t k = 0; k < n; k++)
		assert_int_equal(actions.list[k].type, want[k]);
}
#define EXPECT(r, event, now, ...)                                                                 \
	expect(r, event, now, (const enum rollout_action_type[]){__VA_ARGS__},                     \
	       sizeof((const enum rollout_action_type[]){__VA_ARGS__}) /                           \
		       sizeof(enum rollout_action_type))

static void test_rollout_replace_done_acts_in_order(void **state)
{
	struct rollout r;

	(void)state;
	init(&r, REPLACE);
	EXPECT(&r, ROLLOUT_BEGIN, 0, ROLLOUT_DO_START, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_NEW_LISTENING, 0, ROLLOUT_DO_VERIFY);
	EXPECT(&r, ROLLOUT_NEW_HEALTHY, 0, ROLLOUT_DO_PUBLISH_NEW);
	assert_false(rollout_is_committed(&r));
	EXPECT(&r, ROLLOUT_SHIFTED, 0, ROLLOUT_DO_SETTLE, ROLLOUT_DO_TIMER);
	assert_true(r.shifted);
	EXPECT(&r, ROLLOUT_SETTLED, 0, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_TIMER, 0, ROLLOUT_DO_COMMIT, ROLLOUT_DO_UNNAME, ROLLOUT_DO_LEAVE,
	       ROLLOUT_DO_TIMER);
	assert_true(rollout_is_committed(&r));
	EXPECT(&r, ROLLOUT_LEFT, 0, ROLLOUT_DO_DRAIN, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_DRAINED, 0, ROLLOUT_DO_STOP, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_STOPPED, 0, ROLLOUT_DO_END);
	assert_int_equal(r.outcome, ROLLOUT_DONE);
	assert_false(r.cut);
}

static void test_rollout_first_start_ends_with_the_shift(void **state)
{
	struct rollout r;

	(void)state;
	init(&r, FIRST);
	EXPECT(&r, ROLLOUT_BEGIN, 0, ROLLOUT_DO_START, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_NEW_LISTENING, 0, ROLLOUT_DO_VERIFY);
	EXPECT(&r, ROLLOUT_NEW_HEALTHY, 0, ROLLOUT_DO_PUBLISH_NEW);
	EXPECT(&r, ROLLOUT_SHIFTED, 0, ROLLOUT_DO_COMMIT, ROLLOUT_DO_END);
	assert_int_equal(r.outcome, ROLLOUT_DONE);
}

static void test_rollout_stop_settles_leaves_and_drains(void **state)
{
	struct rollout r;

	(void)state;
	init(&r, STOP);
	assert_true(rollout_is_committed(&r));
	EXPECT(&r, ROLLOUT_BEGIN, 0, ROLLOUT_DO_PUBLISH_NONE);
	EXPECT(&r, ROLLOUT_SHIFTED, 0, ROLLOUT_DO_SETTLE, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_SETTLED, 0, ROLLOUT_DO_UNNAME, ROLLOUT_DO_LEAVE, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_LEFT, 0, ROLLOUT_DO_DRAIN, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_DRAINED, 0, ROLLOUT_DO_STOP, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_STOPPED, 0, ROLLOUT_DO_END);
	assert_int_equal(r.outcome, ROLLOUT_DONE);
}

static void test_rollout_retire_leaves_the_table_alone(void **state)
{
	struct rollout r;

	(void)state;
	init(&r, RETIRE);
	assert_true(rollout_is_committed(&r));
	EXPECT(&r, ROLLOUT_BEGIN, 0, ROLLOUT_DO_SETTLE, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_SETTLED, 0, ROLLOUT_DO_UNNAME, ROLLOUT_DO_LEAVE, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_LEFT, 0, ROLLOUT_DO_DRAIN, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_DRAINED, 0, ROLLOUT_DO_STOP, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_STOPPED, 0, ROLLOUT_DO_END);
	assert_int_equal(r.outcome, ROLLOUT_DONE);
}

static void test_rollout_failure_before_the_shift_only_stops_the_new(void **state)
{
	static const enum rollout_event failures[] = {ROLLOUT_NEW_FAILED, ROLLOUT_TIMER,
						      ROLLOUT_ABORT};
	static const enum rollout_cause causes[] = {ROLLOUT_INSTANCE_FAILED, ROLLOUT_START_TIMEOUT,
						    ROLLOUT_ABORTED};

	(void)state;
	for (size_t k = 0; k < 3; k++) {
		for (int verifying = 0; verifying < 2; verifying++) {
			struct rollout r;

			init(&r, REPLACE);
			walk_to(&r, verifying ? ROLLOUT_VERIFYING : ROLLOUT_STARTING);
			EXPECT(&r, failures[k], 0, ROLLOUT_DO_STOP, ROLLOUT_DO_TIMER);
			assert_true(rollout_victim_is_new(&r));
			assert_int_equal(r.cause, causes[k]);
			EXPECT(&r, ROLLOUT_STOPPED, 0, ROLLOUT_DO_END);
			assert_int_equal(r.outcome, ROLLOUT_FAILED);
			assert_false(r.shifted);
		}
	}
}

static void test_rollout_failure_after_the_shift_flips_back_and_drains_the_new(void **state)
{
	struct rollout r;

	(void)state;
	init(&r, REPLACE);
	walk_to(&r, ROLLOUT_BAKING);
	EXPECT(&r, ROLLOUT_NEW_FAILED, 0, ROLLOUT_DO_PUBLISH_OLD);
	assert_true(rollout_victim_is_new(&r));
	EXPECT(&r, ROLLOUT_SHIFTED, 0, ROLLOUT_DO_SETTLE, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_SETTLED, 0, ROLLOUT_DO_UNNAME, ROLLOUT_DO_LEAVE, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_LEFT, 0, ROLLOUT_DO_DRAIN, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_DRAINED, 0, ROLLOUT_DO_STOP, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_STOPPED, 0, ROLLOUT_DO_END);
	assert_int_equal(r.outcome, ROLLOUT_ROLLED_BACK);
}

static void test_rollout_is_decided_once_only_one_can_serve(void **state)
{
	struct rollout_actions actions;
	struct rollout r;

	(void)state;
	for (int s = ROLLOUT_IDLE; s < ROLLOUT_LEAVING; s++) {
		init(&r, REPLACE);
		walk_to(&r, (enum rollout_state)s);
		assert_false(rollout_is_decided(&r));
	}
	walk_to(&r, ROLLOUT_LEAVING);
	assert_true(rollout_is_decided(&r));
	init(&r, REPLACE);
	walk_to(&r, ROLLOUT_VERIFYING);
	rollout_step(&r, ROLLOUT_NEW_FAILED, 0, &actions);
	assert_true(rollout_is_decided(&r));
	init(&r, REPLACE);
	walk_to(&r, ROLLOUT_BAKING);
	rollout_step(&r, ROLLOUT_NEW_FAILED, 0, &actions);
	rollout_step(&r, ROLLOUT_SHIFTED, 0, &actions);
	assert_false(rollout_is_decided(&r));
	rollout_step(&r, ROLLOUT_SETTLED, 0, &actions);
	assert_true(rollout_is_decided(&r));
}

static void test_rollout_flip_back_unpublished_still_removes_the_new(void **state)
{
	struct rollout_actions actions;
	struct rollout r;

	(void)state;
	init(&r, REPLACE);
	walk_to(&r, ROLLOUT_BAKING);
	rollout_step(&r, ROLLOUT_ABORT, 0, &actions);
	EXPECT(&r, ROLLOUT_SHIFT_FAILED, 0, ROLLOUT_DO_SETTLE, ROLLOUT_DO_TIMER);
	assert_int_equal(r.outcome, ROLLOUT_ROLLED_BACK);
}

static void test_rollout_both_dead_after_the_shift_does_not_go_back(void **state)
{
	struct rollout_actions actions;
	struct rollout r;

	(void)state;
	init(&r, REPLACE);
	walk_to(&r, ROLLOUT_SETTLING);
	rollout_step(&r, ROLLOUT_OLD_GONE, 0, &actions);
	assert_int_equal(r.state, ROLLOUT_LEAVING);
	rollout_step(&r, ROLLOUT_NEW_FAILED, 0, &actions);
	assert_int_equal(actions.n, 0);
	assert_int_equal(r.outcome, ROLLOUT_DONE);
}

static void test_rollout_without_bake_leaves_when_settled(void **state)
{
	struct rollout_policy no_bake = policy;
	struct rollout_actions actions;
	struct rollout r;

	(void)state;
	no_bake.bake_ms = 0;
	rollout_init(&r, &no_bake, true, true);
	walk_to(&r, ROLLOUT_SETTLING);
	rollout_step(&r, ROLLOUT_SETTLED, 0, &actions);
	assert_int_equal(r.state, ROLLOUT_LEAVING);
}

static void test_rollout_drain_deadline_counts_as_cut(void **state)
{
	struct rollout_actions actions;
	struct rollout r;

	(void)state;
	init(&r, REPLACE);
	walk_to(&r, ROLLOUT_DRAINING);
	rollout_step(&r, ROLLOUT_TIMER, 0, &actions);
	assert_true(r.cut);
	assert_true(has_action(&actions, ROLLOUT_DO_STOP));
}

static void test_rollout_stop_deadline_kills_and_ends(void **state)
{
	struct rollout r;

	(void)state;
	init(&r, REPLACE);
	walk_to(&r, ROLLOUT_STOPPING);
	EXPECT(&r, ROLLOUT_TIMER, 0, ROLLOUT_DO_KILL, ROLLOUT_DO_END);
}

static void test_rollout_timers_are_the_policys(void **state)
{
	static const struct {
		enum rollout_state from;
		enum rollout_event event;
		uint64_t length_ms;
	} rows[] = {
		{ROLLOUT_IDLE, ROLLOUT_BEGIN, 1000},      {ROLLOUT_SHIFTING, ROLLOUT_SHIFTED, 20},
		{ROLLOUT_SETTLING, ROLLOUT_SETTLED, 300}, {ROLLOUT_BAKING, ROLLOUT_TIMER, 40},
		{ROLLOUT_LEAVING, ROLLOUT_LEFT, 500},     {ROLLOUT_DRAINING, ROLLOUT_DRAINED, 60},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		struct rollout_actions actions;
		uint64_t at_ms = 0;
		struct rollout r;

		init(&r, REPLACE);
		walk_to(&r, rows[k].from);
		rollout_step(&r, rows[k].event, 5000, &actions);
		for (size_t j = 0; j < actions.n; j++)
			if (actions.list[j].type == ROLLOUT_DO_TIMER)
				at_ms = actions.list[j].at_ms;
		assert_int_equal(at_ms, 5000 + rows[k].length_ms);
	}
}

/* ---- victims that cannot drain by themselves ------------------------------------------------ */

static void test_rollout_old_that_stays_drains_without_leaving(void **state)
{
	struct rollout r;

	(void)state;
	init_stays(&r, REPLACE, true, false);
	walk_to(&r, ROLLOUT_BAKING);
	EXPECT(&r, ROLLOUT_TIMER, 7, ROLLOUT_DO_COMMIT, ROLLOUT_DO_UNNAME, ROLLOUT_DO_DRAIN,
	       ROLLOUT_DO_TIMER);
	assert_int_equal(r.state, ROLLOUT_DRAINING);
	assert_true(rollout_is_committed(&r));
	assert_true(rollout_is_decided(&r));
	EXPECT(&r, ROLLOUT_DRAINED, 0, ROLLOUT_DO_STOP, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_STOPPED, 0, ROLLOUT_DO_END);
	assert_int_equal(r.outcome, ROLLOUT_DONE);
}

/* It has as long as it takes to drain, not to leave. */
static void test_rollout_old_that_stays_has_the_drain_timeout(void **state)
{
	struct rollout_actions actions;
	struct rollout r;

	(void)state;
	init_stays(&r, REPLACE, true, false);
	walk_to(&r, ROLLOUT_BAKING);
	rollout_step(&r, ROLLOUT_TIMER, 7000, &actions);
	assert_int_equal(actions.list[actions.n - 1].type, ROLLOUT_DO_TIMER);
	assert_int_equal(actions.list[actions.n - 1].at_ms, 7000 + policy.old_drain_timeout_ms);
	rollout_step(&r, ROLLOUT_TIMER, 7500, &actions);
	assert_true(r.cut);
	assert_int_equal(r.state, ROLLOUT_STOPPING);
}

static void test_rollout_old_that_stays_and_dies_is_drained_at_once(void **state)
{
	struct rollout r;

	(void)state;
	init_stays(&r, REPLACE, true, false);
	walk_to(&r, ROLLOUT_SETTLING);
	EXPECT(&r, ROLLOUT_OLD_GONE, 0, ROLLOUT_DO_COMMIT, ROLLOUT_DO_UNNAME, ROLLOUT_DO_DRAIN,
	       ROLLOUT_DO_TIMER);
}

static void test_rollout_stop_and_retire_of_one_that_stays_only_drain(void **state)
{
	struct rollout r;

	(void)state;
	init_stays(&r, STOP, true, false);
	walk_to(&r, ROLLOUT_IDLE);
	EXPECT(&r, ROLLOUT_BEGIN, 0, ROLLOUT_DO_PUBLISH_NONE);
	EXPECT(&r, ROLLOUT_SHIFTED, 0, ROLLOUT_DO_SETTLE, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_SETTLED, 0, ROLLOUT_DO_UNNAME, ROLLOUT_DO_DRAIN, ROLLOUT_DO_TIMER);
	init_stays(&r, RETIRE, true, false);
	EXPECT(&r, ROLLOUT_BEGIN, 0, ROLLOUT_DO_SETTLE, ROLLOUT_DO_TIMER);
	EXPECT(&r, ROLLOUT_SETTLED, 0, ROLLOUT_DO_UNNAME, ROLLOUT_DO_DRAIN, ROLLOUT_DO_TIMER);
}

/* Which of the two stays is asked of the one that goes. */
static void test_rollout_undone_asks_the_new_one_whether_it_stays(void **state)
{
	struct rollout_actions actions;
	struct rollout r;

	(void)state;
	init_stays(&r, REPLACE, false, true);
	walk_to(&r, ROLLOUT_BAKING);
	rollout_step(&r, ROLLOUT_ABORT, 0, &actions);
	rollout_step(&r, ROLLOUT_SHIFTED, 0, &actions);
	EXPECT(&r, ROLLOUT_SETTLED, 0, ROLLOUT_DO_UNNAME, ROLLOUT_DO_DRAIN, ROLLOUT_DO_TIMER);
	assert_true(rollout_victim_is_new(&r));
	init_stays(&r, REPLACE, true, false);
	walk_to(&r, ROLLOUT_BAKING);
	rollout_step(&r, ROLLOUT_ABORT, 0, &actions);
	rollout_step(&r, ROLLOUT_SHIFTED, 0, &actions);
	EXPECT(&r, ROLLOUT_SETTLED, 0, ROLLOUT_DO_UNNAME, ROLLOUT_DO_LEAVE, ROLLOUT_DO_TIMER);
	/* And the other way round where all is well. */
	init_stays(&r, REPLACE, false, true);
	walk_to(&r, ROLLOUT_BAKING);
	EXPECT(&r, ROLLOUT_TIMER, 0, ROLLOUT_DO_COMMIT, ROLLOUT_DO_UNNAME, ROLLOUT_DO_LEAVE,
	       ROLLOUT_DO_TIMER);
}

static void test_rollout_names_are_those_of_the_design(void **state)
{
	(void)state;
	assert_string_equal(rollout_state_name(ROLLOUT_VERIFYING), "verify");
	assert_string_equal(rollout_outcome_name(ROLLOUT_ROLLED_BACK), "rolled-back");
	for (int e = 0; e < _ROLLOUT_EVENT_COUNT; e++)
		assert_non_null(rollout_event_name((enum rollout_event)e));
	for (int s = 0; s < _ROLLOUT_STATE_COUNT; s++)
		assert_non_null(rollout_state_name((enum rollout_state)s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rollout_every_cell_goes_where_the_table_says),
		cmocka_unit_test(test_rollout_replace_done_acts_in_order),
		cmocka_unit_test(test_rollout_first_start_ends_with_the_shift),
		cmocka_unit_test(test_rollout_stop_settles_leaves_and_drains),
		cmocka_unit_test(test_rollout_retire_leaves_the_table_alone),
		cmocka_unit_test(test_rollout_failure_before_the_shift_only_stops_the_new),
		cmocka_unit_test(
			test_rollout_failure_after_the_shift_flips_back_and_drains_the_new),
		cmocka_unit_test(test_rollout_is_decided_once_only_one_can_serve),
		cmocka_unit_test(test_rollout_flip_back_unpublished_still_removes_the_new),
		cmocka_unit_test(test_rollout_both_dead_after_the_shift_does_not_go_back),
		cmocka_unit_test(test_rollout_without_bake_leaves_when_settled),
		cmocka_unit_test(test_rollout_drain_deadline_counts_as_cut),
		cmocka_unit_test(test_rollout_stop_deadline_kills_and_ends),
		cmocka_unit_test(test_rollout_timers_are_the_policys),
		cmocka_unit_test(test_rollout_old_that_stays_drains_without_leaving),
		cmocka_unit_test(test_rollout_old_that_stays_has_the_drain_timeout),
		cmocka_unit_test(test_rollout_old_that_stays_and_dies_is_drained_at_once),
		cmocka_unit_test(test_rollout_stop_and_retire_of_one_that_stays_only_drain),
		cmocka_unit_test(test_rollout_undone_asks_the_new_one_whether_it_stays),
		cmocka_unit_test(test_rollout_names_are_those_of_the_design),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
