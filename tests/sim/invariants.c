/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>

#include "tests/sim/sim.h"

void world_fail(struct world *w, const char *format, ...)
{
	va_list args;

	if (w->failure[0])
		return;
	va_start(args, format);
	vsnprintf(w->failure, sizeof(w->failure), format, args);
	va_end(args);
	trace(w, "FAILED: %s", w->failure);
}

/* ---- lifecycle.h ---------------------------------------------------------------------------- */

static void check_agent_action(struct world *w, const struct instance *i, enum agent_state before,
			       const struct lifecycle_action *action)
{
	switch (action->type) {
	case LIFECYCLE_DO_SPAWN:
		if (before != AGENT_STARTING && before != AGENT_DELAYING)
			world_fail(w, "agent: a server is started in state %d", before);
		if (i->told_leave || i->told_stop)
			world_fail(w, "agent: a server is started that was told to go");
		break;
	case LIFECYCLE_DO_SIGNAL:
		if (i->told_leave && !i->agent.closed)
			world_fail(
				w,
				"agent: the drain signal is sent before the duplicates are closed");
		break;
	case LIFECYCLE_DO_REPORT_LEFT:
		if (i->has_left || !i->told_leave)
			world_fail(w, "agent: left is reported twice, or though nobody asked");
		break;
	case LIFECYCLE_DO_REPORT_STOPPED:
		if (i->has_stopped || !i->told_stop)
			world_fail(w, "agent: stopped is reported twice, or though nobody asked");
		if (i->told_leave && !i->has_left && !i->agent.left)
			world_fail(w, "agent: stopped is reported, but left was not");
		/* Where the clock jumps the time for killing is over before anything was killed. */
		if (i->server != SERVER_NONE && i->defect != DEFECT_UNKILLABLE &&
		    (w->jumped_ms == 0 || w->now_ms > w->jumped_ms + LIFECYCLE_KILL_MS))
			world_fail(w, "agent: stopped is reported, but the server is there");
		break;
	default:
		break;
	}
}

void invariants_of_agent(struct world *w, const struct instance *i, enum agent_state before,
			 const struct lifecycle_actions *actions)
{
	enum agent_state state = i->agent.state;

	for (size_t k = 0; k < actions->n; k++)
		check_agent_action(w, i, before, &actions->list[k]);
	if (state >= AGENT_FAILED && !i->agent.closed)
		world_fail(w, "agent: duplicates are kept in state %d", state);
}

/* ---- rollout.h, what is done ---------------------------------------------------------------- */

static void check_victims(struct world *w, const struct run *run, enum rollout_action_type type)
{
	for_each_used (i, w) {
		if (i->run != run_index(w, run) || !i->victim)
			continue;
		if (i->serves)
			world_fail(w, "instance %u goes, but is to serve", i->serial);
		if (type != ROLLOUT_DO_SETTLE && (i->named || i->backup))
			world_fail(w, "instance %u is told to go while a table names it",
				   i->serial);
	}
}

static void check_publish(struct world *w, struct run *run, const struct rollout_action *action)
{
	const struct rollout *m = &run->machine;
	bool healthy = false;

	if (action->weight > 0 && (action->weight <= run->weight || action->weight >= 100))
		world_fail(w, "weight %u after %u", action->weight, run->weight);
	run->weight = action->weight;
	for_each_used (i, w) {
		if (!is_of(w, run, i, action->to))
			healthy |= i->run == run_index(w, run) && instance_is_healthy(i);
		else if (!i->passed)
			world_fail(w, "instance %u is to be named, but has not passed its checks",
				   i->serial);
	}
	if (action->to == ROLLOUT_OLD && m->policy.strategy != ROLLOUT_ROLLING && m->has_old &&
	    run->n[ROLLOUT_NEW] > 0 && m->old_gone && healthy)
		world_fail(w, "rollout %u goes back to a side that is gone", run->number);
}

static void check_commit(struct world *w, const struct run *run)
{
	uint32_t serving = 0;

	for_each_used (i, w) {
		serving += is_of(w, run, i, ROLLOUT_NEW) && i->serves;
		if (is_of(w, run, i, ROLLOUT_OLD) && (!i->victim || i->serves))
			world_fail(w, "rollout %u is committed while an old one serves",
				   run->number);
	}
	if (serving == 0)
		world_fail(w, "rollout %u is committed to nobody", run->number);
}

void invariants_of_action(struct world *w, struct run *run, const struct rollout_action *action)
{
	switch (action->type) {
	case ROLLOUT_DO_PUBLISH:
		check_publish(w, run, action);
		break;
	case ROLLOUT_DO_SETTLE:
	case ROLLOUT_DO_LEAVE:
	case ROLLOUT_DO_DRAIN:
	case ROLLOUT_DO_STOP:
		check_victims(w, run, action->type);
		break;
	case ROLLOUT_DO_COMMIT:
		check_commit(w, run);
		break;
	case ROLLOUT_DO_SHIFTED:
		for_each_used (i, w)
			if (is_of(w, run, i, ROLLOUT_OLD) && i->serves)
				world_fail(w, "rollout %u says it has shifted in full too early",
					   run->number);
		break;
	default:
		break;
	}
}

/* Does the deadline of this state mean that something has not come in time? */
static bool is_deadline(const struct rollout *before)
{
	switch (before->state) {
	case ROLLOUT_PREPARING:
	case ROLLOUT_STARTING:
	case ROLLOUT_VERIFYING:
	case ROLLOUT_GATING:
	case ROLLOUT_WAITING:
		return true;
	case ROLLOUT_DWELLING:
		return before->policy.steps[before->step].manual;
	default:
		return false;
	}
}

/* Whatever is against the new side while there is a way back must be followed by turning round. */
static bool must_turn(const struct rollout *before, enum rollout_event event)
{
	bool is_lost = before->old_gone && before->policy.strategy != ROLLOUT_ROLLING;

	if (event != ROLLOUT_ABORT && event != ROLLOUT_QUIT && event != ROLLOUT_NEW_FAILED)
		return false;
	return before->has_old && before->has_new && before->to == ROLLOUT_NEW &&
	       !before->committed && !is_lost && before->state != ROLLOUT_IDLE;
}

void invariants_of_step(struct world *w, const struct run *run, const struct rollout *before,
			enum rollout_event event, const struct rollout_actions *actions)
{
	const struct rollout *m = &run->machine;

	if ((actions->n > 0 || m->state != before->state) &&
	    !coverage_note(before->state, event, m->state))
		world_fail(w, "the model does not know %s, %s -> %s",
			   rollout_state_name(before->state), rollout_event_name(event),
			   rollout_state_name(m->state));
	if (event == ROLLOUT_TIMER && is_deadline(before) && !before->committed &&
	    !rollout_victim_is_new(m))
		world_fail(w, "rollout %u: a deadline means \"go on\"", run->number);
	if (must_turn(before, event) && m->to == ROLLOUT_NEW && m->turn == ROLLOUT_NO_CAUSE)
		world_fail(w, "rollout %u: %s comes to nothing", run->number,
			   rollout_event_name(event));
	if (before->committed && !m->committed)
		world_fail(w, "rollout %u was committed", run->number);
	if (before->committed && rollout_victim_is_new(m))
		world_fail(w, "rollout %u turns round after the point of no return", run->number);
	if (run->decided && !rollout_is_decided(m))
		world_fail(w, "rollout %u was decided", run->number);
}

void invariants_of_end(struct world *w, const struct run *run)
{
	const struct rollout *m = &run->machine;
	enum rollout_side gone = rollout_from(m);

	for_each_used (i, w)
		if (is_of(w, run, i, gone) || (i->run == run_index(w, run) && !i->serves))
			world_fail(w, "rollout %u leaves instance %u behind", run->number,
				   i->serial);
	if (m->has_new && (m->outcome == ROLLOUT_DONE) != (m->to == ROLLOUT_NEW))
		world_fail(w, "rollout %u: outcome %s", run->number,
			   rollout_outcome_name(m->outcome));
	if ((m->outcome == ROLLOUT_ROLLED_BACK) != (m->to == ROLLOUT_OLD && run->shifted))
		world_fail(w, "rollout %u: outcome %s, shifted %d", run->number,
			   rollout_outcome_name(m->outcome), run->shifted);
	if (m->turn != ROLLOUT_NO_CAUSE)
		world_fail(w, "rollout %u ends without having turned round", run->number);
	if (m->outcome == ROLLOUT_DONE && m->has_new && !m->full)
		world_fail(w, "rollout %u ends without having shifted in full", run->number);
	if (m->alive[m->to] != m->wanted[m->to] || m->alive[gone] != 0)
		world_fail(w, "rollout %u ends with %u and %u alive", run->number, m->alive[m->to],
			   m->alive[gone]);
}

/* ---- always --------------------------------------------------------------------------------- */

struct tally {
	uint32_t alive[_ROLLOUT_SIDE_COUNT];
	uint32_t batch, victims, serving, processes;
};

static struct tally count(struct world *w, const struct run *run)
{
	struct tally t = {0};

	for_each_used (i, w) {
		if (i->run != run_index(w, run))
			continue;
		t.alive[i->side]++;
		t.batch += i->batch;
		t.victims += i->victim;
		t.serving += i->serves;
		t.processes += !instance_is_gone(i);
	}
	return t;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static void check_rolling(struct world *w, const struct run *run, const struct tally *t)
{
	const struct rollout *m = &run->machine;
	uint32_t surge = m->policy.max_surge;
	uint32_t least = smaller(m->wanted[ROLLOUT_OLD], m->wanted[ROLLOUT_NEW]);

	if (t->processes > larger(run->n[ROLLOUT_OLD], run->n[ROLLOUT_NEW]) + surge)
		world_fail(w, "rollout %u: %u are alive, of %u and a surge of %u", run->number,
			   t->processes, larger(run->n[ROLLOUT_OLD], run->n[ROLLOUT_NEW]), surge);
	least = larger(1, least - smaller(least, m->policy.max_unavailable));
	if (t->serving < least)
		world_fail(w, "rollout %u: only %u serve, not %u", run->number, t->serving, least);
}

static void check_run(struct world *w, const struct run *run)
{
	const struct rollout *m = &run->machine;
	struct tally t = count(w, run);

	if (w->now_ms > run->must_end_ms)
		world_fail(w, "rollout %u does not end", run->number);
	if (run->decided)
		return;
	if (t.alive[ROLLOUT_OLD] != m->alive[ROLLOUT_OLD] ||
	    t.alive[ROLLOUT_NEW] != m->alive[ROLLOUT_NEW] || t.batch != m->batch ||
	    t.victims != m->victims)
		world_fail(
			w,
			"rollout %u counts %u+%u (batch %u, victims %u), there are %u+%u (%u, %u)",
			run->number, m->alive[ROLLOUT_OLD], m->alive[ROLLOUT_NEW], m->batch,
			m->victims, t.alive[ROLLOUT_OLD], t.alive[ROLLOUT_NEW], t.batch, t.victims);
	if (!m->has_old)
		return;
	if (m->policy.strategy == ROLLOUT_ROLLING)
		check_rolling(w, run, &t);
	else if (t.serving < smaller(m->wanted[ROLLOUT_OLD], m->wanted[ROLLOUT_NEW]))
		world_fail(w, "rollout %u: only %u serve", run->number, t.serving);
}

static void check_instance(struct world *w, const struct instance *i)
{
	if ((i->named || i->backup) && !i->passed)
		world_fail(w, "instance %u is named, but has not passed its checks", i->serial);
	if (i->serves && (i->told_leave || i->told_stop))
		world_fail(w, "instance %u serves, but was told to go", i->serial);
	if (i->serves && !i->named && !w->table_is_old)
		world_fail(w, "instance %u serves, but the table does not name it", i->serial);
	if (i->told_leave && !i->has_left && !i->told_stop && i->agent_alive && !i->agent_hung &&
	    w->now_ms > i->leave_by_ms)
		world_fail(w, "agent: instance %u does not leave", i->serial);
	if (i->told_stop && i->agent_alive && !i->agent_hung && w->now_ms > i->stop_by_ms)
		world_fail(w, "agent: instance %u does not stop", i->serial);
}

/*
 * Some table names a live slot, unless all who serve have ended by themselves; or all whom a table
 * names that cannot be replaced at the moment.
 */
static void check_service(struct world *w)
{
	uint32_t serving = 0, live = 0;
	bool covered = false, holed = w->table_is_holed;

	for_each_used (i, w) {
		serving += i->serves;
		live += i->serves && instance_is_live(i);
		covered |= (i->named || i->backup) && instance_is_live(i);
		holed |= i->named && !instance_is_live(i) && !i->told_leave && !i->told_stop;
	}
	if (!w->has_been_up || w->is_stopped || w->all_died)
		return;
	if (serving == 0)
		world_fail(w, "nobody is to serve");
	if (live > 0 && !covered && !(w->table_is_old && holed))
		world_fail(w, "no table names a live slot");
}

void invariants_of_world(struct world *w)
{
	for_each_run (run, w)
		check_run(w, run);
	for_each_used (i, w)
		check_instance(w, i);
	check_service(w);
}
