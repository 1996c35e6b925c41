/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/rollout/run.h"

#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/rollout/run_internal.h"
#include "orchestrator/service/service.h"
#include "common/vector.h"

#define SETTLE_POLL_MS 5
#define DRAIN_POLL_MS  50
#define STEPS_MAX      16
/* What an agent may take on top of the timeouts it is given before it counts as stuck. */
#define AGENT_MARGIN_MS 5000
/* What gates and before_start may take on top of theirs. */
#define COMMAND_MARGIN_MS 5000

/* The victims have ended. */
static void reap(struct run *run)
{
	while (run->victims.n > 0)
		service_remove_instance(run->service, run->victims.list[0]);
}

void run_forget_instance(struct run *run, const struct instance *instance)
{
	for (size_t side = 0; side < _ROLLOUT_SIDE_COUNT; side++)
		instances_remove(&run->side[side], instance);
	instances_remove(&run->batch, instance);
	instances_remove(&run->victims, instance);
}

/* ---- one event after the other --------------------------------------------------------------- */

/*
 * How many connections the victims have. The counters miss that only the kernel still has to do
 * with some, the kernel's list that some have migrated away: whichever is less is right.
 */
static uint64_t still_open(struct run *run, uint64_t idle_ms)
{
	uint64_t live, listed;
	uint32_t queued;

	if (instances_live(&run->victims, &live) < 0)
		live = run->drain_began_with;
	else if (!run->service->wiring.tap && instances_queued(&run->victims, &queued) == 0)
		live += queued;
	if (instances_busy(&run->victims, idle_ms, &listed) < 0)
		return live;
	if (!run->service->wiring.tap && instances_queued(&run->victims, &queued) == 0)
		listed += queued;
	return listed < live ? listed : live;
}

/* What must be known before the machine moves on, because it will be gone afterwards. */
static void note_drain(struct run *run, enum rollout_event event)
{
	struct tap_count count;

	if (run->machine.state != ROLLOUT_DRAINING)
		return;
	if (event == ROLLOUT_TIMER) {
		run->cut_now = still_open(run, run_idle_timeout_ms(run));
		run->drain_idle = still_open(run, 0) - run->cut_now;
		run->cut += run->cut_now;
	} else if (event == ROLLOUT_DRAINED) {
		run->drain_idle = instances_have_exited(&run->victims) ? 0 : still_open(run, 0);
	}
	if (instances_count(&run->victims, &count) == 0 && count.reset > run->drain_reset_before)
		run->drain_resets = count.reset - run->drain_reset_before;
	if (run->drain_resets > run->drain_began_with)
		run->drain_resets = run->drain_began_with;
}

static void end_step(struct run *run, enum rollout_state step, bool ok)
{
	if (step != ROLLOUT_IDLE)
		run_tell_step(run, step, ok);
	run->step_began_ms = clock_monotonic_ms();
}

/* What is true of a step as soon as it has begun, or has not. */
static void enter_step(struct run *run, enum rollout_state before)
{
	const struct rollout *m = &run->machine;

	if (before == ROLLOUT_PREPARING || before == ROLLOUT_GATING)
		run_cancel_questions(run);
	if (before == ROLLOUT_DRAINING && !rollout_victim_is_new(m) && !run->partial &&
	    m->committed)
		service_hook(run->service, run, HOOK_AFTER_DRAIN);
	if (m->state == ROLLOUT_WAITING ||
	    (m->state == ROLLOUT_DWELLING && m->policy.steps[m->step].manual))
		run_tell_waiting(run);
}

static bool has_action(const struct rollout_actions *actions, enum rollout_action_type type)
{
	for (size_t k = 0; k < actions->n; k++)
		if (actions->list[k].type == type)
			return true;
	return false;
}

/* The sets follow what the machine has counted; DISCARD and STOP see to their own. */
static void follow_counts(struct run *run, const struct rollout_actions *actions)
{
	bool same_batch = run->machine.batch > 0 && !has_action(actions, ROLLOUT_DO_START);

	if (!same_batch && !has_action(actions, ROLLOUT_DO_DISCARD))
		run->batch.n = 0;
	if (run->machine.victims == 0)
		run->victims.n = 0;
}

static void tell_outcome(struct run *run, enum rollout_outcome before)
{
	enum rollout_outcome now = run->machine.outcome;

	if (now == before || run->partial)
		return;
	service_hook(run->service, run,
		     now == ROLLOUT_ROLLED_BACK ? HOOK_ON_ROLLBACK : HOOK_ON_FAILURE);
}

/* One event through the machine, and its actions. Returns an event that follows at once, or -1. */
static int step(struct run *run, enum rollout_event event)
{
	enum rollout_state before = run->machine.state;
	enum rollout_outcome outcome = run->machine.outcome;
	bool stopping = before == ROLLOUT_STOPPING, moved;
	struct rollout_actions actions;
	int next = -1;

	run_note_failure(run, event);
	note_drain(run, event);
	run->step_weight = run->machine.weight;
	rollout_step(&run->machine, event, clock_monotonic_ms(), &actions);
	moved = run->machine.state != before || actions.n > 0;
	/* How a stop ended is known only after a kill that it took. */
	for (size_t k = 0; k < actions.n && stopping; k++)
		if (actions.list[k].type == ROLLOUT_DO_KILL)
			run_act(run, &actions.list[k]);
	if (moved) {
		end_step(run, before, run->machine.outcome == outcome);
		enter_step(run, before);
	}
	if (moved && stopping)
		reap(run);
	follow_counts(run, &actions);
	for (size_t k = 0; k < actions.n; k++) {
		int result = actions.list[k].type == ROLLOUT_DO_KILL
				     ? -1
				     : run_act(run, &actions.list[k]);

		if (result >= 0)
			next = result;
	}
	tell_outcome(run, outcome);
	return next;
}

static void step_on(struct run *run, int event)
{
	while (event >= 0)
		event = step(run, (enum rollout_event)event);
}

bool run_observe(struct run *run)
{
	for (int n = 0; n < STEPS_MAX && run->machine.state != ROLLOUT_ENDED; n++) {
		int event = run_look(run);

		if (event < 0)
			break;
		step_on(run, event);
	}
	return run->machine.state == ROLLOUT_ENDED;
}

/* ---- timers --------------------------------------------------------------------------------- */

static void set_timer(struct run *run, sd_event_source **source, sd_event_time_handler_t handler,
		      uint64_t at_ms)
{
	int r;

	if (!*source) {
		r = sd_event_add_time(run->service->context->event, source, CLOCK_MONOTONIC,
				      at_ms * 1000, 1000, handler, run);
	} else {
		r = sd_event_source_set_time(*source, at_ms * 1000);
		if (r >= 0)
			r = sd_event_source_set_enabled(*source, SD_EVENT_ONESHOT);
	}
	if (r < 0)
		log_error("%s: timer: %s", run->service->config->name, strerror(-r));
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct run *run = userdata;

	(void)source;
	(void)usec;
	/* What has just become true counts more than the deadline. */
	if (!run_observe(run) && sd_event_source_get_enabled(source, NULL) == 0)
		step_on(run, ROLLOUT_TIMER);
	service_poke(run->service);
	return 0;
}

static int on_poll(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct run *run = userdata;
	enum rollout_state state = run->machine.state;

	(void)source;
	(void)usec;
	service_poke(run->service);
	if (state == ROLLOUT_SETTLING || state == ROLLOUT_DRAINING)
		run_poll(run);
	return 0;
}

void run_set_deadline(struct run *run, uint64_t at_ms)
{
	set_timer(run, &run->timer, on_timer, at_ms);
}

void run_poll(struct run *run)
{
	uint64_t every_ms = run->machine.state == ROLLOUT_SETTLING ? SETTLE_POLL_MS : DRAIN_POLL_MS;

	set_timer(run, &run->poll, on_poll, clock_monotonic_ms() + every_ms);
}

/* ---- life ----------------------------------------------------------------------------------- */

static uint64_t longer(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static unsigned gates_of(const struct service_config *config)
{
	static const enum rollout_gate points[] = {ROLLOUT_GATE_SHIFT, ROLLOUT_GATE_STEP,
						   ROLLOUT_GATE_LEAVE};
	unsigned gates = 0;

	for (size_t k = 0; k < sizeof(points) / sizeof(points[0]); k++)
		if (gates_any(config, points[k]))
			gates |= points[k];
	return gates;
}

static uint64_t gates_time_ms(const struct service_config *config)
{
	uint64_t most = longer(gates_timeout_ms(config, ROLLOUT_GATE_SHIFT),
			       gates_timeout_ms(config, ROLLOUT_GATE_STEP));

	return longer(most, gates_timeout_ms(config, ROLLOUT_GATE_LEAVE)) + COMMAND_MARGIN_MS;
}

/* The operator's part of it: not for what only adds, takes away or replaces instances. */
static void add_operator(struct rollout_policy *policy, const struct service_config *config)
{
	const struct rollout_config *rollout = &config->rollout;

	policy->strategy = rollout->strategy;
	policy->max_surge = rollout->max_surge;
	policy->max_unavailable = rollout->max_unavailable;
	memcpy(policy->steps, rollout->steps, sizeof(policy->steps));
	policy->n_steps = rollout->n_steps;
	policy->gates = gates_of(config);
	policy->before_start = config->hooks.command[HOOK_BEFORE_START] != NULL;
	policy->bake_ms = rollout->bake_ms;
}

static void make_policy(const struct service *s, const struct run_plan *plan,
			struct rollout_policy *ret)
{
	const struct service_config *config = plan->new ? plan->new->config : plan->old->config;
	/* Either side may be the one that goes, each with the timeouts it was started with. */
	const struct drain_config *old = &(plan->old ? plan->old->config : config)->drain;
	const struct drain_config *new = &config->drain;
	bool can_shift = steer_can(s->wiring.tier, STEER_CAN_SHIFT);

	*ret = (struct rollout_policy){
		.prepare_timeout_ms = config->hooks.timeout_ms + COMMAND_MARGIN_MS,
		.start_timeout_ms = config->health.start_timeout_ms,
		.gate_timeout_ms = gates_time_ms(config),
		.promote_timeout_ms = config->rollout.promote_timeout_ms,
		.settle_timeout_ms = config->rollout.settle_timeout_ms,
		.leave_timeout_ms =
			longer(old->leave_timeout_ms, new->leave_timeout_ms) + AGENT_MARGIN_MS,
		.old_drain_timeout_ms = plan->shutdown ? old->shutdown_timeout_ms : old->timeout_ms,
		.new_drain_timeout_ms = new->timeout_ms,
		.stop_timeout_ms =
			longer(old->kill_timeout_ms, new->kill_timeout_ms) + AGENT_MARGIN_MS,
		/* Steered away from is enough, where that is possible. */
		.old_stays = can_shift && old->wait == DRAIN_WAIT_CONNECTIONS,
		.new_stays = can_shift &&new->wait == DRAIN_WAIT_CONNECTIONS,
		.joins_at_once = !can_shift,
	};
	if (!plan->partial && plan->new)
		add_operator(ret, config);
}

void run_begin(struct run *run, struct service *service, const struct run_plan *plan)
{
	struct rollout_policy policy;
	uint32_t n_old;

	*run = (struct run){
		.service = service,
		.id = plan->id ? plan->id : ++service->context->last_rollout,
		.order = plan->order,
		.partial = plan->partial,
		.automatic = plan->automatic,
		.new = plan->new,
		.old = plan->old,
		.new_number = plan->new ? plan->new->number : 0,
		.old_number = plan->old ? plan->old->number : 0,
		.n_new = plan->n_new,
		.began_ms = clock_monotonic_ms(),
		.step_began_ms = clock_monotonic_ms(),
		.answer = -1,
	};
	if (plan->goes)
		run->side[ROLLOUT_OLD] = *plan->goes;
	n_old = (uint32_t)run->side[ROLLOUT_OLD].n;
	make_policy(service, plan, &policy);
	if (plan->retire)
		rollout_init_retire(&run->machine, &policy, n_old);
	else
		rollout_init(&run->machine, &policy, n_old, plan->n_new);
	service_poke(service);
}

void run_abort(struct run *run, bool quit, const char *reason)
{
	enum rollout_outcome before;
	enum rollout_cause turn;
	char kept[sizeof(run->reason)];

	/* There may be nothing to go back to any more. */
	service_poke(run->service);
	if (run->machine.state != ROLLOUT_IDLE && run_observe(run))
		return;
	before = run->machine.outcome;
	turn = run->machine.turn;
	memcpy(kept, run->reason, sizeof(kept));
	run_set_reason(run, "%s", reason);
	step_on(run, quit ? ROLLOUT_QUIT : ROLLOUT_ABORT);
	/* Where it was being undone already, or cannot be any more, the old reason stands. */
	if (run->machine.outcome == before && run->machine.turn == turn)
		memcpy(run->reason, kept, sizeof(run->reason));
	service_poke(run->service);
}

void run_limit_drain(struct run *run, uint64_t end_ms)
{
	if (run->drain_end_ms == 0 || run->drain_end_ms > end_ms)
		run->drain_end_ms = end_ms;
	if (run->machine.state != ROLLOUT_DRAINING || run->deadline_ms <= end_ms)
		return;
	run->deadline_ms = end_ms;
	run_set_deadline(run, end_ms);
}

bool run_can_promote(const struct run *run)
{
	enum rollout_state state = run->machine.state;

	return state == ROLLOUT_DWELLING || state == ROLLOUT_WAITING || state == ROLLOUT_BAKING;
}

void run_promote(struct run *run)
{
	step_on(run, ROLLOUT_PROMOTE);
	service_poke(run->service);
}

void run_done(struct run *run)
{
	run_cancel_questions(run);
	vector_free(run->environment);
	sd_event_source_disable_unref(run->timer);
	sd_event_source_disable_unref(run->poll);
	*run = (struct run){};
}
