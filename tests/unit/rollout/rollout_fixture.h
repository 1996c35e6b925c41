/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rollout_fixture: rollouts with a policy in which every deadline is another one, and what a step
 * does as a text: "start:new:2 timer:+1000 | start", the actions and the state after them.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "orchestrator/rollout/rollout.h"

#define NOW 10000

/* Nothing is asked, nothing is baked. */
static const struct rollout_policy plain = {
	.strategy = ROLLOUT_BLUE_GREEN,
	.steps = {{.weight = 5, .dwell_ms = 70}, {.weight = 25, .manual = true}, {.weight = 100}},
	.n_steps = 3,
	.prepare_timeout_ms = 10,
	.start_timeout_ms = 1000,
	.gate_timeout_ms = 30,
	.promote_timeout_ms = 4000,
	.settle_timeout_ms = 20,
	.leave_timeout_ms = 40,
	.old_drain_timeout_ms = 500,
	.new_drain_timeout_ms = 600,
	.stop_timeout_ms = 60,
};

static inline struct rollout_policy policy_of(enum rollout_strategy strategy)
{
	struct rollout_policy p = plain;

	p.strategy = strategy;
	return p;
}

static inline struct rollout_policy rolling(uint32_t surge, uint32_t unavailable)
{
	struct rollout_policy p = policy_of(ROLLOUT_ROLLING);

	p.max_surge = surge;
	p.max_unavailable = unavailable;
	return p;
}

/* Everything is asked, there is a bake, and a delay. */
static inline struct rollout_policy asking(enum rollout_strategy strategy)
{
	struct rollout_policy p = policy_of(strategy);

	p.max_surge = 1;
	p.before_start = true;
	p.gates = ROLLOUT_GATE_SHIFT | ROLLOUT_GATE_STEP | ROLLOUT_GATE_LEAVE;
	p.bake_ms = 300;
	p.old_delay_ms = 70;
	p.new_delay_ms = 80;
	return p;
}

/* ---- what was done -------------------------------------------------------------------------- */

static inline const char *side_name(enum rollout_side side)
{
	return side == ROLLOUT_NEW ? "new" : "old";
}

static inline int describe_action(const struct rollout_action *a, char *ret, size_t size)
{
	static const char *const names[] = {
		[ROLLOUT_DO_PREPARE] = "prepare ",   [ROLLOUT_DO_VERIFY] = "verify ",
		[ROLLOUT_DO_SHIFTED] = "shifted ",   [ROLLOUT_DO_DISCARD] = "discard ",
		[ROLLOUT_DO_SETTLE] = "settle ",     [ROLLOUT_DO_COMMIT] = "commit ",
		[ROLLOUT_DO_UNNAME] = "unname ",     [ROLLOUT_DO_LEAVE] = "leave ",
		[ROLLOUT_DO_DRAIN] = "drain ",       [ROLLOUT_DO_STOP] = "stop ",
		[ROLLOUT_DO_KILL] = "kill ",         [ROLLOUT_DO_END] = "end ",
		[ROLLOUT_DO_NO_TIMER] = "no-timer ", [ROLLOUT_DO_RESTORE] = "restore ",
		[ROLLOUT_DO_STEADY] = "steady ",     [ROLLOUT_DO_WAIT] = "wait ",
		[ROLLOUT_DO_DRAINED] = "drained ",   [ROLLOUT_DO_REAP] = "reap ",
		[ROLLOUT_DO_UNDONE] = "undone ",     [ROLLOUT_DO_DELAY] = "delay ",
	};

	switch (a->type) {
	case ROLLOUT_DO_START:
		return snprintf(ret, size, "start:%s:%u ", side_name(a->to), a->n);
	case ROLLOUT_DO_GATE:
		return snprintf(ret, size, "gate:%s ", rollout_gate_name(a->point));
	case ROLLOUT_DO_PUBLISH:
		if (a->weight > 0)
			return snprintf(ret, size, "publish:%s-%u@%u ", side_name(a->to), a->n,
					a->weight);
		return snprintf(ret, size, "publish:%s-%u ", side_name(a->to), a->n);
	case ROLLOUT_DO_TIMER:
		return snprintf(ret, size, "timer:+%d ", (int)(a->at_ms - NOW));
	default:
		return snprintf(ret, size, "%s", names[a->type]);
	}
}

/* What each move from a state has: see assert_move(). */
static inline bool is_of_every_move(const struct rollout_action *a)
{
	return a->type == ROLLOUT_DO_TELL || a->type == ROLLOUT_DO_CANCEL;
}

static inline size_t count_actions(const struct rollout_actions *actions,
				   enum rollout_action_type type)
{
	size_t n = 0;

	for (size_t k = 0; k < actions->n; k++)
		n += actions->list[k].type == type;
	return n;
}

/*
 * How a state has ended is told once, before anything else but a kill; whatever it has asked is
 * cancelled; and an undoing is told apart. Victims that turn out to be deaf have yet to leave, and
 * those that were killed, to go.
 */
static inline void assert_move(const struct rollout *before, const struct rollout *r,
			       const struct rollout_actions *actions)
{
	bool moved = before->state != r->state ||
		     (actions->n > 0 && before->open == r->open && before->killed == r->killed);
	bool told = moved && before->state != ROLLOUT_IDLE;
	bool asked = before->state == ROLLOUT_PREPARING || before->state == ROLLOUT_GATING;
	size_t at = actions->n > 0 && actions->list[0].type == ROLLOUT_DO_KILL;

	assert_int_equal(count_actions(actions, ROLLOUT_DO_TELL), told);
	assert_int_equal(count_actions(actions, ROLLOUT_DO_CANCEL), moved && asked);
	if (!told)
		return;
	assert_int_equal(actions->list[at].type, ROLLOUT_DO_TELL);
	assert_int_equal(actions->list[at].state, before->state);
	assert_int_equal(actions->list[at].ok, before->outcome == r->outcome);
	assert_int_equal(count_actions(actions, ROLLOUT_DO_UNDONE), before->outcome != r->outcome);
}

static inline void describe(const struct rollout *r, const struct rollout_actions *actions,
			    char *ret, size_t size)
{
	size_t n = 0;

	for (size_t k = 0; k < actions->n; k++)
		if (!is_of_every_move(&actions->list[k]))
			n += (size_t)describe_action(&actions->list[k], ret + n, size - n);
	snprintf(ret + n, size - n, "| %s", rollout_state_name(r->state));
}

/* One event, and what must come of it. */
static inline void expect(struct rollout *r, enum rollout_event event, const char *expected)
{
	struct rollout before = *r;
	struct rollout_actions actions;
	char text[256];

	rollout_step(r, event, NOW, &actions);
	assert_move(&before, r, &actions);
	describe(r, &actions, text, sizeof(text));
	assert_string_equal(text, expected);
}

static inline void feed(struct rollout *r, enum rollout_event event)
{
	struct rollout before = *r;
	struct rollout_actions actions;

	rollout_step(r, event, NOW, &actions);
	assert_move(&before, r, &actions);
}

/* The event with which all goes well. */
static inline enum rollout_event onwards(const struct rollout *r)
{
	static const enum rollout_event events[_ROLLOUT_STATE_COUNT] = {
		[ROLLOUT_IDLE] = ROLLOUT_BEGIN,         [ROLLOUT_PREPARING] = ROLLOUT_PREPARED,
		[ROLLOUT_STARTING] = ROLLOUT_LISTENING, [ROLLOUT_VERIFYING] = ROLLOUT_HEALTHY,
		[ROLLOUT_GATING] = ROLLOUT_GATE_PASSED, [ROLLOUT_SHIFTING] = ROLLOUT_SHIFTED,
		[ROLLOUT_DWELLING] = ROLLOUT_PROMOTE,   [ROLLOUT_WAITING] = ROLLOUT_PROMOTE,
		[ROLLOUT_SETTLING] = ROLLOUT_SETTLED,   [ROLLOUT_BAKING] = ROLLOUT_TIMER,
		[ROLLOUT_DELAYING] = ROLLOUT_DELAYED,   [ROLLOUT_LEAVING] = ROLLOUT_LEFT,
		[ROLLOUT_DRAINING] = ROLLOUT_DRAINED,   [ROLLOUT_STOPPING] = ROLLOUT_STOPPED,
	};

	return events[r->state];
}

/* All goes well until it is in @state for the @time-th time. */
static inline void advance(struct rollout *r, enum rollout_state state, int time)
{
	for (int n = 0; n < 500; n++) {
		if (r->state == state && --time == 0)
			return;
		assert_int_not_equal(r->state, ROLLOUT_ENDED);
		feed(r, onwards(r));
	}
	fail();
}

/* All goes well from here on. */
static inline void finish(struct rollout *r)
{
	if (r->state != ROLLOUT_ENDED)
		advance(r, ROLLOUT_ENDED, 1);
}

static inline void assert_ended(const struct rollout *r, enum rollout_outcome outcome,
				enum rollout_cause cause, uint32_t old, uint32_t new)
{
	assert_int_equal(r->state, ROLLOUT_ENDED);
	assert_int_equal(r->outcome, outcome);
	assert_int_equal(r->cause, cause);
	assert_int_equal(r->alive[ROLLOUT_OLD], old);
	assert_int_equal(r->alive[ROLLOUT_NEW], new);
	assert_int_equal(r->victims, 0);
	assert_int_equal(r->batch, 0);
	assert_true(rollout_is_decided(r));
}
