/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <string.h>

#include "tests/sim/sim.h"

/* What its agents may take of the rollout's own deadlines. */
#define AGENT_LEAVE_MS 100
#define AGENT_STOP_MS  200

int run_index(const struct world *w, const struct run *run)
{
	return (int)(run - w->runs);
}

bool is_of(const struct world *w, const struct run *run, const struct instance *i,
	   enum rollout_side side)
{
	return i->run == run_index(w, run) && i->side == side;
}

static bool is_victim(const struct world *w, const struct run *run, const struct instance *i)
{
	return i->victim && i->run == run_index(w, run);
}

/* ---- choosing ------------------------------------------------------------------------------- */

/* The less there is to lose, the higher. */
static int dispensable(const struct instance *i)
{
	return !i->served ? 3 : instance_has_failed(i) ? 2 : !instance_is_healthy(i) ? 1 : 0;
}

static void choose_victims(struct world *w, struct run *run, enum rollout_side from, uint32_t n)
{
	for (int rank = 3; rank >= 0 && n > 0; rank--)
		for_each_used (i, w)
			if (n > 0 && is_of(w, run, i, from) && !i->victim &&
			    dispensable(i) == rank) {
				i->victim = true;
				i->serves = false;
				n--;
			}
	if (n > 0)
		world_fail(w, "rollout %u: %u victims more than there are instances", run->number,
			   n);
}

/* What of an instance is put back where a table cannot be published. */
struct mark {
	bool victim, serves, served, unnamed;
};

static struct mark marks[INSTANCES_MAX];

static void marks_save(const struct world *w)
{
	for (size_t k = 0; k < INSTANCES_MAX; k++)
		marks[k] = (struct mark){
			.victim = w->instances[k].victim,
			.serves = w->instances[k].serves,
			.served = w->instances[k].served,
			.unnamed = w->instances[k].unnamed,
		};
}

static void marks_restore(struct world *w)
{
	for (size_t k = 0; k < INSTANCES_MAX; k++) {
		w->instances[k].victim = marks[k].victim;
		w->instances[k].serves = marks[k].serves;
		w->instances[k].served = marks[k].served;
		w->instances[k].unnamed = marks[k].unnamed;
	}
}

/* ---- acting --------------------------------------------------------------------------------- */

static enum rollout_side other(enum rollout_side side)
{
	return side == ROLLOUT_NEW ? ROLLOUT_OLD : ROLLOUT_NEW;
}

static void act_start(struct world *w, struct run *run, const struct rollout_action *action)
{
	for (uint32_t n = 0; n < action->n && !w->failure[0]; n++) {
		struct instance *i = instance_launch(w, run->generation[action->to]);

		if (!i)
			return;
		i->run = run_index(w, run);
		i->side = action->to;
		i->batch = true;
	}
}

/* Who serves is started again by its agent when it crashes; who goes, or is on trial, is not. */
static void set_steady(struct world *w, struct run *run)
{
	const struct rollout *m = &run->machine;

	for_each_used (i, w) {
		if (i->run != run_index(w, run))
			continue;
		if (i->victim)
			instance_steady(w, i, false);
		else if (i->serves && (i->side == ROLLOUT_OLD || m->committed))
			instance_steady(w, i, true);
	}
}

/* Returns the machine's next event. */
static enum rollout_event act_publish(struct world *w, struct run *run,
				      const struct rollout_action *action)
{
	bool ok;

	marks_save(w);
	for_each_used (i, w) {
		if (i->run != run_index(w, run))
			continue;
		i->victim = i->unnamed = false;
		/* Those of the other side that serve already go on. */
		if (i->side == action->to || i->served)
			i->serves = true;
	}
	choose_victims(w, run, other(action->to), action->n);
	for_each_used (i, w)
		i->served |= i->serves && i->run == run_index(w, run);
	ok = service_publish(w);
	for_each_used (i, w)
		run->shifted |= ok && is_of(w, run, i, ROLLOUT_NEW) && i->named;
	if (ok)
		set_steady(w, run);
	return ok ? ROLLOUT_SHIFTED : ROLLOUT_SHIFT_FAILED;
}

static void act_unname(struct world *w, struct run *run)
{
	for_each_used (i, w)
		if (is_victim(w, run, i))
			i->unnamed = true, i->named = i->backup = false;
	set_steady(w, run);
	if (!run->machine.retire)
		service_publish(w);
}

static void release_batch(struct world *w, struct run *run)
{
	for_each_used (i, w)
		if (i->run == run_index(w, run))
			i->batch = false;
}

static void act_discard(struct world *w, struct run *run)
{
	for_each_used (i, w)
		if (i->run == run_index(w, run) && i->batch) {
			instance_kill(w, i);
			i->used = false;
		}
}

static void act_kill(struct world *w, struct run *run)
{
	for_each_used (i, w)
		if (is_victim(w, run, i)) {
			if (!instance_is_gone(i))
				instance_kill(w, i);
			i->used = false;
		}
}

static void act_commit(struct world *w, struct run *run)
{
	w->current = run->generation[ROLLOUT_NEW];
	if (run->machine.has_old)
		w->wanted = run->n[ROLLOUT_NEW];
	set_steady(w, run);
}

static void act_on_victims(struct world *w, struct run *run, enum rollout_action_type type)
{
	for_each_used (i, w) {
		if (!is_victim(w, run, i))
			continue;
		if (type == ROLLOUT_DO_LEAVE)
			instance_leave(w, i, AGENT_LEAVE_MS);
		else if (type == ROLLOUT_DO_DRAIN)
			instance_drain(w, i);
		else
			instance_stop(w, i, AGENT_STOP_MS);
	}
}

/* The operator's commands: sometimes they never answer. */
static void act_ask(struct world *w, struct run *run, bool gate)
{
	uint64_t n = hash_of(w->plan->seed, run->number, 50 + run->asked++);
	uint32_t verdict = (uint32_t)(n % 12);

	run->answer_ms = w->now_ms + n / 16 % 200;
	if (verdict == 0)
		run->answer_ms = NEVER;
	else if (verdict == 1)
		run->answer = gate ? ROLLOUT_GATE_FAILED : ROLLOUT_PREPARE_FAILED;
	else if (verdict == 2 && gate)
		run->answer = ROLLOUT_GATE_UNSURE;
	else
		run->answer = gate ? ROLLOUT_GATE_PASSED : ROLLOUT_PREPARED;
}

static void act_end(struct world *w, struct run *run)
{
	invariants_of_end(w, run);
	service_release(w, run);
	run->used = false;
}

/* Returns the event that the action's result is, or -1. */
static int act(struct world *w, struct run *run, const struct rollout_action *action)
{
	switch (action->type) {
	case ROLLOUT_DO_PREPARE:
	case ROLLOUT_DO_GATE:
		act_ask(w, run, action->type == ROLLOUT_DO_GATE);
		break;
	case ROLLOUT_DO_START:
		act_start(w, run, action);
		break;
	case ROLLOUT_DO_PUBLISH:
		return (int)act_publish(w, run, action);
	case ROLLOUT_DO_DISCARD:
		act_discard(w, run);
		break;
	case ROLLOUT_DO_SETTLE:
		run->settled_ms = w->now_ms + hash_of(w->plan->seed, run->number, w->now_ms) % 150;
		break;
	case ROLLOUT_DO_COMMIT:
		act_commit(w, run);
		break;
	case ROLLOUT_DO_UNNAME:
		act_unname(w, run);
		break;
	case ROLLOUT_DO_LEAVE:
	case ROLLOUT_DO_DRAIN:
	case ROLLOUT_DO_STOP:
		act_on_victims(w, run, action->type);
		break;
	case ROLLOUT_DO_KILL:
		act_kill(w, run);
		break;
	case ROLLOUT_DO_TIMER:
		run->timer_ms = action->at_ms;
		break;
	case ROLLOUT_DO_NO_TIMER:
		run->timer_ms = NEVER;
		break;
	case ROLLOUT_DO_END:
		act_end(w, run);
		break;
	case ROLLOUT_DO_VERIFY:
	case ROLLOUT_DO_SHIFTED:
		break;
	}
	return -1;
}

/* ---- stepping ------------------------------------------------------------------------------- */

/* What the shell does because of where the machine went, without being told by an action. */
static void follow(struct world *w, struct run *run, const struct rollout *before,
		   enum rollout_event event)
{
	const struct rollout *m = &run->machine;
	bool turned = before->to != m->to;

	if (event == ROLLOUT_SHIFT_FAILED && turned)
		marks_restore(w);
	if (event == ROLLOUT_STOPPED && before->state == ROLLOUT_STOPPING)
		act_kill(w, run);
	if (event == ROLLOUT_SHIFTED || event == ROLLOUT_SHIFT_FAILED || turned)
		release_batch(w, run);
	if (m->state != before->state)
		run->answer_ms = NEVER;
	/* Undone before anything was shifted: nothing is published, all new ones go. */
	if (turned && m->state == ROLLOUT_STOPPING)
		for_each_used (i, w)
			if (is_of(w, run, i, ROLLOUT_NEW))
				i->victim = true;
}

static int step(struct world *w, struct run *run, enum rollout_event event)
{
	struct rollout before = run->machine;
	struct rollout_actions actions;
	int next = -1;

	rollout_step(&run->machine, event, w->now_ms, &actions);
	trace(w, "rollout %u: %s: %s -> %s", run->number, rollout_event_name(event),
	      rollout_state_name(before.state), rollout_state_name(run->machine.state));
	follow(w, run, &before, event);
	invariants_of_step(w, run, &before, event, &actions);
	for (size_t k = 0; k < actions.n && !w->failure[0]; k++) {
		trace_action(w, run, &actions.list[k]);
		invariants_of_action(w, run, &actions.list[k]);
		next = act(w, run, &actions.list[k]);
	}
	return next;
}

void run_feed(struct world *w, struct run *run, enum rollout_event event)
{
	int next = (int)event;

	for (int n = 0; next >= 0 && run->used && !w->failure[0]; n++) {
		next = step(w, run, (enum rollout_event)next);
		if (n == 100)
			world_fail(w, "rollout %u goes round in circles", run->number);
	}
	if (run->used && !run->decided && rollout_is_decided(&run->machine)) {
		run->decided = true;
		service_release(w, run);
	}
}

struct run *run_new(struct world *w)
{
	for (struct run *run = w->runs; run < w->runs + RUNS_MAX; run++)
		if (!run->used)
			return run;
	return NULL;
}

/* Longer than any rollout of this policy may take: every deadline of every cycle. */
static uint64_t longest(const struct rollout_policy *p, uint32_t n)
{
	uint64_t cycle = p->start_timeout_ms + 2 * (p->gate_timeout_ms + p->promote_timeout_ms) +
			 p->settle_timeout_ms + p->bake_ms + p->leave_timeout_ms +
			 p->old_drain_timeout_ms + p->new_drain_timeout_ms + p->stop_timeout_ms;
	uint64_t steps = p->n_steps * (2 * p->promote_timeout_ms + p->gate_timeout_ms);

	return p->prepare_timeout_ms + steps + 2 * (n + 2) * cycle;
}

void run_begin(struct world *w, struct run *run, const struct rollout_policy *policy,
	       uint32_t n_old, uint32_t n_new, bool retire)
{
	run->used = true;
	run->number = w->next_run++;
	run->timer_ms = run->answer_ms = run->settled_ms = NEVER;
	run->n[ROLLOUT_OLD] = n_old;
	run->n[ROLLOUT_NEW] = n_new;
	run->begun_ms = w->now_ms;
	run->must_end_ms = w->now_ms + longest(policy, n_old + n_new);
	if (retire)
		rollout_init_retire(&run->machine, policy, n_old);
	else
		rollout_init(&run->machine, policy, n_old, n_new);
	run->decided = rollout_is_decided(&run->machine);
	trace(w, "rollout %u: from %u to %u instances%s", run->number, n_old, n_new,
	      retire ? " (retire)" : "");
	if (retire)
		for_each_used (i, w)
			if (i->run == run_index(w, run))
				i->victim = i->unnamed = true;
}

/* ---- seeing --------------------------------------------------------------------------------- */

static bool all_of(struct world *w, const struct run *run, bool victims,
		   bool (*is)(const struct instance *))
{
	for_each_used (i, w)
		if (i->run == run_index(w, run) && (victims ? i->victim : i->batch) && !is(i))
			return false;
	return true;
}

static bool is_listening(const struct instance *i)
{
	return i->server == SERVER_RUNNING && i->listening;
}

static bool has_left(const struct instance *i)
{
	return i->has_left || instance_has_failed(i) || instance_is_gone(i);
}

static bool is_idle(const struct instance *i)
{
	return !i->busy;
}

bool side_is_gone(struct world *w, const struct run *run, enum rollout_side side)
{
	for_each_used (i, w)
		if (is_of(w, run, i, side) && !instance_has_failed(i))
			return false;
	return true;
}

static bool batch_has_failed(struct world *w, const struct run *run)
{
	for_each_used (i, w)
		if (i->run == run_index(w, run) && i->batch && instance_has_failed(i))
			return true;
	return false;
}

static bool new_has_failed(struct world *w, const struct run *run)
{
	if (run->machine.committed || rollout_victim_is_new(&run->machine))
		return false;
	for_each_used (i, w)
		if (is_of(w, run, i, ROLLOUT_NEW) &&
		    (instance_has_failed(i) || (i->passed && !instance_is_healthy(i))))
			return true;
	return false;
}

static int look_at_batch(struct world *w, const struct run *run)
{
	const struct rollout *m = &run->machine;

	if (new_has_failed(w, run))
		return ROLLOUT_NEW_FAILED;
	if (batch_has_failed(w, run))
		return m->to == ROLLOUT_NEW ? ROLLOUT_NEW_FAILED : ROLLOUT_RESTORE_FAILED;
	if (m->state == ROLLOUT_STARTING)
		return all_of(w, run, false, is_listening) ? ROLLOUT_LISTENING : -1;
	return all_of(w, run, false, instance_is_healthy) ? ROLLOUT_HEALTHY : -1;
}

static int look_at_both(struct world *w, const struct run *run)
{
	const struct rollout *m = &run->machine;

	if (!rollout_victim_is_new(m) && m->has_old && !m->old_gone &&
	    side_is_gone(w, run, ROLLOUT_OLD))
		return ROLLOUT_OLD_GONE;
	if (new_has_failed(w, run))
		return ROLLOUT_NEW_FAILED;
	if (m->state == ROLLOUT_SETTLING && w->now_ms >= run->settled_ms)
		return ROLLOUT_SETTLED;
	return -1;
}

static int look_at_victims(struct world *w, const struct run *run)
{
	enum rollout_state state = run->machine.state;

	if (run->machine.turn == ROLLOUT_NO_CAUSE && new_has_failed(w, run))
		return ROLLOUT_NEW_FAILED;
	if (all_of(w, run, true, instance_is_gone))
		return ROLLOUT_STOPPED;
	if (state == ROLLOUT_LEAVING && all_of(w, run, true, has_left))
		return ROLLOUT_LEFT;
	return state == ROLLOUT_DRAINING && all_of(w, run, true, is_idle) ? ROLLOUT_DRAINED : -1;
}

static int see(struct world *w, const struct run *run)
{
	switch (run->machine.state) {
	case ROLLOUT_IDLE:
		return ROLLOUT_BEGIN;
	case ROLLOUT_STARTING:
	case ROLLOUT_VERIFYING:
		return look_at_batch(w, run);
	case ROLLOUT_GATING:
	case ROLLOUT_DWELLING:
	case ROLLOUT_WAITING:
	case ROLLOUT_SETTLING:
	case ROLLOUT_BAKING:
		return look_at_both(w, run);
	case ROLLOUT_LEAVING:
	case ROLLOUT_DRAINING:
	case ROLLOUT_STOPPING:
		return look_at_victims(w, run);
	default:
		return -1;
	}
}

bool run_look(struct world *w, struct run *run)
{
	struct rollout before = run->machine;
	int event = see(w, run);

	if (event < 0)
		return false;
	if (event == ROLLOUT_HEALTHY)
		for_each_used (i, w)
			if (i->run == run_index(w, run) && i->batch)
				i->passed = true;
	run_feed(w, run, (enum rollout_event)event);
	return !run->used || memcmp(&before, &run->machine, sizeof(before)) != 0;
}

/* ---- time ----------------------------------------------------------------------------------- */

uint64_t run_due(const struct run *run)
{
	uint64_t at_ms = run->timer_ms < run->answer_ms ? run->timer_ms : run->answer_ms;

	if (run->machine.state == ROLLOUT_SETTLING && run->settled_ms < at_ms)
		at_ms = run->settled_ms;
	return at_ms;
}

void run_tick(struct world *w, struct run *run)
{
	if (run->answer_ms <= w->now_ms) {
		run->answer_ms = NEVER;
		run_feed(w, run, run->answer);
	} else if (run->timer_ms <= w->now_ms) {
		run->timer_ms = NEVER;
		run_feed(w, run, ROLLOUT_TIMER);
	}
	/* Being settled is seen by the next look. */
}
