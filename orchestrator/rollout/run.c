/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/rollout/run.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/rollout/run_internal.h"
#include "common/vector.h"

#define STEPS_MAX 16
/* An agent that takes longer than its timeouts by that much counts as stuck. */
#define AGENT_MARGIN_MS 5000
/* The same for gates and before_start. */
#define COMMAND_MARGIN_MS 5000

void run_forget_instance(struct run *run, const struct instance *instance)
{
	if (instance == run->blamed)
		run_take_words(run, true);
	for (size_t side = 0; side < _ROLLOUT_SIDE_COUNT; side++)
		instances_remove(&run->side[side], instance);
	instances_remove(&run->batch, instance);
	instances_remove(&run->victims, instance);
}

/* ---- one event after the other --------------------------------------------------------------- */

/* Note how the drain has ended, before the machine moves on and the victims go. */
static void note_drain(struct run *run, enum rollout_event event)
{
	if (run->machine.state != ROLLOUT_DRAINING)
		return;
	if (event == ROLLOUT_TIMER || event == ROLLOUT_DRAINED)
		run_drain_end(run, event == ROLLOUT_TIMER);
}

/*
 * While it is open how the rollout ends, there are as many instances in each set as the machine
 * counts. Afterwards later rollouts may remove instances that serve.
 */
static void assert_counted(const struct run *run)
{
	const struct rollout *m = &run->machine;
	enum rollout_side from = rollout_from(m);
	uint32_t unmade = run->unmade[m->to] < m->batch ? run->unmade[m->to] : m->batch;

	if (rollout_is_decided(m))
		return;
	for (size_t k = 0; k < _ROLLOUT_SIDE_COUNT; k++)
		assert(run->side[k].n + run->unmade[k] == m->alive[k]);
	assert(run->batch.n + unmade == m->batch);
	unmade = run->unmade[from] < m->victims ? run->unmade[from] : m->victims;
	assert(run->victims.n + unmade == m->victims);
}

/* One event through the machine, and its actions. Returns an event that follows at once, or -1. */
static int step(struct run *run, enum rollout_event event)
{
	struct rollout_actions actions;
	int next = -1;

	run_note_failure(run, event);
	note_drain(run, event);
	run->step_weight = run->machine.weight;
	rollout_step(&run->machine, event, clock_monotonic_ms(), &actions);
	for (size_t k = 0; k < actions.n; k++) {
		int result = run_act(run, &actions.list[k]);

		assert(result < 0 || next < 0);
		if (result >= 0)
			next = result;
	}
	if (run->machine.batch == 0)
		run->batch.n = 0;
	if (run->machine.victims == 0)
		run->victims.n = 0;
	assert_counted(run);
	return next;
}

static void step_on(struct run *run, int event)
{
	while (event >= 0)
		event = step(run, (enum rollout_event)event);
}

bool run_observe(struct run *run)
{
	assert(run->id > 0);
	run_take_words(run, false);
	for (int n = 0; n < STEPS_MAX && run->machine.state != ROLLOUT_ENDED; n++) {
		int event = run_look(run);

		if (event < 0)
			break;
		step_on(run, event);
	}
	if (run->machine.state != ROLLOUT_ENDED)
		return false;
	run_take_words(run, true);
	return true;
}

/* ---- timers --------------------------------------------------------------------------------- */

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct run *run = userdata;
	uint64_t deadline_ms = run->deadline_ms;

	(void)source;
	(void)usec;
	/* An event that has just happened counts more; it may have set another deadline. */
	if (!run_observe(run) && run->deadline_ms == deadline_ms && deadline_ms > 0)
		step_on(run, ROLLOUT_TIMER);
	run_poke(run);
	return 0;
}

static int on_poll(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct run *run = userdata;
	enum rollout_state state = run->machine.state;

	(void)source;
	(void)usec;
	run_poke(run);
	if (state == ROLLOUT_SETTLING || state == ROLLOUT_DELAYING || state == ROLLOUT_DRAINING ||
	    (state == ROLLOUT_LEAVING && run->machine.open))
		run_poll(run);
	return 0;
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

/* The operator's part of it, for rollouts of whole generations only. */
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

/*
 * Can servers come by connections before a table names them? On tiers that cannot shift any can. On
 * an endpoint of IPv4-mapped sockets one with an IPv4 socket can, if no tap keeps it from that.
 */
static bool joins_at_once(const struct wiring *wiring)
{
	if (!steer_can(wiring->tier, STEER_CAN_SHIFT))
		return true;
	WIRING_EACH (k, wiring)
		if (!wiring->tap && address_is_mapped(steer_address(wiring->endpoints[k])))
			return true;
	return false;
}

/* The end of a service takes no longer than it may. No signal, no delay before it. */
static uint64_t delay_ms(const struct drain_config *drain, bool shutdown)
{
	uint64_t ms = drain->delay_auto ? drain->delay_max_ms : drain->delay_ms;

	if (drain->wait == DRAIN_WAIT_CONNECTIONS)
		return 0;
	return shutdown && ms > drain->shutdown_timeout_ms ? drain->shutdown_timeout_ms : ms;
}

static void make_policy(const struct run_host *host, const struct run_plan *plan,
			struct rollout_policy *ret)
{
	const struct service_config *config = plan->new ? plan->new->config : plan->old->config;
	/* Either side may go, each with the timeouts it was started with. */
	const struct drain_config *old = &(plan->old ? plan->old->config : config)->drain;
	const struct drain_config *new = &config->drain;
	bool can_shift = steer_can(host->wiring->tier, STEER_CAN_SHIFT);

	*ret = (struct rollout_policy){
		.prepare_timeout_ms = config->hooks.timeout_ms + COMMAND_MARGIN_MS,
		.start_timeout_ms = config->health.start_timeout_ms,
		.gate_timeout_ms = gates_time_ms(config),
		.promote_timeout_ms = config->rollout.promote_timeout_ms,
		.settle_timeout_ms = config->rollout.settle_timeout_ms,
		.old_delay_ms = delay_ms(old, plan->shutdown),
		.new_delay_ms = delay_ms(new, false),
		.leave_timeout_ms =
			longer(old->leave_timeout_ms, new->leave_timeout_ms) + AGENT_MARGIN_MS,
		.old_drain_timeout_ms = plan->shutdown ? old->shutdown_timeout_ms : old->timeout_ms,
		.new_drain_timeout_ms = new->timeout_ms,
		.stop_timeout_ms =
			longer(old->kill_timeout_ms, new->kill_timeout_ms) + AGENT_MARGIN_MS,
		/* If the tier can steer away from instances they need not leave. */
		.old_stays = can_shift && old->wait == DRAIN_WAIT_CONNECTIONS,
		.new_stays = can_shift &&new->wait == DRAIN_WAIT_CONNECTIONS,
		.joins_at_once = joins_at_once(host->wiring),
	};
	ret->lasts = !plan->new && !plan->partial && !plan->retire && !ret->old_stays;
	if (!plan->partial && plan->new)
		add_operator(ret, config);
	else if (plan->new && config->rollout.strategy == ROLLOUT_STOP_FIRST)
		ret->strategy = ROLLOUT_STOP_FIRST;
	ret->one_way = plan->partial;
}

void run_begin(struct run *run, const struct run_host *host, const struct run_plan *plan)
{
	struct rollout_policy policy;
	uint32_t n_old;

	assert(run->id == 0 && host->ops && plan->id > 0 && plan->order < _RUN_ORDER_COUNT);
	assert(plan->new || plan->old);
	assert(plan->new ? plan->n_new > 0 : plan->n_new == 0);
	assert(!plan->old || (plan->goes && plan->goes->n > 0));
	assert(!plan->retire || !plan->new);
	*run = (struct run){
		.host = host,
		.id = plan->id,
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
		.on_deadline = on_deadline,
		.on_poll = on_poll,
	};
	if (plan->goes)
		instances_copy(plan->goes, &run->side[ROLLOUT_OLD]);
	n_old = (uint32_t)run->side[ROLLOUT_OLD].n;
	make_policy(host, plan, &policy);
	if (plan->retire)
		rollout_init_retire(&run->machine, &policy, n_old);
	else
		rollout_init(&run->machine, &policy, n_old, plan->n_new);
	run_poke(run);
}

void run_abort(struct run *run, bool quit, const char *reason)
{
	enum rollout_outcome before;
	enum rollout_cause turn;
	char kept[sizeof(run->reason)];

	assert(run->id > 0);
	/* Look first: there may be nothing to go back to any more. */
	run_poke(run);
	if (run->machine.state != ROLLOUT_IDLE && run_observe(run))
		return;
	before = run->machine.outcome;
	turn = run->machine.turn;
	memcpy(kept, run->reason, sizeof(kept));
	run_set_reason(run, "%s", reason);
	step_on(run, quit ? ROLLOUT_QUIT : ROLLOUT_ABORT);
	/* If it was being undone already, or cannot be undone, the old reason stands. */
	if (run->machine.outcome == before && run->machine.turn == turn)
		memcpy(run->reason, kept, sizeof(run->reason));
	run_poke(run);
}

void run_limit_drain(struct run *run, uint64_t end_ms)
{
	if (run->drain.end_ms == 0 || run->drain.end_ms > end_ms)
		run->drain.end_ms = end_ms;
	if (!run_ends_with_service(run) || run->deadline_ms <= end_ms)
		return;
	run_set_deadline(run, end_ms);
}

bool run_can_promote(const struct run *run)
{
	enum rollout_state state = run->machine.state;

	return state == ROLLOUT_DWELLING || state == ROLLOUT_WAITING || state == ROLLOUT_BAKING;
}

void run_promote(struct run *run)
{
	assert(run->id > 0);
	step_on(run, ROLLOUT_PROMOTE);
	run_poke(run);
}

void run_done(struct run *run)
{
	run_cancel_questions(run);
	vector_free(run->environment);
	timer_done(&run->timer);
	timer_done(&run->poll);
	for (size_t side = 0; side < _ROLLOUT_SIDE_COUNT; side++)
		instances_done(&run->side[side]);
	instances_done(&run->batch);
	instances_done(&run->victims);
	*run = (struct run){};
}
