/* SPDX-License-Identifier: BSD-2-Clause */
/* Every cell of the table, in each of the situations in which the cells differ. */
#include "tests/unit/rollout/rollout_fixture.h"

/* 0: ignored; nothing leads back to IDLE. */
typedef const enum rollout_state cells[_ROLLOUT_STATE_COUNT][_ROLLOUT_EVENT_COUNT];

static const struct {
	enum rollout_state from;
	enum rollout_event event;
	enum rollout_state to;
} known[] = {
#define T(from, event, to) {ROLLOUT_##from, ROLLOUT_##event, ROLLOUT_##to},
#include "tests/model/transitions.h"
#undef T
};

static bool is_known(enum rollout_state from, enum rollout_event event, enum rollout_state to)
{
	for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
		if (known[k].from == from && known[k].event == event && known[k].to == to)
			return true;
	return false;
}

static void check_cell(const struct rollout *before, enum rollout_event event,
		       enum rollout_state expected)
{
	struct rollout r = *before;
	struct rollout_actions actions = {.n = 1};

	rollout_step(&r, event, NOW, &actions);
	if (r.state != (expected ? expected : before->state))
		print_message("%s, %s -> %s\n", rollout_state_name(before->state),
			      rollout_event_name(event), rollout_state_name(r.state));
	assert_int_equal(r.state, expected ? expected : before->state);
	if (expected)
		assert_true(is_known(before->state, event, r.state));
	else
		assert_int_equal(actions.n, 0);
}

static void check_cells(cells expected, const struct rollout *in_state)
{
	for (int state = 0; state < _ROLLOUT_STATE_COUNT; state++) {
		if (in_state[state].has_old == in_state[state].has_new && !in_state[state].has_old)
			continue; /* not to be reached in this situation */
		assert_int_equal(in_state[state].state, state);
		for (int event = 0; event < _ROLLOUT_EVENT_COUNT; event++)
			check_cell(&in_state[state], (enum rollout_event)event,
				   expected[state][event]);
	}
}

/* ---- forwards ------------------------------------------------------------------------------- */

/* blue-green (DWELLING: canary), 2 to 2, everything asked: each state when it is reached first. */
static cells forwards = {
	[ROLLOUT_IDLE] = {[ROLLOUT_BEGIN] = ROLLOUT_PREPARING,
			  [ROLLOUT_ABORT] = ROLLOUT_ENDED,
			  [ROLLOUT_QUIT] = ROLLOUT_ENDED},
	[ROLLOUT_PREPARING] = {[ROLLOUT_PREPARED] = ROLLOUT_STARTING,
			       [ROLLOUT_PREPARE_FAILED] = ROLLOUT_ENDED,
			       [ROLLOUT_ABORT] = ROLLOUT_ENDED,
			       [ROLLOUT_QUIT] = ROLLOUT_ENDED,
			       [ROLLOUT_TIMER] = ROLLOUT_ENDED},
	[ROLLOUT_STARTING] = {[ROLLOUT_LISTENING] = ROLLOUT_VERIFYING,
			      [ROLLOUT_NEW_FAILED] = ROLLOUT_STOPPING,
			      [ROLLOUT_ABORT] = ROLLOUT_STOPPING,
			      [ROLLOUT_QUIT] = ROLLOUT_STOPPING,
			      [ROLLOUT_TIMER] = ROLLOUT_STOPPING},
	[ROLLOUT_VERIFYING] = {[ROLLOUT_HEALTHY] = ROLLOUT_GATING,
			       [ROLLOUT_NEW_FAILED] = ROLLOUT_STOPPING,
			       [ROLLOUT_ABORT] = ROLLOUT_STOPPING,
			       [ROLLOUT_QUIT] = ROLLOUT_STOPPING,
			       [ROLLOUT_TIMER] = ROLLOUT_STOPPING},
	[ROLLOUT_GATING] = {[ROLLOUT_GATE_PASSED] = ROLLOUT_SHIFTING,
			    [ROLLOUT_GATE_FAILED] = ROLLOUT_STOPPING,
			    [ROLLOUT_GATE_UNSURE] = ROLLOUT_WAITING,
			    [ROLLOUT_NEW_FAILED] = ROLLOUT_STOPPING,
			    [ROLLOUT_ABORT] = ROLLOUT_STOPPING,
			    [ROLLOUT_QUIT] = ROLLOUT_STOPPING,
			    [ROLLOUT_TIMER] = ROLLOUT_STOPPING},
	[ROLLOUT_SHIFTING] =
		{[ROLLOUT_SHIFTED] = ROLLOUT_SETTLING, [ROLLOUT_SHIFT_FAILED] = ROLLOUT_STOPPING},
	[ROLLOUT_DWELLING] = {[ROLLOUT_PROMOTE] = ROLLOUT_GATING,
			      [ROLLOUT_NEW_FAILED] = ROLLOUT_SHIFTING,
			      [ROLLOUT_OLD_GONE] = ROLLOUT_SHIFTING,
			      [ROLLOUT_ABORT] = ROLLOUT_SHIFTING,
			      [ROLLOUT_QUIT] = ROLLOUT_SHIFTING,
			      [ROLLOUT_TIMER] = ROLLOUT_GATING},
	[ROLLOUT_WAITING] = {[ROLLOUT_PROMOTE] = ROLLOUT_SHIFTING,
			     [ROLLOUT_NEW_FAILED] = ROLLOUT_STOPPING,
			     [ROLLOUT_ABORT] = ROLLOUT_STOPPING,
			     [ROLLOUT_QUIT] = ROLLOUT_STOPPING,
			     [ROLLOUT_TIMER] = ROLLOUT_STOPPING},
	[ROLLOUT_SETTLING] = {[ROLLOUT_SETTLED] = ROLLOUT_BAKING,
			      [ROLLOUT_NEW_FAILED] = ROLLOUT_SHIFTING,
			      [ROLLOUT_OLD_GONE] = ROLLOUT_LEAVING,
			      [ROLLOUT_ABORT] = ROLLOUT_SHIFTING,
			      [ROLLOUT_QUIT] = ROLLOUT_SHIFTING,
			      [ROLLOUT_TIMER] = ROLLOUT_BAKING},
	[ROLLOUT_BAKING] = {[ROLLOUT_PROMOTE] = ROLLOUT_GATING,
			    [ROLLOUT_NEW_FAILED] = ROLLOUT_SHIFTING,
			    [ROLLOUT_OLD_GONE] = ROLLOUT_LEAVING,
			    [ROLLOUT_ABORT] = ROLLOUT_SHIFTING,
			    [ROLLOUT_QUIT] = ROLLOUT_SHIFTING,
			    [ROLLOUT_TIMER] = ROLLOUT_GATING},
	[ROLLOUT_DELAYING] = {[ROLLOUT_DELAYED] = ROLLOUT_LEAVING,
			      [ROLLOUT_NEW_FAILED] = ROLLOUT_SHIFTING,
			      [ROLLOUT_OLD_GONE] = ROLLOUT_LEAVING,
			      [ROLLOUT_ABORT] = ROLLOUT_SHIFTING,
			      [ROLLOUT_QUIT] = ROLLOUT_SHIFTING,
			      [ROLLOUT_TIMER] = ROLLOUT_LEAVING},
	[ROLLOUT_LEAVING] = {[ROLLOUT_LEFT] = ROLLOUT_DRAINING,
			     [ROLLOUT_STOPPED] = ROLLOUT_STOPPING,
			     [ROLLOUT_TIMER] = ROLLOUT_DRAINING},
	[ROLLOUT_DRAINING] = {[ROLLOUT_DRAINED] = ROLLOUT_STOPPING,
			      [ROLLOUT_STOPPED] = ROLLOUT_STOPPING,
			      [ROLLOUT_TIMER] = ROLLOUT_STOPPING},
	[ROLLOUT_STOPPING] = {[ROLLOUT_STOPPED] = ROLLOUT_ENDED, [ROLLOUT_TIMER] = ROLLOUT_ENDED},
	[ROLLOUT_ENDED] = {0},
};

static void test_rollout_forwards_every_cell(void **state)
{
	struct rollout_policy canary = asking(ROLLOUT_CANARY);
	struct rollout_policy blue_green = asking(ROLLOUT_BLUE_GREEN);
	struct rollout in_state[_ROLLOUT_STATE_COUNT];

	(void)state;
	for (int k = 0; k < _ROLLOUT_STATE_COUNT; k++) {
		rollout_init(&in_state[k], k == ROLLOUT_DWELLING ? &canary : &blue_green, 2, 2);
		if (k == ROLLOUT_WAITING) {
			advance(&in_state[k], ROLLOUT_GATING, 1);
			feed(&in_state[k], ROLLOUT_GATE_UNSURE);
		}
		advance(&in_state[k], (enum rollout_state)k, 1);
	}
	check_cells(forwards, in_state);
}

/* ---- backwards ------------------------------------------------------------------------------ */

/* rolling, 4 to 4, aborted in the middle: 2 old ones have left. */
static cells backwards = {
	[ROLLOUT_STARTING] = {[ROLLOUT_LISTENING] = ROLLOUT_VERIFYING,
			      [ROLLOUT_RESTORE_FAILED] = ROLLOUT_SHIFTING,
			      [ROLLOUT_QUIT] = ROLLOUT_SHIFTING,
			      [ROLLOUT_TIMER] = ROLLOUT_SHIFTING},
	[ROLLOUT_VERIFYING] = {[ROLLOUT_HEALTHY] = ROLLOUT_SHIFTING,
			       [ROLLOUT_RESTORE_FAILED] = ROLLOUT_SHIFTING,
			       [ROLLOUT_QUIT] = ROLLOUT_SHIFTING,
			       [ROLLOUT_TIMER] = ROLLOUT_SHIFTING},
	[ROLLOUT_SHIFTING] =
		{[ROLLOUT_SHIFTED] = ROLLOUT_SETTLING, [ROLLOUT_SHIFT_FAILED] = ROLLOUT_SETTLING},
	[ROLLOUT_SETTLING] =
		{[ROLLOUT_SETTLED] = ROLLOUT_LEAVING, [ROLLOUT_TIMER] = ROLLOUT_LEAVING},
	[ROLLOUT_LEAVING] = {[ROLLOUT_LEFT] = ROLLOUT_DRAINING,
			     [ROLLOUT_STOPPED] = ROLLOUT_STOPPING,
			     [ROLLOUT_TIMER] = ROLLOUT_DRAINING},
	[ROLLOUT_DRAINING] = {[ROLLOUT_DRAINED] = ROLLOUT_STOPPING,
			      [ROLLOUT_STOPPED] = ROLLOUT_STOPPING,
			      [ROLLOUT_TIMER] = ROLLOUT_STOPPING},
	[ROLLOUT_STOPPING] =
		{[ROLLOUT_STOPPED] = ROLLOUT_STARTING, [ROLLOUT_TIMER] = ROLLOUT_STARTING},
	[ROLLOUT_ENDED] = {0},
};

static void init_backwards(struct rollout *r)
{
	struct rollout_policy p = rolling(1, 0);

	p.bake_ms = 300;
	p.gates = ROLLOUT_GATE_LEAVE;
	rollout_init(r, &p, 4, 4);
	advance(r, ROLLOUT_BAKING, 3);
	assert_int_equal(r->alive[ROLLOUT_OLD], 2);
	feed(r, ROLLOUT_ABORT);
	assert_true(rollout_victim_is_new(r));
}

static void test_rollout_backwards_every_cell(void **state)
{
	static const enum rollout_state states[] = {
		ROLLOUT_STARTING, ROLLOUT_VERIFYING, ROLLOUT_SHIFTING, ROLLOUT_SETTLING,
		ROLLOUT_LEAVING,  ROLLOUT_DRAINING,  ROLLOUT_STOPPING, ROLLOUT_ENDED,
	};
	struct rollout in_state[_ROLLOUT_STATE_COUNT] = {0};

	(void)state;
	for (size_t k = 0; k < sizeof(states) / sizeof(states[0]); k++) {
		init_backwards(&in_state[states[k]]);
		advance(&in_state[states[k]], states[k], 1);
	}
	check_cells(backwards, in_state);
}

/* ---- past the point of no return ------------------------------------------------------------ */

/* rolling, 2 to 6: both old ones go when 5 new ones serve; the last is started after that. */
static cells committed = {
	[ROLLOUT_STARTING] = {[ROLLOUT_LISTENING] = ROLLOUT_VERIFYING,
			      [ROLLOUT_NEW_FAILED] = ROLLOUT_ENDED,
			      [ROLLOUT_QUIT] = ROLLOUT_ENDED,
			      [ROLLOUT_TIMER] = ROLLOUT_ENDED},
	[ROLLOUT_VERIFYING] = {[ROLLOUT_HEALTHY] = ROLLOUT_SHIFTING,
			       [ROLLOUT_NEW_FAILED] = ROLLOUT_ENDED,
			       [ROLLOUT_QUIT] = ROLLOUT_ENDED,
			       [ROLLOUT_TIMER] = ROLLOUT_ENDED},
	[ROLLOUT_SHIFTING] =
		{[ROLLOUT_SHIFTED] = ROLLOUT_ENDED, [ROLLOUT_SHIFT_FAILED] = ROLLOUT_ENDED},
	[ROLLOUT_LEAVING] = {[ROLLOUT_LEFT] = ROLLOUT_DRAINING,
			     [ROLLOUT_STOPPED] = ROLLOUT_STOPPING,
			     [ROLLOUT_TIMER] = ROLLOUT_DRAINING},
	[ROLLOUT_DRAINING] = {[ROLLOUT_DRAINED] = ROLLOUT_STOPPING,
			      [ROLLOUT_STOPPED] = ROLLOUT_STOPPING,
			      [ROLLOUT_TIMER] = ROLLOUT_STOPPING},
	[ROLLOUT_STOPPING] =
		{[ROLLOUT_STOPPED] = ROLLOUT_STARTING, [ROLLOUT_TIMER] = ROLLOUT_STARTING},
	[ROLLOUT_ENDED] = {0},
};

static void test_rollout_committed_every_cell(void **state)
{
	static const enum rollout_state states[] = {
		ROLLOUT_STARTING, ROLLOUT_VERIFYING, ROLLOUT_SHIFTING, ROLLOUT_LEAVING,
		ROLLOUT_DRAINING, ROLLOUT_STOPPING,  ROLLOUT_ENDED,
	};
	struct rollout in_state[_ROLLOUT_STATE_COUNT] = {0};
	struct rollout_policy p = rolling(1, 0);

	(void)state;
	/* Nobody is asked any more either. */
	p.gates = ROLLOUT_GATE_SHIFT;
	for (size_t k = 0; k < sizeof(states) / sizeof(states[0]); k++) {
		struct rollout *r = &in_state[states[k]];

		rollout_init(r, &p, 2, 6);
		advance(r, ROLLOUT_LEAVING, 1);
		assert_true(rollout_is_committed(r));
		assert_false(rollout_is_decided(r));
		advance(r, states[k], 1);
	}
	check_cells(committed, in_state);
}

/* ---- one side only -------------------------------------------------------------------------- */

static cells stopping = {
	[ROLLOUT_IDLE] = {[ROLLOUT_BEGIN] = ROLLOUT_SHIFTING,
			  [ROLLOUT_ABORT] = ROLLOUT_ENDED,
			  [ROLLOUT_QUIT] = ROLLOUT_ENDED},
	[ROLLOUT_SHIFTING] =
		{[ROLLOUT_SHIFTED] = ROLLOUT_SETTLING, [ROLLOUT_SHIFT_FAILED] = ROLLOUT_SETTLING},
	[ROLLOUT_SETTLING] = {[ROLLOUT_SETTLED] = ROLLOUT_DELAYING,
			      [ROLLOUT_OLD_GONE] = ROLLOUT_LEAVING,
			      [ROLLOUT_TIMER] = ROLLOUT_DELAYING},
	[ROLLOUT_DELAYING] = {[ROLLOUT_DELAYED] = ROLLOUT_LEAVING,
			      [ROLLOUT_OLD_GONE] = ROLLOUT_LEAVING,
			      [ROLLOUT_TIMER] = ROLLOUT_LEAVING},
	[ROLLOUT_LEAVING] = {[ROLLOUT_LEFT] = ROLLOUT_DRAINING,
			     [ROLLOUT_STOPPED] = ROLLOUT_STOPPING,
			     [ROLLOUT_TIMER] = ROLLOUT_DRAINING},
	[ROLLOUT_DRAINING] = {[ROLLOUT_DRAINED] = ROLLOUT_STOPPING,
			      [ROLLOUT_STOPPED] = ROLLOUT_STOPPING,
			      [ROLLOUT_TIMER] = ROLLOUT_STOPPING},
	[ROLLOUT_STOPPING] = {[ROLLOUT_STOPPED] = ROLLOUT_ENDED, [ROLLOUT_TIMER] = ROLLOUT_ENDED},
	[ROLLOUT_ENDED] = {0},
};

static void test_rollout_stop_every_cell(void **state)
{
	static const enum rollout_state states[] = {
		ROLLOUT_IDLE,    ROLLOUT_SHIFTING, ROLLOUT_SETTLING, ROLLOUT_DELAYING,
		ROLLOUT_LEAVING, ROLLOUT_DRAINING, ROLLOUT_STOPPING, ROLLOUT_ENDED,
	};
	struct rollout in_state[_ROLLOUT_STATE_COUNT] = {0};
	struct rollout_policy p = asking(ROLLOUT_ROLLING);

	(void)state;
	for (size_t k = 0; k < sizeof(states) / sizeof(states[0]); k++) {
		rollout_init(&in_state[states[k]], &p, 3, 0);
		advance(&in_state[states[k]], states[k], 1);
	}
	check_cells(stopping, in_state);
}

/* Nobody else is left: new connections go to them until they have left. */
static cells lasting = {
	[ROLLOUT_IDLE] = {[ROLLOUT_BEGIN] = ROLLOUT_SHIFTING,
			  [ROLLOUT_ABORT] = ROLLOUT_ENDED,
			  [ROLLOUT_QUIT] = ROLLOUT_ENDED},
	[ROLLOUT_SHIFTING] =
		{[ROLLOUT_SHIFTED] = ROLLOUT_DELAYING, [ROLLOUT_SHIFT_FAILED] = ROLLOUT_DELAYING},
	[ROLLOUT_DELAYING] = {[ROLLOUT_DELAYED] = ROLLOUT_LEAVING,
			      [ROLLOUT_OLD_GONE] = ROLLOUT_LEAVING,
			      [ROLLOUT_TIMER] = ROLLOUT_LEAVING},
	[ROLLOUT_LEAVING] = {[ROLLOUT_DEAF] = ROLLOUT_LEAVING,
			     [ROLLOUT_LEFT] = ROLLOUT_DRAINING,
			     [ROLLOUT_STOPPED] = ROLLOUT_STOPPING,
			     [ROLLOUT_TIMER] = ROLLOUT_DRAINING},
	[ROLLOUT_DRAINING] = {[ROLLOUT_DRAINED] = ROLLOUT_STOPPING,
			      [ROLLOUT_STOPPED] = ROLLOUT_STOPPING,
			      [ROLLOUT_TIMER] = ROLLOUT_STOPPING},
	[ROLLOUT_STOPPING] = {[ROLLOUT_STOPPED] = ROLLOUT_ENDED, [ROLLOUT_TIMER] = ROLLOUT_ENDED},
	[ROLLOUT_ENDED] = {0},
};

static void test_rollout_last_every_cell(void **state)
{
	static const enum rollout_state states[] = {
		ROLLOUT_IDLE,     ROLLOUT_SHIFTING, ROLLOUT_DELAYING, ROLLOUT_LEAVING,
		ROLLOUT_DRAINING, ROLLOUT_STOPPING, ROLLOUT_ENDED,
	};
	struct rollout in_state[_ROLLOUT_STATE_COUNT] = {0};
	struct rollout_policy p = asking(ROLLOUT_ROLLING);

	(void)state;
	p.lasts = true;
	for (size_t k = 0; k < sizeof(states) / sizeof(states[0]); k++) {
		rollout_init(&in_state[states[k]], &p, 3, 0);
		advance(&in_state[states[k]], states[k], 1);
	}
	check_cells(lasting, in_state);
}

static cells starting = {
	[ROLLOUT_IDLE] = {[ROLLOUT_BEGIN] = ROLLOUT_PREPARING,
			  [ROLLOUT_ABORT] = ROLLOUT_ENDED,
			  [ROLLOUT_QUIT] = ROLLOUT_ENDED},
	[ROLLOUT_PREPARING] = {[ROLLOUT_PREPARED] = ROLLOUT_STARTING,
			       [ROLLOUT_PREPARE_FAILED] = ROLLOUT_ENDED,
			       [ROLLOUT_ABORT] = ROLLOUT_ENDED,
			       [ROLLOUT_QUIT] = ROLLOUT_ENDED,
			       [ROLLOUT_TIMER] = ROLLOUT_ENDED},
	[ROLLOUT_STARTING] = {[ROLLOUT_LISTENING] = ROLLOUT_VERIFYING,
			      [ROLLOUT_NEW_FAILED] = ROLLOUT_STOPPING,
			      [ROLLOUT_ABORT] = ROLLOUT_STOPPING,
			      [ROLLOUT_QUIT] = ROLLOUT_STOPPING,
			      [ROLLOUT_TIMER] = ROLLOUT_STOPPING},
	[ROLLOUT_VERIFYING] = {[ROLLOUT_HEALTHY] = ROLLOUT_GATING,
			       [ROLLOUT_NEW_FAILED] = ROLLOUT_STOPPING,
			       [ROLLOUT_ABORT] = ROLLOUT_STOPPING,
			       [ROLLOUT_QUIT] = ROLLOUT_STOPPING,
			       [ROLLOUT_TIMER] = ROLLOUT_STOPPING},
	[ROLLOUT_GATING] = {[ROLLOUT_GATE_PASSED] = ROLLOUT_SHIFTING,
			    [ROLLOUT_GATE_FAILED] = ROLLOUT_STOPPING,
			    [ROLLOUT_GATE_UNSURE] = ROLLOUT_WAITING,
			    [ROLLOUT_NEW_FAILED] = ROLLOUT_STOPPING,
			    [ROLLOUT_ABORT] = ROLLOUT_STOPPING,
			    [ROLLOUT_QUIT] = ROLLOUT_STOPPING,
			    [ROLLOUT_TIMER] = ROLLOUT_STOPPING},
	[ROLLOUT_SHIFTING] =
		{[ROLLOUT_SHIFTED] = ROLLOUT_ENDED, [ROLLOUT_SHIFT_FAILED] = ROLLOUT_STOPPING},
	[ROLLOUT_ENDED] = {0},
};

static void test_rollout_first_start_every_cell(void **state)
{
	static const enum rollout_state states[] = {
		ROLLOUT_IDLE,   ROLLOUT_PREPARING, ROLLOUT_STARTING, ROLLOUT_VERIFYING,
		ROLLOUT_GATING, ROLLOUT_SHIFTING,  ROLLOUT_ENDED,
	};
	struct rollout in_state[_ROLLOUT_STATE_COUNT] = {0};
	struct rollout_policy p = asking(ROLLOUT_CANARY);

	(void)state;
	for (size_t k = 0; k < sizeof(states) / sizeof(states[0]); k++) {
		rollout_init(&in_state[states[k]], &p, 0, 3);
		advance(&in_state[states[k]], states[k], 1);
	}
	check_cells(starting, in_state);
}

/* ---- names ---------------------------------------------------------------------------------- */

static void test_rollout_names_all_there(void **state)
{
	(void)state;
	for (int k = 0; k < _ROLLOUT_STATE_COUNT; k++)
		assert_non_null(rollout_state_name((enum rollout_state)k));
	for (int k = 0; k < _ROLLOUT_EVENT_COUNT; k++)
		assert_non_null(rollout_event_name((enum rollout_event)k));
	assert_string_equal(rollout_state_name(ROLLOUT_VERIFYING), "verify");
	assert_string_equal(rollout_outcome_name(ROLLOUT_DONE), "done");
	assert_string_equal(rollout_outcome_name(ROLLOUT_FAILED), "failed");
	assert_string_equal(rollout_outcome_name(ROLLOUT_ROLLED_BACK), "rolled-back");
	assert_string_equal(rollout_strategy_name(ROLLOUT_BLUE_GREEN), "blue-green");
	assert_string_equal(rollout_strategy_name(ROLLOUT_ROLLING), "rolling");
	assert_string_equal(rollout_strategy_name(ROLLOUT_CANARY), "canary");
	assert_string_equal(rollout_gate_name(ROLLOUT_GATE_SHIFT), "shift");
	assert_string_equal(rollout_gate_name(ROLLOUT_GATE_STEP), "step");
	assert_string_equal(rollout_gate_name(ROLLOUT_GATE_LEAVE), "leave");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rollout_forwards_every_cell),
		cmocka_unit_test(test_rollout_backwards_every_cell),
		cmocka_unit_test(test_rollout_committed_every_cell),
		cmocka_unit_test(test_rollout_stop_every_cell),
		cmocka_unit_test(test_rollout_last_every_cell),
		cmocka_unit_test(test_rollout_first_start_every_cell),
		cmocka_unit_test(test_rollout_names_all_there),
	};

	return cmocka_run_group_tests_name("rollout", tests, NULL, NULL);
}
