/* SPDX-License-Identifier: BSD-2-Clause */
/* What must hold of a rollout's actions, and at its end. */
#include <string.h>

#include "tests/sim/sim.h"

/* ---- choosing ------------------------------------------------------------------------------- */

/* The less there is to lose, the higher. */
static int dispensable(const struct node *n)
{
	return 2 * (n->before == INSTANCE_OUT) + node_is_bad(n);
}

static bool goes_before(const struct node *a, const struct node *b)
{
	if (dispensable(a) != dispensable(b))
		return dispensable(a) > dispensable(b);
	return a->instance->index < b->instance->index;
}

static void check_choice(struct world *w, const struct run *run)
{
	for_each_instance (n, &run->side[rollout_from(&run->machine)]) {
		if (instances_have(&run->victims, n->instance))
			continue;
		for_each_instance (victim, &run->victims)
			if (goes_before(n, victim))
				world_fail(w, "rollout %u: instance %u goes, and not %u", run->id,
					   victim->serial, n->serial);
	}
}

/* ---- actions, before ------------------------------------------------------------------------ */

static void check_publish(struct world *w, struct run *run, const struct rollout_action *action)
{
	const struct rollout *m = &run->machine;
	struct watch *watch = watch_of(run);

	if (action->weight > 0 && (action->weight <= watch->weight || action->weight >= 100))
		world_fail(w, "weight %u after %u", action->weight, watch->weight);
	watch->weight = action->weight;
	for_each_instance (n, &run->side[action->to])
		if (!n->passed)
			world_fail(w, "instance %u is to be named, but has not passed its checks",
				   n->serial);
	if (action->to == ROLLOUT_NEW || m->policy.strategy == ROLLOUT_ROLLING ||
	    rollout_stops_first(m) || !m->old_gone)
		return;
	for_each_instance (n, &run->side[ROLLOUT_NEW])
		if (instance_is_healthy(n->instance))
			world_fail(w, "rollout %u goes back to a side that is gone", run->id);
}

void invariants_before_action(struct world *w, struct run *run, const struct rollout_action *action)
{
	struct watch *watch = watch_of(run);

	if (action->type != ROLLOUT_DO_PUBLISH)
		return;
	check_publish(w, run, action);
	watch->before = w->shares;
	for_each_used (n, w)
		n->before = n->instance->role;
}

/* ---- actions, after ------------------------------------------------------------------------- */

typedef void check(struct world *w, struct run *run, const struct rollout_action *action);

static void check_told(struct world *w, struct run *run, const struct rollout_action *action)
{
	static const enum event_kind kinds[_ROLLOUT_STATE_COUNT] = {
		[ROLLOUT_PREPARING] = EVENT_PREPARE, [ROLLOUT_STARTING] = EVENT_START,
		[ROLLOUT_VERIFYING] = EVENT_VERIFY,  [ROLLOUT_GATING] = EVENT_GATE,
		[ROLLOUT_SHIFTING] = EVENT_SHIFT,    [ROLLOUT_DWELLING] = EVENT_HOLD,
		[ROLLOUT_WAITING] = EVENT_WAIT,      [ROLLOUT_SETTLING] = EVENT_SETTLE,
		[ROLLOUT_BAKING] = EVENT_BAKE,       [ROLLOUT_DELAYING] = EVENT_DELAY,
		[ROLLOUT_LEAVING] = EVENT_LEAVE,     [ROLLOUT_DRAINING] = EVENT_DRAIN,
		[ROLLOUT_STOPPING] = EVENT_STOP,
	};
	struct watch *watch = watch_of(run);

	/* A delay that nobody was waited for in is not worth telling. */
	if (action->state == ROLLOUT_DELAYING && watch->told == 0 && action->ok &&
	    (w->plan->delay_auto || run->victims.n == 0))
		return;
	if (watch->told != 1 || watch->kind != kinds[action->state] || watch->ok != action->ok)
		world_fail(w, "rollout %u: the end of %s is not told", run->id,
			   rollout_state_name(action->state));
	watch->told = 0;
}

static void check_waiting(struct world *w, struct run *run, const struct rollout_action *action)
{
	(void)action;
	if (watch_of(run)->waiting != 1 || !run_waits_for(run))
		world_fail(w, "rollout %u: nobody is told that it waits", run->id);
	watch_of(run)->waiting = 0;
}

static void check_cancelled(struct world *w, struct run *run, const struct rollout_action *action)
{
	(void)action;
	if (daemon_asks(w, run) || run->answer >= 0)
		world_fail(w, "rollout %u: an answer is wanted that is not", run->id);
}

static void check_asked(struct world *w, struct run *run, const struct rollout_action *action)
{
	(void)action;
	if (!daemon_asks(w, run) && run->answer < 0)
		world_fail(w, "rollout %u waits for an answer, but has not asked", run->id);
}

static void check_started(struct world *w, struct run *run, const struct rollout_action *action)
{
	if (run->batch.n + run->unmade[action->to] < action->n || run->batch.n > action->n)
		world_fail(w, "rollout %u starts %zu, not %u", run->id, run->batch.n, action->n);
	if (run->machine.policy.one_way && action->to == ROLLOUT_OLD)
		world_fail(w, "rollout %u starts once more what has failed", run->id);
	if (watch_of(run)->quit)
		world_fail(w, "rollout %u starts instances though all is to end", run->id);
}

static void check_checked(struct world *w, struct run *run, const struct rollout_action *action)
{
	(void)action;
	for_each_instance (n, &run->batch)
		if (!n->checking && !n->has_failed)
			world_fail(w, "rollout %u: instance %u is not checked", run->id, n->serial);
}

static void check_shifted(struct world *w, struct run *run, const struct rollout_action *action)
{
	const struct instances *old = &run->side[ROLLOUT_OLD];
	uint32_t serving = 0;

	(void)action;
	for_each_instance (n, &run->side[ROLLOUT_NEW])
		serving += n->instance->role == INSTANCE_IN;
	if (serving == 0)
		world_fail(w, "rollout %u says it has shifted to nobody", run->id);
	for_each_instance (n, old)
		if (n->instance->role == INSTANCE_IN)
			world_fail(w, "rollout %u says it has shifted in full too early", run->id);
	if (watch_of(run)->hooks[HOOK_AFTER_SHIFT] != !run->partial)
		world_fail(w, "rollout %u: after_shift was not run, or twice", run->id);
}

static void check_restored(struct world *w, struct run *run, const struct rollout_action *action)
{
	const struct watch *watch = watch_of(run);

	(void)action;
	for (size_t side = 0; side < _ROLLOUT_SIDE_COUNT; side++)
		for_each_instance (n, &run->side[side])
			if (n->instance->role != n->before)
				world_fail(w,
					   "rollout %u: instance %u has another role than before",
					   run->id, n->serial);
	if (run->victims.n > 0 || w->shares.weight != watch->before.weight ||
	    w->shares.canary != watch->before.canary)
		world_fail(w, "rollout %u: the table from before does not stand", run->id);
}

static void check_discarded(struct world *w, struct run *run, const struct rollout_action *action)
{
	(void)action;
	if (run->batch.n > 0)
		world_fail(w, "rollout %u: %zu of a batch are left", run->id, run->batch.n);
}

static void check_committed(struct world *w, struct run *run, const struct rollout_action *action)
{
	uint32_t serving = 0;

	(void)action;
	for_each_instance (n, &run->side[ROLLOUT_NEW])
		serving += n->instance->role == INSTANCE_IN;
	if (serving == 0)
		world_fail(w, "rollout %u is committed to nobody", run->id);
	for_each_instance (n, &run->side[ROLLOUT_OLD])
		if (!instances_have(&run->victims, n->instance) || n->instance->role == INSTANCE_IN)
			world_fail(w, "rollout %u is committed while an old one serves", run->id);
	if (!run->partial && w->current != run->new)
		world_fail(w, "rollout %u: its service has not heard of the commit", run->id);
	for_each_instance (n, &run->side[ROLLOUT_NEW])
		if (!n->steady)
			world_fail(w, "rollout %u is committed to %u, which is not steady", run->id,
				   n->serial);
}

/* No table may name who leaves. */
static void check_going(struct world *w, struct run *run, const struct rollout_action *action)
{
	const struct rollout *m = &run->machine;

	if (run->victims.n + run->unmade[rollout_from(m)] < m->victims)
		world_fail(w, "rollout %u: %zu go, not %u", run->id, run->victims.n, m->victims);
	for_each_instance (n, &run->victims) {
		if (n->instance->role == INSTANCE_IN)
			world_fail(w, "instance %u goes, but is to serve", n->serial);
		if (action->type == ROLLOUT_DO_SETTLE)
			continue;
		if ((n->named || n->backup) && !w->table_is_old && !m->open)
			world_fail(w, "instance %u is told to go while a table names it",
				   n->serial);
		if (n->checking)
			world_fail(w, "instance %u goes, but is checked", n->serial);
	}
}

static void check_settling(struct world *w, struct run *run, const struct rollout_action *action)
{
	check_going(w, run, action);
	watch_of(run)->settle_ms = w->now_ms;
}

static void check_delaying(struct world *w, struct run *run, const struct rollout_action *action)
{
	(void)action;
	watch_of(run)->delay_ms = w->now_ms;
}

/* Nobody who has connections that a client may be about to use is told before his time. */
static void check_delayed(struct world *w, const struct run *run)
{
	const struct rollout *m = &run->machine;
	uint64_t since_ms = watch_of(run)->delay_ms, until_ms = since_ms + w->plan->delay_ms;
	bool opaque = false, silent = !w->plan->delay_auto;

	if (w->plan->delay_ms == 0 || m->old_gone || run->victims.n == 0)
		return;
	/* It gets no signal. */
	if (run->victims.list[0]->config->drain.wait == DRAIN_WAIT_CONNECTIONS)
		return;
	for_each_instance (n, &run->victims) {
		opaque |= n->defect == DEFECT_OPAQUE;
		silent |= n->silent > 0 && !n->has_stopped && n->silent_ms < since_ms;
	}
	if (run->drain.end_ms > 0 && run->drain.end_ms < until_ms)
		until_ms = run->drain.end_ms;
	if (since_ms == 0 || (silent && (!opaque || !w->plan->delay_auto) && w->now_ms < until_ms))
		world_fail(w, "rollout %u: its victims are told to leave too early", run->id);
}

/* If nobody else is left, new connections go to them until they have left. */
static void check_open(struct world *w, const struct run *run)
{
	if (!run->machine.policy.lasts || w->table_is_old)
		return;
	/* It was started again meanwhile. */
	for_each_used (n, w)
		if (n->instance->role == INSTANCE_IN && node_can_serve(n))
			return;
	for_each_instance (n, &run->victims)
		if (node_can_serve(n) && !n->has_left && !n->named)
			world_fail(w, "rollout %u: instance %u is refused new connections early",
				   run->id, n->serial);
}

static void check_leaving(struct world *w, struct run *run, const struct rollout_action *action)
{
	check_going(w, run, action);
	check_delayed(w, run);
	check_open(w, run);
	watch_of(run)->delay_ms = 0;
	for_each_instance (n, &run->victims)
		if (!n->told_leave && !n->has_stopped)
			world_fail(w, "instance %u is not told to leave", n->serial);
}

static void check_draining(struct world *w, struct run *run, const struct rollout_action *action)
{
	check_going(w, run, action);
	for_each_instance (n, &run->victims)
		if (!n->watched && w->plan->counted)
			world_fail(w, "instance %u drains unseen", n->serial);
}

static void check_drained(struct world *w, struct run *run, const struct rollout_action *action)
{
	struct watch *watch = watch_of(run);

	(void)action;
	if (!run->machine.committed || watch->hooks[HOOK_AFTER_DRAIN] != !run->partial)
		world_fail(w, "rollout %u: after_drain was run too early, or not", run->id);
	watch->hooks[HOOK_AFTER_DRAIN] = 0;
}

static void check_stopping(struct world *w, struct run *run, const struct rollout_action *action)
{
	check_going(w, run, action);
	for_each_instance (n, &run->victims) {
		if (!n->told_stop && !n->has_stopped)
			world_fail(w, "instance %u is not told to stop", n->serial);
		if (w->plan->force && run->drain.left > 0 && n->connections > 0 &&
		    n->defect != DEFECT_OPAQUE)
			world_fail(w, "instance %u has connections that were to be cut", n->serial);
	}
}

static void check_killed(struct world *w, struct run *run, const struct rollout_action *action)
{
	(void)action;
	for_each_instance (n, &run->victims)
		if (!n->has_stopped)
			world_fail(w, "rollout %u: instance %u was not killed", run->id, n->serial);
}

static void check_reaped(struct world *w, struct run *run, const struct rollout_action *action)
{
	(void)action;
	if (run->victims.n > 0)
		world_fail(w, "rollout %u forgets to forget %zu victims", run->id, run->victims.n);
}

static void check_timer(struct world *w, struct run *run, const struct rollout_action *action)
{
	struct watch *watch = watch_of(run);

	watch->deadline_ms = action->at_ms;
	if ((run->machine.state == ROLLOUT_DRAINING || run->machine.state == ROLLOUT_DELAYING) &&
	    run->drain.end_ms > 0 && run->drain.end_ms < action->at_ms)
		watch->deadline_ms = run->drain.end_ms;
	if (!daemon_has_armed(w, &run->timer, watch->deadline_ms))
		world_fail(w, "rollout %u: its deadline is another one", run->id);
	/* One that is over already is due now. */
	watch->armed_ms = watch->deadline_ms;
	if (watch->deadline_ms < w->now_ms)
		watch->deadline_ms = w->now_ms;
}

static void check_no_timer(struct world *w, struct run *run, const struct rollout_action *action)
{
	(void)action;
	if (daemon_has_armed(w, &run->timer, watch_of(run)->armed_ms))
		world_fail(w, "rollout %u keeps a deadline", run->id);
	watch_of(run)->deadline_ms = NEVER;
}

static void check_undone(struct world *w, struct run *run, const struct rollout_action *action)
{
	bool back = run->machine.outcome == ROLLOUT_ROLLED_BACK;
	const uint32_t *hooks = watch_of(run)->hooks;

	(void)action;
	if (hooks[HOOK_ON_ROLLBACK] != (back && !run->partial) ||
	    hooks[HOOK_ON_FAILURE] != (!back && !run->partial))
		world_fail(w, "rollout %u: the wrong hook was run, or none", run->id);
}

/* The victims back the others up, but for those that have never served. */
static void check_roles(struct world *w, const struct run *run)
{
	for (size_t side = 0; side < _ROLLOUT_SIDE_COUNT; side++)
		for_each_instance (n, &run->side[side]) {
			bool goes = instances_have(&run->victims, n->instance);
			enum instance_role role = !goes                       ? INSTANCE_IN
						  : n->before == INSTANCE_OUT ? INSTANCE_OUT
									      : INSTANCE_BACKUP;

			if (n->instance->role != role)
				world_fail(w, "rollout %u: instance %u has the wrong role", run->id,
					   n->serial);
		}
}

static void check_published(struct world *w, struct run *run, const struct rollout_action *action,
			    bool ok)
{
	struct generation *to = action->to == ROLLOUT_NEW ? run->new : run->old;

	check_choice(w, run);
	check_roles(w, run);
	if ((run->publish_error[0] == '\0') != ok)
		world_fail(w, "rollout %u: \"%s\" is said of publishing", run->id,
			   run->publish_error);
	if (!ok)
		return;
	for_each_instance (n, &run->batch)
		if (action->to == ROLLOUT_NEW && (!node_can_serve(n) || n->defect == DEFECT_HALF))
			world_fail(w, "rollout %u shifts to instance %u, which does not listen",
				   run->id, n->serial);
	if (w->shares.weight != action->weight ||
	    w->shares.canary != (action->weight > 0 ? to : NULL))
		world_fail(w, "rollout %u: another share is published", run->id);
	for_each_instance (n, &run->side[ROLLOUT_NEW])
		watch_of(run)->shifted |= n->named;
}

void invariants_of_action(struct world *w, struct run *run, const struct rollout_action *action,
			  int result)
{
	static check *const checks[] = {
		[ROLLOUT_DO_TELL] = check_told,
		[ROLLOUT_DO_PREPARE] = check_asked,
		[ROLLOUT_DO_CANCEL] = check_cancelled,
		[ROLLOUT_DO_START] = check_started,
		[ROLLOUT_DO_VERIFY] = check_checked,
		[ROLLOUT_DO_GATE] = check_asked,
		[ROLLOUT_DO_RESTORE] = check_restored,
		[ROLLOUT_DO_SHIFTED] = check_shifted,
		[ROLLOUT_DO_WAIT] = check_waiting,
		[ROLLOUT_DO_DISCARD] = check_discarded,
		[ROLLOUT_DO_SETTLE] = check_settling,
		[ROLLOUT_DO_COMMIT] = check_committed,
		[ROLLOUT_DO_DELAY] = check_delaying,
		[ROLLOUT_DO_LEAVE] = check_leaving,
		[ROLLOUT_DO_DRAIN] = check_draining,
		[ROLLOUT_DO_DRAINED] = check_drained,
		[ROLLOUT_DO_STOP] = check_stopping,
		[ROLLOUT_DO_KILL] = check_killed,
		[ROLLOUT_DO_REAP] = check_reaped,
		[ROLLOUT_DO_TIMER] = check_timer,
		[ROLLOUT_DO_NO_TIMER] = check_no_timer,
		[ROLLOUT_DO_UNDONE] = check_undone,
		[ROLLOUT_DO_END] = NULL,
	};

	if (action->type == ROLLOUT_DO_PUBLISH)
		check_published(w, run, action, result == ROLLOUT_SHIFTED);
	else if (checks[action->type])
		checks[action->type](w, run, action);
}

/* ---- the end -------------------------------------------------------------------------------- */

static void check_result(struct world *w, struct run *run)
{
	static const int exits[] = {
		[ROLLOUT_DONE] = 0, [ROLLOUT_FAILED] = 3, [ROLLOUT_ROLLED_BACK] = 4};
	const struct rollout *m = &run->machine;
	const struct watch *watch = watch_of(run);
	bool undone = m->outcome != ROLLOUT_DONE;
	struct run_result result, dead;

	run_result(run, &(struct run_serving){.generation = 1, .instances = 1, .wanted = 1},
		   &result);
	run_result(run, &(struct run_serving){.wanted = 1}, &dead);
	if (watch->hooks[HOOK_AFTER_SHIFT] != (m->full && !run->partial) ||
	    watch->hooks[HOOK_ON_FAILURE] != (m->outcome == ROLLOUT_FAILED && !run->partial) ||
	    watch->hooks[HOOK_ON_ROLLBACK] != (m->outcome == ROLLOUT_ROLLED_BACK && !run->partial))
		world_fail(w, "rollout %u: other hooks were run than those of its end", run->id);
	if (!watch->cut_unknown && result.cut != watch->cut)
		world_fail(w, "rollout %u: %u connections were cut, not %u", run->id,
			   (unsigned)watch->cut, (unsigned)result.cut);
	if (result.exit != (result.cut > 0 && !undone ? 5 : exits[m->outcome]))
		world_fail(w, "rollout %u: exit status %d", run->id, result.exit);
	if ((dead.exit == 8) != (undone || (m->has_new && !run->partial)))
		world_fail(w, "rollout %u: exit status %d though nothing serves", run->id,
			   dead.exit);
	if ((undone && watch->began) != (result.step[0] != '\0') ||
	    (undone && result.reason[0] == '\0'))
		world_fail(w, "rollout %u: nobody learns why", run->id);
	if (undone && (m->cause == ROLLOUT_ABORTED) !=
			      (watch->reason && strcmp(result.reason, watch->reason) == 0))
		world_fail(w, "rollout %u: \"%s\" is not why", run->id, result.reason);
	if (!undone && m->wanted[ROLLOUT_NEW] + result.missing != watch->n[ROLLOUT_NEW])
		world_fail(w, "rollout %u: %u are missing", run->id, result.missing);
}

void invariants_of_end(struct world *w, struct run *run)
{
	const struct rollout *m = &run->machine;
	enum rollout_side gone = rollout_from(m);

	if (run->side[gone].n > 0)
		world_fail(w, "rollout %u leaves %zu instances behind", run->id, run->side[gone].n);
	if (m->has_new && (m->outcome == ROLLOUT_DONE) != (m->to == ROLLOUT_NEW))
		world_fail(w, "rollout %u: outcome %s", run->id, rollout_outcome_name(m->outcome));
	if ((m->outcome == ROLLOUT_ROLLED_BACK) != (m->to == ROLLOUT_OLD && watch_of(run)->shifted))
		world_fail(w, "rollout %u: outcome %s, shifted %d", run->id,
			   rollout_outcome_name(m->outcome), watch_of(run)->shifted);
	if (m->turn != ROLLOUT_NO_CAUSE)
		world_fail(w, "rollout %u ends without having turned round", run->id);
	if (m->outcome == ROLLOUT_DONE && m->has_new && !m->full)
		world_fail(w, "rollout %u ends without having shifted in full", run->id);
	if (m->alive[m->to] != m->wanted[m->to] || m->alive[gone] != 0)
		world_fail(w, "rollout %u ends with %u and %u alive", run->id, m->alive[m->to],
			   m->alive[gone]);
	check_result(w, run);
}
