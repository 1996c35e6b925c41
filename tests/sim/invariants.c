/* SPDX-License-Identifier: BSD-2-Clause */
/* What must hold of agents, and always. */
#include <stdarg.h>

#include "tests/sim/sim.h"

void world_fail(struct world *w, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(w->failure, sizeof(w->failure), format, args);
	va_end(args);
	trace(w, "FAILED: %s", w->failure);
	world_leave();
}

/* ---- lifecycle.h ---------------------------------------------------------------------------- */

static void check_agent_action(struct world *w, const struct node *n, enum agent_state before,
			       const struct lifecycle_action *action)
{
	switch (action->type) {
	case LIFECYCLE_DO_SPAWN:
		if (before != AGENT_STARTING && before != AGENT_DELAYING)
			world_fail(w, "agent: a server is started in state %d", before);
		if (n->told_leave || n->told_stop)
			world_fail(w, "agent: a server is started that was told to go");
		break;
	case LIFECYCLE_DO_SIGNAL:
		if (n->told_leave && !n->agent.closed)
			world_fail(
				w,
				"agent: the drain signal is sent before the duplicates are closed");
		break;
	case LIFECYCLE_DO_REPORT_LEFT:
		if (n->has_left || !n->told_leave)
			world_fail(w, "agent: left is reported twice, or though nobody asked");
		break;
	case LIFECYCLE_DO_REPORT_STOPPED:
		if (n->has_stopped || !n->told_stop)
			world_fail(w, "agent: stopped is reported twice, or though nobody asked");
		if (n->told_leave && !n->has_left && !n->agent.left)
			world_fail(w, "agent: stopped is reported, but left was not");
		/* Where the clock jumps the time for killing is over before anything was killed. */
		if (n->server != SERVER_NONE && n->defect != DEFECT_UNKILLABLE &&
		    (w->jumped_ms == 0 || w->now_ms > w->jumped_ms + LIFECYCLE_KILL_MS))
			world_fail(w, "agent: stopped is reported, but the server is there");
		break;
	default:
		break;
	}
}

void invariants_of_agent(struct world *w, const struct node *n, enum agent_state before,
			 const struct lifecycle_actions *actions)
{
	enum agent_state state = n->agent.state;

	for (size_t k = 0; k < actions->n; k++)
		check_agent_action(w, n, before, &actions->list[k]);
	if (state >= AGENT_FAILED && !n->agent.closed)
		world_fail(w, "agent: duplicates are kept in state %d", state);
}

/* ---- rollouts ------------------------------------------------------------------------------- */

struct tally {
	uint32_t serving, processes;
};

static struct tally count(const struct run *run)
{
	struct tally t = {0};

	for (size_t side = 0; side < _ROLLOUT_SIDE_COUNT; side++)
		for_each_instance (n, &run->side[side]) {
			t.serving += n->instance->role == INSTANCE_IN;
			t.processes += !node_is_gone(n);
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
	const uint32_t *n = watch_of(run)->n;
	uint32_t surge = m->policy.max_surge, most = larger(n[ROLLOUT_OLD], n[ROLLOUT_NEW]) + surge;
	uint32_t least = smaller(m->wanted[ROLLOUT_OLD], m->wanted[ROLLOUT_NEW]);

	if (t->processes > most)
		world_fail(w, "rollout %u: %u are alive, not %u", run->id, t->processes, most);
	least = larger(1, least - smaller(least, m->policy.max_unavailable));
	if (t->serving < least)
		world_fail(w, "rollout %u: only %u serve, not %u", run->id, t->serving, least);
}

/* The sets have as many members as the machine counts, but for those that could not be made. */
static void check_sets(struct world *w, const struct run *run)
{
	const struct rollout *m = &run->machine;
	enum rollout_side from = rollout_from(m);

	for (size_t side = 0; side < _ROLLOUT_SIDE_COUNT; side++)
		if (run->side[side].n + run->unmade[side] != m->alive[side])
			world_fail(w, "rollout %u counts %u of a side, there are %zu", run->id,
				   m->alive[side], run->side[side].n);
	if (run->batch.n > m->batch || run->batch.n + run->unmade[m->to] < m->batch)
		world_fail(w, "rollout %u counts a batch of %u, there are %zu", run->id, m->batch,
			   run->batch.n);
	if (run->victims.n > m->victims || run->victims.n + run->unmade[from] < m->victims)
		world_fail(w, "rollout %u counts %u victims, there are %zu", run->id, m->victims,
			   run->victims.n);
	for_each_instance (n, &run->victims)
		if (!instances_have(&run->side[from], n->instance))
			world_fail(w, "rollout %u: victim %u is not of the side that goes", run->id,
				   n->serial);
	for_each_instance (n, &run->batch)
		if (!instances_have(&run->side[m->to], n->instance))
			world_fail(w, "rollout %u: %u of the batch is not of the side that comes",
				   run->id, n->serial);
}

/* Who serves and is not on trial is started again by its agent; nobody else is. */
static void check_steady(struct world *w, const struct run *run, const struct node *n,
			 enum rollout_side side)
{
	const struct rollout *m = &run->machine;
	bool goes = instances_have(&run->victims, n->instance);
	bool on_trial = side == ROLLOUT_NEW && !m->committed;

	if (n->steady && (goes || on_trial) && !m->retire)
		world_fail(w, "rollout %u: instance %u is steady though it %s", run->id, n->serial,
			   goes ? "goes" : "is on trial");
	if (!n->steady && !goes && !on_trial && n->instance->role == INSTANCE_IN)
		world_fail(w, "rollout %u: instance %u serves, but is not steady", run->id,
			   n->serial);
}

static void check_members(struct world *w, const struct run *run)
{
	for (size_t side = 0; side < _ROLLOUT_SIDE_COUNT; side++)
		for_each_instance (n, &run->side[side]) {
			check_steady(w, run, n, (enum rollout_side)side);
			if ((n->told_leave || n->told_stop) &&
			    !instances_have(&run->victims, n->instance))
				world_fail(w, "rollout %u: instance %u is told to go, but stays",
					   run->id, n->serial);
		}
}

static uint64_t larger_ms(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void check_waiting(struct world *w, const struct run *run)
{
	const struct watch *watch = watch_of(run);
	uint64_t since_ms = watch->deadline_ms;

	if (w->now_ms > watch->must_end_ms)
		world_fail(w, "rollout %u does not end", run->id);
	since_ms = larger_ms(since_ms, larger_ms(w->jumped_ms, w->woke_ms));
	if (since_ms < w->now_ms && w->stalled_ms == 0)
		world_fail(w, "rollout %u: its deadline has passed", run->id);
	if (daemon_asks(w, run) && run->machine.state != ROLLOUT_PREPARING &&
	    run->machine.state != ROLLOUT_GATING)
		world_fail(w, "rollout %u still asks", run->id);
}

static void check_run(struct world *w, const struct run *run)
{
	const struct rollout *m = &run->machine;
	struct tally t;

	check_waiting(w, run);
	if (rollout_is_decided(m))
		return;
	check_sets(w, run);
	check_members(w, run);
	if (!m->has_old)
		return;
	t = count(run);
	if (w->plan->rollout.strategy == ROLLOUT_STOP_FIRST && m->has_new) {
		if (m->alive[ROLLOUT_OLD] > 0 && m->alive[ROLLOUT_NEW] > 0)
			world_fail(w, "rollout %u: both sides are alive", run->id);
	} else if (m->policy.strategy == ROLLOUT_ROLLING)
		check_rolling(w, run, &t);
	else if (t.serving < smaller(m->wanted[ROLLOUT_OLD], m->wanted[ROLLOUT_NEW]))
		world_fail(w, "rollout %u: only %u serve", run->id, t.serving);
}

/* ---- instances ------------------------------------------------------------------------------ */

static void check_instance(struct world *w, const struct node *n)
{
	bool serves = n->instance->role == INSTANCE_IN;

	if ((n->named || n->backup) && !n->passed)
		world_fail(w, "instance %u is named, but has not passed its checks", n->serial);
	if (serves && (n->told_leave || n->told_stop))
		world_fail(w, "instance %u serves, but was told to go", n->serial);
	if (n->told_leave && !n->has_left && !n->told_stop && n->agent_alive && !n->agent_hung &&
	    w->now_ms > n->leave_by_ms)
		world_fail(w, "agent: instance %u does not leave", n->serial);
	if (n->told_stop && n->agent_alive && !n->agent_hung && w->now_ms > n->stop_by_ms)
		world_fail(w, "agent: instance %u does not stop", n->serial);
}

/* What is left alone is of the generation that serves, and serves. */
static void check_staying(struct world *w, const struct node *n, const struct instances *staying)
{
	if (n->leftover)
		return;
	for_each_run (run, w)
		for (size_t side = 0; side < _ROLLOUT_SIDE_COUNT; side++)
			if (instances_have(&run->side[side], n->instance))
				return;
	if (!instances_have(staying, n->instance))
		world_fail(w, "nobody looks after instance %u", n->serial);
	if (n->instance->role != INSTANCE_IN || !n->steady)
		world_fail(w, "instance %u is left alone, but does not serve", n->serial);
}

/* It is to serve, but the table could not name it, or cannot any more, by its own fault. */
static bool is_hole(const struct node *n)
{
	bool serves = n->instance->role == INSTANCE_IN;
	bool told = n->told_leave || n->told_stop;

	return (serves && n->left_out) || ((serves || n->named) && !node_is_live(n) && !told);
}

/*
 * Some table names a live slot, unless all who serve have ended by themselves. A table that cannot
 * be replaced at the moment may name nobody alive if some who serve are missing from it.
 */
static void check_service(struct world *w)
{
	uint32_t serving = 0, live = 0;
	bool covered = false, holed = w->table_is_holed;
	bool stops_first = w->plan->rollout.strategy == ROLLOUT_STOP_FIRST;

	if (!w->has_been_up || w->is_stopped || w->all_died)
		return;
	for_each_used (n, w) {
		bool serves = n->instance->role == INSTANCE_IN;

		serving += serves;
		live += serves && node_is_live(n) && !n->left_out;
		covered |= (n->named || n->backup) && node_is_live(n);
		holed |= is_hole(n);
	}
	/* What stops first has nobody in between, and what cannot be started again. */
	if (serving == 0 && !stops_first)
		world_fail(w, "nobody is to serve");
	if (live > 0 && !covered && !(w->table_is_old && (holed || stops_first)))
		world_fail(w, "no table names a live slot");
}

/* What survives SIGKILL does nothing any more. */
static bool runs(const struct node *n)
{
	return n->server == SERVER_RUNNING && !n->instance->killed;
}

/* What cannot run twice does not. */
static void check_apart(struct world *w)
{
	if (w->plan->rollout.strategy != ROLLOUT_STOP_FIRST)
		return;
	for_each_used (a, w)
		for_each_used (b, w)
			if (runs(a) && runs(b) && a->generation < b->generation)
				world_fail(w, "instances %u and %u run at once", a->serial,
					   b->serial);
}

void invariants_of_world(struct world *w)
{
	cleanup(instances_done) struct instances staying = {};

	service_staying(w, &staying);
	for_each_run (run, w)
		check_run(w, run);
	for_each_used (n, w) {
		check_instance(w, n);
		check_staying(w, n, &staying);
	}
	check_service(w);
	check_apart(w);
}

void invariants_of_table(struct world *w)
{
	uint32_t serving = 0, named = 0;

	for_each_used (n, w) {
		bool serves = n->instance->role == INSTANCE_IN && node_can_serve(n);

		serving += serves;
		named += n->named;
		if (serves && n->verdict != HEALTH_UNHEALTHY && !n->named && !w->table_is_old)
			world_fail(w, "instance %u serves, but the table does not name it",
				   n->serial);
	}
	if (serving > 0 && named == 0 && !w->table_is_old)
		world_fail(w, "the table names nobody");
}
