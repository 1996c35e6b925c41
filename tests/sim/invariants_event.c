/* SPDX-License-Identifier: BSD-2-Clause */
/* What must hold of a rollout's events and steps. */
#include "tests/sim/sim.h"

#define QUIET_MS      2  /* a queue must have been empty for so long */
#define QUIET_STAY_MS 20 /* ... where late handshakes do not migrate: see fake steer_can() */
#define POLL_MS       5  /* how often it is looked at */
#define DELAY_POLL_MS 20

/* ---- what is true --------------------------------------------------------------------------- */

typedef bool question(const struct node *n);

static bool all(const struct instances *set, question *is)
{
	for_each_instance (n, set)
		if (!is(n))
			return false;
	return true;
}

static bool any(const struct instances *set, question *is)
{
	for_each_instance (n, set)
		if (is(n))
			return true;
	return false;
}

static bool listens(const struct node *n)
{
	return n->joined && n->instance->pid != 0 && !n->has_failed;
}

static bool is_healthy(const struct node *n)
{
	return listens(n) && n->verdict == HEALTH_HEALTHY;
}

/* What is being stopped is out of the group, or as good as: see instance_has_left(). */
static bool has_left(const struct node *n)
{
	return n->has_left || n->seen_stop;
}

static bool has_stopped(const struct node *n)
{
	return n->has_stopped;
}

static bool has_exited(const struct node *n)
{
	return n->has_stopped || n->server == SERVER_NONE;
}

/* Or nobody knows. */
static bool has_queue(const struct node *n)
{
	return n->queued > 0 || (n->defect == DEFECT_OPAQUE && n->listening);
}

static uint64_t quiet_ms(void)
{
	return world_now()->plan->joins_at_once ? QUIET_STAY_MS : QUIET_MS;
}

static bool is_quiet(const struct node *n)
{
	return !has_queue(n) && world_now()->now_ms >= n->emptied_ms + quiet_ms();
}

static bool is_silent(const struct node *n)
{
	return n->silent > 0 && !n->has_stopped && n->defect != DEFECT_OPAQUE;
}

/* Was anybody silent then, and is he still? */
static bool any_silent_since(const struct run *run, uint64_t at_ms)
{
	for_each_instance (n, &run->victims)
		if (is_silent(n) && n->silent_ms <= at_ms)
			return true;
	return false;
}

static bool is_opaque(const struct node *n)
{
	return n->defect == DEFECT_OPAQUE;
}

/* That are waited for. */
static uint32_t connections(const struct node *n)
{
	bool idle = n->defect == DEFECT_IDLE && world_now()->plan->idle_timeout_ms > 0;

	return n->has_stopped || idle ? 0 : n->connections;
}

/* Or nobody knows. Without the kernel's counters what is queued counts, too. */
static bool has_connections(const struct node *n)
{
	if (has_exited(n))
		return false;
	if (connections(n) > 0 || world_now()->plan->counted)
		return connections(n) > 0;
	return n->defect == DEFECT_OPAQUE || (node_can_serve(n) && has_queue(n));
}

static bool is_short_of(const struct run *run)
{
	return run->batch.n < run->machine.batch;
}

static bool new_failed(const struct run *run)
{
	const struct rollout *m = &run->machine;

	return m->to == ROLLOUT_NEW && m->has_new &&
	       (any(m->committed ? &run->batch : &run->side[ROLLOUT_NEW], node_is_bad) ||
		is_short_of(run));
}

static bool old_is_gone(const struct run *run)
{
	return run->machine.to == ROLLOUT_NEW && run->machine.has_old &&
	       !any(&run->side[ROLLOUT_OLD], node_can_serve);
}

/* So long ago that a daemon that polls must have seen it. */
static bool has_settled(const struct run *run)
{
	const struct world *w = world_now();
	uint64_t since_ms = watch_of(run)->settle_ms;

	for_each_instance (n, &run->victims) {
		if (has_queue(n))
			return false;
		if (n->emptied_ms > since_ms)
			since_ms = n->emptied_ms;
	}
	if (since_ms < w->jumped_ms)
		since_ms = w->jumped_ms;
	if (since_ms < w->woke_ms)
		since_ms = w->woke_ms;
	return w->now_ms > since_ms + quiet_ms() + 2 * POLL_MS;
}

/* The same of a delay, if it is not for a fixed time. */
static bool has_been_delayed(const struct run *run)
{
	const struct world *w = world_now();
	uint64_t since_ms = watch_of(run)->delay_ms;

	if ((!w->plan->delay_auto && run->victims.n > 0) || any_silent_since(run, since_ms))
		return false;
	for_each_instance (n, &run->victims)
		if (n->spoken_ms > since_ms)
			since_ms = n->spoken_ms;
	if (since_ms < w->jumped_ms)
		since_ms = w->jumped_ms;
	if (since_ms < w->woke_ms)
		since_ms = w->woke_ms;
	return w->now_ms > since_ms + 2 * DELAY_POLL_MS;
}

static bool has_told_how(const struct node *n)
{
	return n->instance->pid == 0 || n->instance->lost || n->has_stopped;
}

/* How the victims have ended is known, or was waited for long enough. */
static bool has_heard_how(const struct run *run)
{
	const struct world *w = world_now();
	uint64_t since_ms = run->drain.exited_ms;

	if (since_ms == 0 || all(&run->victims, has_told_how))
		return true;
	if (since_ms < w->jumped_ms)
		since_ms = w->jumped_ms;
	if (since_ms < w->woke_ms)
		since_ms = w->woke_ms;
	return w->now_ms > since_ms + RUN_ENDS_WAIT_MS + 2 * POLL_MS;
}

/* The event of this state that everything waits for. */
static bool has_come(const struct run *run)
{
	switch (run->machine.state) {
	case ROLLOUT_STARTING:
		return all(&run->batch, listens) && !is_short_of(run);
	case ROLLOUT_VERIFYING:
		return all(&run->batch, is_healthy) && !is_short_of(run);
	case ROLLOUT_SETTLING:
		return has_settled(run);
	case ROLLOUT_DELAYING:
		return has_been_delayed(run);
	case ROLLOUT_LEAVING:
		return all(&run->victims, has_left);
	case ROLLOUT_DRAINING:
		return all(&run->victims, has_exited) && has_heard_how(run);
	case ROLLOUT_STOPPING:
		return all(&run->victims, has_stopped) &&
		       (!rollout_stops_first(&run->machine) || all(&run->victims, node_is_gone));
	default:
		return false;
	}
}

/* ---- events --------------------------------------------------------------------------------- */

static bool is_true(struct world *w, const struct run *run, enum rollout_event event)
{
	const struct rollout *m = &run->machine;

	switch (event) {
	case ROLLOUT_LISTENING:
	case ROLLOUT_HEALTHY:
	case ROLLOUT_LEFT:
	case ROLLOUT_STOPPED:
		return has_come(run);
	case ROLLOUT_DRAINED:
		return all(&run->victims, has_exited) || !any(&run->victims, has_connections);
	case ROLLOUT_SETTLED:
		return all(&run->victims, is_quiet) && !has_settled(run) &&
		       w->now_ms >= watch_of(run)->settle_ms + quiet_ms();
	case ROLLOUT_DELAYED:
		if (run->victims.n == 0)
			return true;
		return w->plan->delay_auto && !has_been_delayed(run) &&
		       (any(&run->victims, is_opaque) ||
			!any_silent_since(run, watch_of(run)->delay_ms - 1));
	case ROLLOUT_DEAF:
		return m->open && any(&run->victims, has_queue);
	case ROLLOUT_PREPARED:
	case ROLLOUT_PREPARE_FAILED:
	case ROLLOUT_GATE_PASSED:
	case ROLLOUT_GATE_FAILED:
	case ROLLOUT_GATE_UNSURE:
		return event == watch_of(run)->answer;
	case ROLLOUT_NEW_FAILED:
		return new_failed(run);
	case ROLLOUT_RESTORE_FAILED:
		return m->to == ROLLOUT_OLD && (any(&run->batch, node_is_bad) || is_short_of(run));
	case ROLLOUT_OLD_GONE:
		return old_is_gone(run);
	case ROLLOUT_TIMER:
		return w->now_ms >= watch_of(run)->deadline_ms && !has_come(run);
	default:
		return true;
	}
}

/* What the victims have at the deadline is cut, or nearly so. */
static void note_cut(const struct run *run)
{
	struct watch *watch = watch_of(run);

	for_each_instance (n, &run->victims) {
		watch->cut_unknown |= n->defect == DEFECT_OPAQUE;
		watch->cut += connections(n);
		if (!world_now()->plan->counted)
			watch->cut += n->queued;
	}
}

void invariants_of_event(struct world *w, struct run *run, enum rollout_event event)
{
	if (!is_true(w, run, event))
		world_fail(w, "rollout %u: %s in state %s is not true", run->id,
			   rollout_event_name(event), rollout_state_name(run->machine.state));
	watch_of(run)->began |= event == ROLLOUT_BEGIN;
	if (event == ROLLOUT_TIMER && run->machine.state == ROLLOUT_DRAINING)
		note_cut(run);
}

/* ---- steps ---------------------------------------------------------------------------------- */

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

/* Is there a way back that has not been taken? */
static bool could_turn(const struct rollout *m)
{
	bool is_lost =
		m->old_gone && m->policy.strategy != ROLLOUT_ROLLING && !rollout_stops_first(m);

	return m->has_old && m->has_new && m->to == ROLLOUT_NEW && !m->committed && !is_lost &&
	       m->state != ROLLOUT_IDLE;
}

/* Whatever is against the new side while there is a way back must be followed by turning round. */
static bool must_turn(const struct rollout *before, enum rollout_event event)
{
	return could_turn(before) &&
	       (event == ROLLOUT_ABORT || event == ROLLOUT_QUIT || event == ROLLOUT_NEW_FAILED);
}

static bool has(const struct rollout_actions *actions, enum rollout_action_type type)
{
	for (size_t k = 0; k < actions->n; k++)
		if (actions->list[k].type == type)
			return true;
	return false;
}

/* Whoever must act is told; after_drain is run when nothing can bring the old side back. */
static void check_words(struct world *w, const struct run *run, const struct rollout *before,
			const struct rollout_actions *actions)
{
	const struct rollout *m = &run->machine;
	bool waits = m->state == ROLLOUT_WAITING ||
		     (m->state == ROLLOUT_DWELLING && m->policy.steps[m->step].manual);
	bool drained = before->state == ROLLOUT_DRAINING && m->state != before->state &&
		       m->to == ROLLOUT_NEW && m->committed;

	/* What stops first is gone by then. */
	drained |= rollout_stops_first(m) && m->committed && !before->committed;
	if (m->state != before->state && waits != has(actions, ROLLOUT_DO_WAIT))
		world_fail(w, "rollout %u: nobody is told that it waits", run->id);
	if (drained != has(actions, ROLLOUT_DO_DRAINED))
		world_fail(w, "rollout %u: after_drain is run too early, or not", run->id);
}

/* A state that has ended is told, before anything else but the kill that ended it. */
static bool is_told_first(const struct rollout *before, const struct rollout_actions *actions)
{
	size_t at = actions->n > 0 && actions->list[0].type == ROLLOUT_DO_KILL;

	return actions->n > at && actions->list[at].type == ROLLOUT_DO_TELL &&
	       actions->list[at].state == before->state;
}

void invariants_of_step(struct world *w, struct run *run, const struct rollout *before,
			enum rollout_event event, const struct rollout_actions *actions)
{
	const struct rollout *m = &run->machine;

	if ((actions->n > 0 || m->state != before->state) &&
	    !coverage_note(before->state, event, m->state))
		world_fail(w, "the model does not know %s, %s -> %s",
			   rollout_state_name(before->state), rollout_event_name(event),
			   rollout_state_name(m->state));
	if (m->state != before->state && before->state != ROLLOUT_IDLE &&
	    !is_told_first(before, actions))
		world_fail(w, "rollout %u: %s has ended and is not told", run->id,
			   rollout_state_name(before->state));
	check_words(w, run, before, actions);
	if (event == ROLLOUT_TIMER && is_deadline(before) && !before->committed &&
	    !rollout_victim_is_new(m))
		world_fail(w, "rollout %u: a deadline means \"go on\"", run->id);
	if (must_turn(before, event) && m->to == ROLLOUT_NEW && m->turn == ROLLOUT_NO_CAUSE)
		world_fail(w, "rollout %u: %s comes to nothing", run->id,
			   rollout_event_name(event));
	if (before->committed && !m->committed)
		world_fail(w, "rollout %u was committed", run->id);
	if (rollout_stops_first(m) && before->state == ROLLOUT_STOPPING && !before->killed &&
	    event == ROLLOUT_TIMER && m->state != ROLLOUT_STOPPING)
		world_fail(w, "rollout %u does not wait for those that it has killed", run->id);
	if (before->committed && rollout_victim_is_new(m))
		world_fail(w, "rollout %u turns round after the point of no return", run->id);
	if (rollout_stops_first(m) && rollout_is_decided(m) && m->state != ROLLOUT_ENDED)
		world_fail(w, "rollout %u lets another one begin beside what is going", run->id);
	if (watch_of(run)->decided && !rollout_is_decided(m))
		world_fail(w, "rollout %u was decided", run->id);
}

/* ---- what has been overlooked --------------------------------------------------------------- */

static bool must_see_old_gone(const struct rollout *m)
{
	switch (m->state) {
	case ROLLOUT_DWELLING:
	case ROLLOUT_SETTLING:
	case ROLLOUT_BAKING:
	case ROLLOUT_DELAYING:
		return !m->old_gone;
	case ROLLOUT_GATING:
	case ROLLOUT_WAITING:
		return !m->old_gone && m->shifted && m->point != ROLLOUT_GATE_SHIFT;
	default:
		return false;
	}
}

void invariants_of_look(struct world *w, struct run *run)
{
	const struct rollout *m = &run->machine;

	if (must_see_old_gone(m) && old_is_gone(run))
		world_fail(w, "rollout %u does not see that the old side is gone", run->id);
	if (could_turn(m) && m->turn == ROLLOUT_NO_CAUSE && new_failed(run))
		world_fail(w, "rollout %u does not see that a new one has failed", run->id);
	if (m->batch > 0 && (any(&run->batch, node_is_bad) || is_short_of(run)))
		world_fail(w, "rollout %u does not see that one of the batch has failed", run->id);
	if (has_come(run))
		world_fail(w, "rollout %u does not see that %s is over", run->id,
			   rollout_state_name(m->state));
}
