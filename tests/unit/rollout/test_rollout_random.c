/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random sequences of events against the invariants of rollout.h: any event at any time, also those
 * that no shell would send. (The simulator, tests/sim, sends those that a world brings about.)
 */
#include "tests/unit/rollout/rollout_fixture.h"

static const struct {
	enum rollout_state from;
	enum rollout_event event;
	enum rollout_state to;
} known[] = {
#define T(from, event, to) {ROLLOUT_##from, ROLLOUT_##event, ROLLOUT_##to},
#include "tests/model/transitions.h"
#undef T
};

/* What the world would be after the actions so far. */
struct world {
	struct rollout r;
	uint32_t n[_ROLLOUT_SIDE_COUNT]; /* at the beginning */
	uint64_t now_ms, timer_ms;       /* 0: none is set */
	uint32_t published;              /* so many victims the last table does without */
	bool unnamed, left, delayed;     /* the victims of this cycle */
	bool committed, shifted, ended;
	unsigned shifts_in_full;
};

static uint32_t random_next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* ---- invariants ----------------------------------------------------------------------------- */

static void check_publish(struct world *w, const struct rollout_action *a)
{
	const struct rollout *r = &w->r;

	assert_int_equal(a->to, r->to);
	assert_int_equal(a->n, r->victims);
	assert_in_range(a->n, r->stale, r->alive[rollout_from(r)]);
	assert_in_range(a->weight, 0, 99);
	if (a->weight > 0)
		assert_true(r->policy.strategy == ROLLOUT_CANARY && a->n == 0 &&
			    a->to == ROLLOUT_NEW);
	w->published = a->n;
	w->unnamed = w->left = w->delayed = false;
}

static void check_commit(struct world *w)
{
	const struct rollout *r = &w->r;

	assert_false(w->committed);
	assert_int_equal(r->to, ROLLOUT_NEW);
	assert_int_equal(r->victims, r->alive[ROLLOUT_OLD]);
	assert_true(r->alive[ROLLOUT_NEW] > r->batch);
	/* They are gone by then, but for nothing. */
	assert_true(!rollout_stops_first(r) || r->alive[ROLLOUT_OLD] == 0);
	w->committed = true;
}

static bool may_delay(const struct rollout *r)
{
	return (r->to == ROLLOUT_NEW ? r->policy.old_delay_ms : r->policy.new_delay_ms) > 0;
}

static void check_leave(struct world *w)
{
	const struct rollout *r = &w->r;

	assert_true(w->unnamed != r->open);
	assert_true(!r->open || (r->policy.lasts && !r->has_new));
	assert_true(!may_delay(r) || r->old_gone || w->delayed);
	assert_true(r->victims > 0);
	assert_int_equal(r->victims, w->published);
	assert_false(w->left);
	assert_false(r->to == ROLLOUT_NEW ? r->policy.old_stays : r->policy.new_stays);
	/* The side that serves in the end is not told as a whole. */
	assert_true(!r->has_old || !r->has_new || r->to != ROLLOUT_OLD || !w->committed);
	w->left = true;
}

static void check_action(struct world *w, const struct rollout_action *a)
{
	const struct rollout *r = &w->r;

	switch (a->type) {
	case ROLLOUT_DO_START:
		assert_int_equal(a->to, r->to);
		assert_true(a->n > 0 && a->n == r->batch);
		break;
	case ROLLOUT_DO_PUBLISH:
		check_publish(w, a);
		break;
	case ROLLOUT_DO_SHIFTED:
		assert_int_equal(w->shifts_in_full++, 0);
		assert_int_equal(r->victims, r->alive[ROLLOUT_OLD]);
		break;
	case ROLLOUT_DO_COMMIT:
		check_commit(w);
		break;
	case ROLLOUT_DO_UNNAME:
		assert_false(w->unnamed);
		assert_int_equal(r->victims, w->published);
		w->unnamed = true;
		break;
	case ROLLOUT_DO_DELAY:
		assert_false(w->unnamed || w->left || w->delayed);
		w->delayed = true;
		break;
	case ROLLOUT_DO_LEAVE:
		check_leave(w);
		break;
	case ROLLOUT_DO_DRAIN:
		assert_true(w->unnamed);
		break;
	case ROLLOUT_DO_STOP:
		assert_true(r->victims > 0);
		/* Unless they are new ones whom nobody has reached. */
		assert_true(w->unnamed || (r->to == ROLLOUT_OLD && !w->shifted));
		break;
	case ROLLOUT_DO_TIMER:
		w->timer_ms = a->at_ms;
		break;
	case ROLLOUT_DO_NO_TIMER:
		w->timer_ms = 0;
		break;
	case ROLLOUT_DO_END:
		assert_false(w->ended);
		w->ended = true;
		break;
	default:
		break;
	}
}

static void check_counts(const struct world *w)
{
	const struct rollout *r = &w->r;
	uint32_t all = r->alive[ROLLOUT_OLD] + r->alive[ROLLOUT_NEW];
	uint32_t larger =
		w->n[ROLLOUT_OLD] > w->n[ROLLOUT_NEW] ? w->n[ROLLOUT_OLD] : w->n[ROLLOUT_NEW];
	uint32_t least = r->wanted[ROLLOUT_OLD] < r->wanted[ROLLOUT_NEW] ? r->wanted[ROLLOUT_OLD]
									 : r->wanted[ROLLOUT_NEW];
	uint32_t out = r->batch + (r->victims > r->stale ? r->victims : r->stale);

	assert_in_range(r->alive[ROLLOUT_OLD], 0, w->n[ROLLOUT_OLD]);
	assert_in_range(r->alive[ROLLOUT_NEW], 0, w->n[ROLLOUT_NEW]);
	assert_true(r->batch <= r->alive[r->to] && r->victims <= r->alive[rollout_from(r)]);
	if (!r->has_old || !r->has_new || r->state == ROLLOUT_SHIFTING)
		return;
	if (rollout_stops_first(r)) {
		assert_true(r->alive[ROLLOUT_OLD] == 0 || r->alive[ROLLOUT_NEW] == 0);
		return;
	}
	if (r->policy.strategy == ROLLOUT_ROLLING) {
		assert_true(all <= larger + r->policy.max_surge);
		least = least > r->policy.max_unavailable ? least - r->policy.max_unavailable : 1;
	}
	assert_true(all - out >= (least > 0 ? least : 1));
}

static void check_transition(const struct rollout *before, enum rollout_event event,
			     const struct rollout *after, size_t n_actions)
{
	if (n_actions == 0 && before->state == after->state)
		return;
	for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
		if (known[k].from == before->state && known[k].event == event &&
		    known[k].to == after->state)
			return;
	fail_msg("%s, %s -> %s is not known", rollout_state_name(before->state),
		 rollout_event_name(event), rollout_state_name(after->state));
}

static void check_step(const struct rollout *before, enum rollout_event event,
		       const struct rollout *after)
{
	bool waits = before->state == ROLLOUT_DWELLING ? before->policy.steps[before->step].manual
						       : before->state >= ROLLOUT_PREPARING &&
								 before->state <= ROLLOUT_WAITING;

	/* A deadline never means "go on". */
	if (event == ROLLOUT_TIMER && waits && !before->committed)
		assert_int_equal(after->to, ROLLOUT_OLD);
	assert_true(!before->committed || (after->committed && after->to == before->to));
	assert_true(before->to == ROLLOUT_NEW || after->to == ROLLOUT_OLD);
	assert_true(!rollout_is_decided(before) || rollout_is_decided(after));
	assert_true(!rollout_is_committed(before) || rollout_is_committed(after));
}

static void check_end(const struct world *w)
{
	const struct rollout *r = &w->r;

	assert_true(w->ended);
	assert_int_equal(r->state, ROLLOUT_ENDED);
	assert_int_equal(r->turn, ROLLOUT_NO_CAUSE);
	assert_int_equal(r->outcome == ROLLOUT_DONE, r->cause == ROLLOUT_NO_CAUSE);
	assert_int_equal(r->outcome == ROLLOUT_ROLLED_BACK, r->to == ROLLOUT_OLD && w->shifted);
	if (r->has_new && r->has_old)
		assert_true((r->alive[r->to] > 0 || rollout_stops_first(r)) &&
			    r->alive[rollout_from(r)] == 0);
	if (r->has_new && r->outcome == ROLLOUT_DONE)
		assert_true(w->committed && w->shifts_in_full == 1);
}

/* ---- driving -------------------------------------------------------------------------------- */

static void send(struct world *w, enum rollout_event event)
{
	struct rollout_actions actions;
	struct rollout before = w->r;

	if (event == ROLLOUT_TIMER) {
		assert_true(w->timer_ms > 0);
		w->now_ms = w->timer_ms;
		w->timer_ms = 0;
	}
	rollout_step(&w->r, event, w->now_ms, &actions);
	if (event == ROLLOUT_SHIFTED && before.state == ROLLOUT_SHIFTING &&
	    before.to == ROLLOUT_NEW)
		w->shifted |= before.alive[ROLLOUT_NEW] > 0;
	check_transition(&before, event, &w->r, actions.n);
	check_step(&before, event, &w->r);
	for (size_t k = 0; k < actions.n; k++)
		check_action(w, &actions.list[k]);
	check_counts(w);
}

/* Left to chance alone hardly any would get far. -1: none this time. */
static int random_event(const struct world *w, uint32_t *seed)
{
	uint32_t choice = random_next(seed) % 10;
	enum rollout_event event = (enum rollout_event)(random_next(seed) % _ROLLOUT_EVENT_COUNT);

	/* The shell answers a publish at once, before anything else happens. */
	if (w->r.state == ROLLOUT_SHIFTING)
		return choice == 0 ? ROLLOUT_SHIFT_FAILED : ROLLOUT_SHIFTED;
	if (choice < 7)
		event = onwards(&w->r);
	return event == ROLLOUT_TIMER && w->timer_ms == 0 ? -1 : (int)event;
}

static void init_random(struct world *w, uint32_t *seed)
{
	struct rollout_policy p = asking((enum rollout_strategy)(random_next(seed) % 4));
	uint32_t kind = random_next(seed) % 6;

	p.max_surge = random_next(seed) % 4;
	p.max_unavailable = random_next(seed) % 4;
	p.one_way = random_next(seed) % 3 == 0;
	p.gates = random_next(seed) % 8;
	p.before_start = random_next(seed) % 2;
	p.bake_ms = random_next(seed) % 2 * 300;
	p.old_delay_ms = random_next(seed) % 2 * 70;
	p.new_delay_ms = random_next(seed) % 2 * 80;
	p.old_stays = random_next(seed) % 4 == 0;
	p.new_stays = random_next(seed) % 4 == 0;
	*w = (struct world){.now_ms = 1};
	w->n[ROLLOUT_OLD] = kind == 0 ? 0 : 1 + random_next(seed) % 5;
	w->n[ROLLOUT_NEW] = kind == 1 || kind == 2 ? 0 : 1 + random_next(seed) % 5;
	if (kind == 2) {
		rollout_init_retire(&w->r, &p, w->n[ROLLOUT_OLD]);
		w->published = w->n[ROLLOUT_OLD];
	} else {
		p.lasts = w->n[ROLLOUT_NEW] == 0 && !p.old_stays && random_next(seed) % 2;
		rollout_init(&w->r, &p, w->n[ROLLOUT_OLD], w->n[ROLLOUT_NEW]);
	}
}

/* No event but deadlines: it must end by them alone. */
static void wait_for_the_end(struct world *w)
{
	for (int n = 0; n < 500 && !w->ended; n++)
		send(w, w->r.state == ROLLOUT_IDLE       ? ROLLOUT_BEGIN
			: w->r.state == ROLLOUT_SHIFTING ? ROLLOUT_SHIFTED
							 : ROLLOUT_TIMER);
}

static void test_rollout_random_events_keep_the_invariants(void **state)
{
	uint32_t seed = 20260412;

	(void)state;
	for (int n = 0; n < 100000; n++) {
		uint32_t length = random_next(&seed) % 150;
		struct world w;

		init_random(&w, &seed);
		for (uint32_t k = 0; k < length && !w.ended; k++) {
			int event = random_event(&w, &seed);

			if (event >= 0)
				send(&w, (enum rollout_event)event);
			w.now_ms += random_next(&seed) % 30;
			if (w.timer_ms > 0 && w.now_ms > w.timer_ms)
				w.now_ms = w.timer_ms;
		}
		wait_for_the_end(&w);
		check_end(&w);
	}
}

/* From every state that chance leads to nothing is needed but time. */
static void test_rollout_random_then_silence_ends(void **state)
{
	uint32_t seed = 20260729;

	(void)state;
	for (int n = 0; n < 2000; n++) {
		struct world w;

		init_random(&w, &seed);
		for (int k = 0; k < 60 && !w.ended; k++) {
			struct world alone = w;
			int event = random_event(&w, &seed);

			wait_for_the_end(&alone);
			check_end(&alone);
			if (event >= 0)
				send(&w, (enum rollout_event)event);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rollout_random_events_keep_the_invariants),
		cmocka_unit_test(test_rollout_random_then_silence_ends),
	};

	return cmocka_run_group_tests_name("rollout random", tests, NULL, NULL);
}
