/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sees each event and each action of the real rollouts: the linker's --wrap puts these functions in
 * front of rollout_step() and run_act().
 */
#include "orchestrator/rollout/run_internal.h"
#include "tests/sim/sim.h"

void __real_rollout_step(struct rollout *rollout, enum rollout_event event, uint64_t now_ms,
			 struct rollout_actions *ret);
void __wrap_rollout_step(struct rollout *rollout, enum rollout_event event, uint64_t now_ms,
			 struct rollout_actions *ret);
int __real_run_act(struct run *run, const struct rollout_action *action);
int __wrap_run_act(struct run *run, const struct rollout_action *action);

struct watch *watch_of(const struct run *run)
{
	struct world *w = world_now();

	return &w->watches[run - w->runs];
}

/* Longer than any rollout of this policy may take: every deadline of every cycle. */
static uint64_t longest(const struct rollout_policy *p, uint32_t n)
{
	uint64_t cycle = p->start_timeout_ms + 2 * (p->gate_timeout_ms + p->promote_timeout_ms) +
			 p->settle_timeout_ms + p->bake_ms + p->old_delay_ms + p->new_delay_ms +
			 p->leave_timeout_ms + p->old_drain_timeout_ms + p->new_drain_timeout_ms +
			 2 * p->stop_timeout_ms;
	uint64_t steps = p->n_steps * (2 * p->promote_timeout_ms + p->gate_timeout_ms);

	return p->prepare_timeout_ms + steps + 2 * (n + 2) * cycle;
}

void witness_begin(struct world *w, struct run *run)
{
	const struct rollout *m = &run->machine;
	uint32_t n_old = m->wanted[ROLLOUT_OLD], n_new = m->wanted[ROLLOUT_NEW];

	*watch_of(run) = (struct watch){
		.decided = rollout_is_decided(m),
		.begun_ms = w->now_ms,
		.must_end_ms = w->now_ms + longest(&m->policy, n_old + n_new),
		.n = {[ROLLOUT_OLD] = n_old, [ROLLOUT_NEW] = n_new},
		.deadline_ms = NEVER,
	};
	trace(w, "rollout %u: %s, from %u to %u instances", run->id, run_order_name(run->order),
	      n_old, n_new);
}

void witness_limit(struct run *run, uint64_t end_ms)
{
	struct watch *watch = watch_of(run);

	run_limit_drain(run, end_ms);
	if ((run->machine.state == ROLLOUT_DRAINING || run->machine.state == ROLLOUT_DELAYING) &&
	    watch->deadline_ms > end_ms)
		watch->deadline_ms = end_ms;
}

void witness_tell(struct run *run, const struct event *event)
{
	struct watch *watch = watch_of(run);

	if (event->kind == EVENT_WAITING) {
		watch->waiting++;
		return;
	}
	if (event->kind == EVENT_DELAYING)
		return;
	watch->told++;
	watch->kind = event->kind;
	watch->ok = event->ok;
}

void __wrap_rollout_step(struct rollout *m, enum rollout_event event, uint64_t now_ms,
			 struct rollout_actions *ret)
{
	struct world *w = world_now();
	struct run *run = (struct run *)((char *)m - offsetof(struct run, machine));
	struct rollout before = *m;

	invariants_of_event(w, run, event);
	__real_rollout_step(m, event, now_ms, ret);
	if (ret->n > 0 || m->state != before.state)
		trace(w, "rollout %u: %s: %s -> %s", run->id, rollout_event_name(event),
		      rollout_state_name(before.state), rollout_state_name(m->state));
	invariants_of_step(w, run, &before, event, ret);
}

int __wrap_run_act(struct run *run, const struct rollout_action *action)
{
	struct world *w = world_now();
	int result;

	trace_action(w, run, action);
	invariants_before_action(w, run, action);
	result = __real_run_act(run, action);
	invariants_of_action(w, run, action, result);
	watch_of(run)->decided |= rollout_is_decided(&run->machine);
	return result;
}
