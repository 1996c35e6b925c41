/* SPDX-License-Identifier: BSD-2-Clause */
/* Random sequences of events against the invariants of rollout.h. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/rollout_fixture.h"

/* What the world would be after the actions so far. */
struct world {
	enum { NONE, OLD, NEW } table;
	bool new_healthy;
	bool new_told, old_told; /* to leave or stop */
	bool committed;
	bool unnamed; /* the victim: no table names it any more */
	bool left;    /* it was told to leave */
	uint64_t timer_ms;
	bool ended;
};

static void apply(struct world *w, const struct rollout *r, const struct rollout_actions *actions)
{
	for (size_t k = 0; k < actions->n; k++) {
		bool victim_is_new = rollout_victim_is_new(r);
		bool stays = victim_is_new ? r->policy.new_stays : r->policy.old_stays;

		switch (actions->list[k].type) {
		case ROLLOUT_DO_PUBLISH_NEW:
			assert_true(w->new_healthy);
			assert_false(w->unnamed);
			break;
		case ROLLOUT_DO_PUBLISH_OLD:
			assert_false(w->unnamed);
			break;
		case ROLLOUT_DO_UNNAME:
			/* Once, and of one that is not in the way of whoever serves. */
			assert_false(w->unnamed);
			assert_true(victim_is_new || !r->has_new || w->committed);
			w->unnamed = true;
			break;
		case ROLLOUT_DO_DRAIN:
			assert_true(w->unnamed);
			if (stays)
				assert_false(w->left);
			else
				assert_true(w->left);
			break;
		case ROLLOUT_DO_COMMIT:
			assert_int_equal(w->table, NEW);
			assert_false(w->new_told);
			w->committed = true;
			break;
		case ROLLOUT_DO_LEAVE:
			assert_true(w->unnamed);
			assert_false(stays);
			assert_false(w->left);
			w->left = true;
			/* fall through */
		case ROLLOUT_DO_STOP:
			if (victim_is_new) {
				assert_false(w->committed);
				w->new_told = true;
			} else {
				/* A stop goes on although its table could not be published. */
				assert_true(!r->has_new || (w->committed && w->table != OLD));
				assert_true(w->unnamed);
				w->old_told = true;
			}
			break;
		case ROLLOUT_DO_TIMER:
			w->timer_ms = actions->list[k].at_ms;
			break;
		case ROLLOUT_DO_END:
			assert_false(w->ended);
			w->ended = true;
			break;
		default:
			break;
		}
	}
	/* Never both: somebody serves. */
	assert_false(w->new_told && w->old_told);
}

/* Events that the shell can send in this world. */
static bool is_possible(const struct world *w, const struct rollout *r, enum rollout_event event)
{
	(void)w;
	if (event == ROLLOUT_BEGIN)
		return r->state == ROLLOUT_IDLE;
	if (event == ROLLOUT_SHIFTED || event == ROLLOUT_SHIFT_FAILED)
		return r->state == ROLLOUT_SHIFTING;
	/* The shell answers a publish at once, before anything else happens. */
	return r->state != ROLLOUT_SHIFTING && r->state != ROLLOUT_IDLE;
}

static void note_published(struct world *w, const struct rollout *r, enum rollout_event event,
			   bool victim_was_new)
{
	if (event != ROLLOUT_SHIFTED)
		return;
	if (victim_was_new)
		w->table = OLD;
	else
		w->table = r->has_new ? NEW : NONE;
}

static uint32_t random_next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* Left to chance alone hardly any would get far. */
static enum rollout_event random_event(uint32_t *seed, enum rollout_state state)
{
	static const enum rollout_event onwards[_ROLLOUT_STATE_COUNT] = {
		[ROLLOUT_IDLE] = ROLLOUT_BEGIN,
		[ROLLOUT_STARTING] = ROLLOUT_NEW_LISTENING,
		[ROLLOUT_VERIFYING] = ROLLOUT_NEW_HEALTHY,
		[ROLLOUT_SHIFTING] = ROLLOUT_SHIFTED,
		[ROLLOUT_SETTLING] = ROLLOUT_SETTLED,
		[ROLLOUT_BAKING] = ROLLOUT_TIMER,
		[ROLLOUT_LEAVING] = ROLLOUT_LEFT,
		[ROLLOUT_DRAINING] = ROLLOUT_DRAINED,
		[ROLLOUT_STOPPING] = ROLLOUT_STOPPED,
	};
	uint32_t choice = random_next(seed) % 8;

	if (choice < 4)
		return onwards[state];
	if (choice == 4 && state != ROLLOUT_IDLE)
		return ROLLOUT_TIMER;
	return (enum rollout_event)(random_next(seed) % _ROLLOUT_EVENT_COUNT);
}

static void one_random_rollout(uint32_t *seed)
{
	struct rollout_actions actions;
	struct world w = {.table = OLD};
	struct rollout r;
	uint64_t now_ms = 0;
	enum kind kind = (enum kind)(random_next(seed) % _KIND_COUNT);
	struct rollout_policy random_policy = policy;

	random_policy.old_stays = random_next(seed) % 2;
	random_policy.new_stays = random_next(seed) % 2;
	if (random_next(seed) % 4 == 0)
		random_policy.bake_ms = 0;
	init_policy(&r, kind, &random_policy);
	if (kind == FIRST)
		w.table = NONE;
	if (kind == RETIRE)
		w.table = NEW; /* somebody else serves */
	for (int n = 0; n < 200 && !w.ended; n++) {
		enum rollout_event event = random_event(seed, r.state);
		bool victim_is_new = rollout_victim_is_new(&r);

		if (!is_possible(&w, &r, event))
			continue;
		if (event == ROLLOUT_TIMER)
			now_ms = w.timer_ms;
		if (event == ROLLOUT_NEW_HEALTHY && r.state == ROLLOUT_VERIFYING)
			w.new_healthy = true;
		note_published(&w, &r, event, victim_is_new);
		rollout_step(&r, event, now_ms, &actions);
		apply(&w, &r, &actions);
		now_ms += random_next(seed) % 30;
	}
	/* From here only deadlines: it must end by them alone, in bounded time. */
	for (int n = 0; n < 20 && !w.ended; n++) {
		bool victim_is_new = rollout_victim_is_new(&r);
		enum rollout_event event = r.state == ROLLOUT_IDLE       ? ROLLOUT_BEGIN
					   : r.state == ROLLOUT_SHIFTING ? ROLLOUT_SHIFTED
									 : ROLLOUT_TIMER;

		note_published(&w, &r, event, victim_is_new);
		rollout_step(&r, event, w.timer_ms, &actions);
		apply(&w, &r, &actions);
	}
	assert_true(w.ended);
	assert_int_equal(r.state, ROLLOUT_ENDED);
	if (kind == REPLACE && r.outcome == ROLLOUT_DONE)
		assert_true(w.old_told && !w.new_told && w.table == NEW);
	if (kind == REPLACE && r.outcome != ROLLOUT_DONE)
		assert_true(w.new_told && !w.old_told);
	if (kind == RETIRE)
		assert_true(w.table == NEW && w.unnamed);
	if (r.outcome == ROLLOUT_FAILED)
		assert_true(!r.shifted && !w.unnamed);
}

static void test_rollout_random_events_keep_the_invariants(void **state)
{
	uint32_t seed = 20260412;

	(void)state;
	for (int n = 0; n < 200000; n++)
		one_random_rollout(&seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rollout_random_events_keep_the_invariants),
	};

	return cmocka_run_group_tests_name("rollout random", tests, NULL, NULL);
}
