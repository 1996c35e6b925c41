/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/host/command.h"
#include "orchestrator/rollout/run_internal.h"

static enum rollout_side other(enum rollout_side side)
{
	return side == ROLLOUT_NEW ? ROLLOUT_OLD : ROLLOUT_NEW;
}

static struct generation *generation_of(const struct run *run, enum rollout_side side)
{
	return side == ROLLOUT_NEW ? run->new : run->old;
}

/* ---- who ------------------------------------------------------------------------------------ */

/*
 * Choose as many victims as the machine has decided on. Instances that could not even be made go
 * before all others.
 */
static void choose_victims(struct run *run)
{
	const struct instances *from = &run->side[rollout_from(&run->machine)];
	uint32_t unmade = run->unmade[rollout_from(&run->machine)];
	size_t wanted = run->machine.victims, chosen[INSTANCES_MAX], n;
	struct choose_candidate list[INSTANCES_MAX];

	assert(from->n <= INSTANCES_MAX);
	for (size_t k = 0; k < from->n; k++)
		list[k] = (struct choose_candidate){
			.index = from->list[k]->index,
			.unserved = from->list[k]->role == INSTANCE_OUT,
			.bad = instance_has_failed(from->list[k]) ||
			       instance_is_unhealthy(from->list[k]),
			.taken = instances_have(&run->victims, from->list[k]),
		};
	wanted -= unmade < wanted ? unmade : wanted;
	wanted -= run->victims.n < wanted ? run->victims.n : wanted;
	n = choose(list, from->n, CHOOSE_LOWEST, wanted, chosen);
	if (n < wanted)
		log_error("%s: rollout %u: %zu more instances are to go, but there are only %zu",
			  run->host->name, run->id, wanted, n);
	for (size_t k = 0; k < n; k++)
		instances_add(&run->victims, from->list[chosen[k]]);
}

/* ---- before_start and gates ----------------------------------------------------------------- */

static void on_prepared(void *userdata, const struct command_result *result)
{
	struct run *run = userdata;
	bool good = !result->timed_out && !result->exit_signal && !result->exit_code;

	run->prepare = NULL;
	instance_ports_close(TAKE_PTR(run->ports));
	run->answer = good ? ROLLOUT_PREPARED : ROLLOUT_PREPARE_FAILED;
	snprintf(run->answer_text, sizeof(run->answer_text), "%s", result->text);
	run_poke(run);
}

static void on_gates(void *userdata, enum gates_answer answer, const char *text)
{
	static const enum rollout_event events[] = {
		[GATES_PASSED] = ROLLOUT_GATE_PASSED,
		[GATES_REFUSED] = ROLLOUT_GATE_FAILED,
		[GATES_UNSURE] = ROLLOUT_GATE_UNSURE,
	};
	struct run *run = userdata;

	run->gates = NULL;
	instance_ports_close(TAKE_PTR(run->ports));
	run->answer = events[answer];
	snprintf(run->answer_text, sizeof(run->answer_text), "%s", text);
	run_poke(run);
}

void run_cancel_questions(struct run *run)
{
	command_cancel(TAKE_PTR(run->prepare));
	gates_cancel(TAKE_PTR(run->gates));
	instance_ports_close(TAKE_PTR(run->ports));
	run->answer = -1;
}

/*
 * While the command of @point runs, its ports lead to whom it is about. Without ports it is told of
 * none, and asks like any client.
 */
static int pin_ports(struct run *run, enum hook_point point, struct command_spec *spec)
{
	const struct instances *whom = run_asked(run, point);
	struct error err;
	int r = instance_ports_open(whom->list, whom->n, INSTANCE_PORTS_GATE, &run->ports, &err);

	if (r < 0)
		log_warning("%s: a command gets no BATON_PROBE_PORTS: %s", run->host->name,
			    err.text);
	r = instance_ports_tell(run->ports, &run->environment);
	spec->environment = run->environment;
	return r;
}

static void act_prepare(struct run *run, const struct rollout_action *action)
{
	const struct run_host *host = run->host;
	struct command_spec spec;
	struct error err;
	int r;

	(void)action;
	run_cancel_questions(run);
	r = host->ops->command(host->userdata, run, HOOK_BEFORE_START, &spec, &run->environment,
			       &err);
	if (r >= 0 && pin_ports(run, HOOK_BEFORE_START, &spec) < 0)
		r = error_set(&err, -ENOMEM, "environment");
	if (r >= 0)
		r = command_start(host->event, &spec, on_prepared, run, &run->prepare, &err);
	if (r >= 0)
		return;
	run->answer = ROLLOUT_PREPARE_FAILED;
	snprintf(run->answer_text, sizeof(run->answer_text), "%s", err.text);
}

/* Connections that tables have sent to the new side since the first that named it. */
static bool count_connections(const struct run *run, uint64_t *ret)
{
	*ret = 0;
	for (size_t k = 0; k < run->side[ROLLOUT_NEW].n; k++) {
		uint64_t n;

		if (run->host->ops->steered_to(run->host->userdata, run->side[ROLLOUT_NEW].list[k],
					       &n) < 0)
			return false;
		*ret += n;
	}
	*ret -= run->accepted_before < *ret ? run->accepted_before : *ret;
	return true;
}

static void act_gate(struct run *run, const struct rollout_action *action)
{
	const struct run_host *host = run->host;
	struct gates_question question = {
		.event = host->event,
		.prober = host->prober,
		.config = run->new->config,
		.point = action->point,
	};
	struct error err;
	int r;

	assert(run->new && run->machine.state == ROLLOUT_GATING);
	run_cancel_questions(run);
	question.connections_known = count_connections(run, &question.connections);
	r = host->ops->command(host->userdata, run, _HOOK_COUNT, &question.command,
			       &run->environment, &err);
	if (r >= 0 && pin_ports(run, _HOOK_COUNT, &question.command) < 0)
		r = error_set(&err, -ENOMEM, "environment");
	if (r >= 0)
		r = gates_ask(&question, on_gates, run, &run->gates, &err);
	if (r >= 0)
		return;
	run->answer = ROLLOUT_GATE_FAILED;
	snprintf(run->answer_text, sizeof(run->answer_text), "gate: %s", err.text);
}

/* ---- acting --------------------------------------------------------------------------------- */

static void act_start(struct run *run, const struct rollout_action *action)
{
	struct generation *g = generation_of(run, action->to);

	assert(g && action->to == run->machine.to && action->n == run->machine.batch);
	run->batch.n = 0;
	run->started_again |= action->to == ROLLOUT_OLD;
	for (uint32_t k = 0; k < action->n; k++) {
		struct instance *i;
		struct error err;

		/* The next run_look() sees an instance that has failed. */
		int r = generation_add(g, &i, &err);

		if (r < 0)
			log_error("%s: generation %u: %s", run->host->name, g->number, err.text);
		if (!i) {
			run->unmade_error = r;
			run->unmade[action->to]++;
			continue;
		}
		instances_add(&run->side[action->to], i);
		instances_add(&run->batch, i);
	}
}

/* The table that is about to be published may be refused: then RESTORE needs these. */
static void keep_roles(struct run *run)
{
	for (size_t side = 0; side < _ROLLOUT_SIDE_COUNT; side++)
		for (size_t k = 0; k < run->side[side].n; k++)
			run->side[side].list[k]->role_before = run->side[side].list[k]->role;
	run->shares_before = run->shares;
}

/* A victim that was never in service is no backup: nobody knows whether it is well. */
static void set_roles(struct run *run, const struct rollout_action *action)
{
	cleanup(instances_done) struct instances fresh = {};

	for (size_t k = 0; k < run->victims.n; k++)
		if (run->victims.list[k]->role == INSTANCE_OUT)
			instances_add(&fresh, run->victims.list[k]);

	instances_name(&run->side[other(action->to)], INSTANCE_IN);
	instances_name(&run->side[action->to], INSTANCE_IN);
	instances_name(&run->victims, INSTANCE_BACKUP);
	instances_name(&fresh, INSTANCE_OUT);
	run->shares = (struct run_shares){
		.canary = action->weight > 0 ? generation_of(run, action->to) : NULL,
		.weight = action->weight,
	};
}

/*
 * Agents start an instance again after a crash if it serves and is not on trial. So neither the new
 * ones before COMMIT nor the victims are steady.
 */
static void set_steady(struct run *run)
{
	const struct rollout *m = &run->machine;

	for (size_t k = 0; k < run->side[ROLLOUT_OLD].n; k++) {
		struct instance *i = run->side[ROLLOUT_OLD].list[k];
		bool steady = !instances_have(&run->victims, i);

		if (i->steady != steady)
			instance_steady(i, steady);
	}
	if (m->committed)
		instances_steady(&run->side[ROLLOUT_NEW], true);
}

static void note_connections(struct run *run)
{
	uint64_t n;

	run->accepted_before = 0;
	count_connections(run, &n);
	run->accepted_before = n;
}

static int act_publish(struct run *run, const struct rollout_action *action)
{
	const struct run_host *host = run->host;
	struct error err;
	int r = 0;

	assert(action->to == run->machine.to && action->n == run->machine.victims);
	run->drain_noted = false;
	keep_roles(run);
	run->victims.n = 0;
	choose_victims(run);
	if (!run->machine.shifted)
		note_connections(run);
	set_roles(run, action);
	run->publish_error[0] = '\0';
	if (action->to == ROLLOUT_NEW && run->batch.n > 0)
		r = host->ops->check_sockets(host->userdata, &run->batch, &err);
	if (r >= 0)
		r = host->ops->publish(host->userdata, &run->shares, &err);
	if (r >= 0)
		return ROLLOUT_SHIFTED;
	snprintf(run->publish_error, sizeof(run->publish_error), "%s", err.text);
	log_error("%s: %s", host->name, err.text);
	if (rollout_can_undo(&run->machine))
		run_set_reason(run, "%s", run->publish_error);
	return ROLLOUT_SHIFT_FAILED;
}

/* Nobody of the old side goes. Publish, because some endpoints may have got the new table. */
static void act_restore(struct run *run, const struct rollout_action *action)
{
	(void)action;
	run->victims.n = 0;
	for (size_t side = 0; side < _ROLLOUT_SIDE_COUNT; side++)
		for (size_t k = 0; k < run->side[side].n; k++)
			run->side[side].list[k]->role = run->side[side].list[k]->role_before;
	run->shares = run->shares_before;
	/* If that fails, too, the service tries again at its next look. */
	run->host->ops->publish(run->host->userdata, &run->shares, NULL);
}

static void act_discard(struct run *run, const struct rollout_action *action)
{
	(void)action;
	for (size_t k = 0; k < run->batch.n; k++) {
		const struct instance *i = run->batch.list[k];

		log_warning("%s: instance %u of generation %u could not be started: %s",
			    run->host->name, i->index, i->generation,
			    i->failure[0] ? i->failure : "not healthy in time");
	}
	instances_kill(&run->batch);
	while (run->batch.n > 0) {
		size_t before = run->batch.n;

		run->host->ops->remove_instance(run->host->userdata, run->batch.list[0]);
		assert(run->batch.n == before - 1);
	}
	run->unmade[run->machine.to] = 0;
}

/* A victim may not be a backup any longer: its slot will be somebody else's. */
static void act_unname(struct run *run, const struct rollout_action *action)
{
	struct error err;

	(void)action;
	instances_name(&run->victims, INSTANCE_OUT);
	/* A generation that is being retired is in no table already. */
	if (!run->machine.retire && run->host->ops->publish(run->host->userdata, NULL, &err) < 0)
		log_error("%s: %s", run->host->name, err.text);
	instances_uncheck(&run->victims);
}

static void act_drain(struct run *run, const struct rollout_action *action)
{
	struct tap *tap = run->host->wiring->tap;

	(void)action;
	/* Else it has begun when they were told to leave. */
	if (rollout_victims_stay(&run->machine))
		run_drain_begin(run);
	/* A tap tells when the last connection ends; without one polling finds out. */
	for (size_t k = 0; k < run->victims.n && tap; k++)
		tap_watch(tap, run->victims.list[k]->generation, run->victims.list[k]->index);
	run_poll_begin(run);
}

/* If the drain has ended at its deadline, "force" closes the connections that are left. */
static void cut_connections(struct run *run)
{
	struct error err;
	uint64_t n;

	if (run->drain.left == 0 || run->victims.n == 0 ||
	    !run->victims.list[0]->config->drain.force)
		return;
	if (instances_cut(&run->victims, &n, &err) < 0)
		log_warning("%s: connections that are left cannot be closed: %s", run->host->name,
			    err.text);
	else
		log_info("%s: %llu connections were closed at the deadline", run->host->name,
			 (unsigned long long)n);
}

/* From now on nothing may listen; without a hold, connections are refused until something does. */
static void begin_gap(struct run *run)
{
	const struct run_host *host = run->host;
	struct run_held held;

	if (!rollout_stops_first(&run->machine) || run->gap_since_ms != 0 ||
	    host->ops->named(host->userdata) > 0)
		return;
	host->ops->held(host->userdata, run, &held);
	if (!held.holds)
		run->gap_since_ms = clock_monotonic_ms();
}

static void end_gap(struct run *run)
{
	if (run->gap_since_ms == 0 || run->host->ops->named(run->host->userdata) == 0)
		return;
	run->gap_ms += clock_monotonic_ms() - run->gap_since_ms;
	run->gap_since_ms = 0;
}

static void act_stop(struct run *run, const struct rollout_action *action)
{
	(void)action;
	choose_victims(run);
	cut_connections(run);
	begin_gap(run);
	run->polls = 0;
	instances_stop(&run->victims);
}

/* If the service ends, its deadline counts for what would take longer, too. */
static void act_timer(struct run *run, const struct rollout_action *action)
{
	bool late = run->drain.end_ms > 0 && action->at_ms > run->drain.end_ms;

	run_set_deadline(run,
			 run_ends_with_service(run) && late ? run->drain.end_ms : action->at_ms);
}

static void act_kill(struct run *run, const struct rollout_action *action)
{
	(void)action;
	for (size_t k = 0; k < run->victims.n; k++)
		if (!instance_has_stopped(run->victims.list[k]))
			log_warning("%s: instance %u of generation %u did not stop; killed",
				    run->host->name, run->victims.list[k]->index,
				    run->victims.list[k]->generation);
	instances_kill(&run->victims);
}

static void act_reap(struct run *run, const struct rollout_action *action)
{
	enum rollout_side from = rollout_from(&run->machine);

	(void)action;
	while (run->victims.n > 0) {
		size_t before = run->victims.n;

		run->host->ops->remove_instance(run->host->userdata, run->victims.list[0]);
		assert(run->victims.n == before - 1);
	}
	/* Unmade victims are the first to go, so that none of them is left. */
	run->unmade[from] = 0;
}

static void act_tell(struct run *run, const struct rollout_action *action)
{
	run_tell_step(run, action->state, action->ok);
}

static void act_no_timer(struct run *run, const struct rollout_action *action)
{
	(void)action;
	run_set_deadline(run, 0);
}

static void act_cancel(struct run *run, const struct rollout_action *action)
{
	(void)action;
	run_cancel_questions(run);
}

static void act_verify(struct run *run, const struct rollout_action *action)
{
	(void)action;
	instances_check(&run->batch);
}

static void act_steady(struct run *run, const struct rollout_action *action)
{
	(void)action;
	end_gap(run);
	set_steady(run);
}

static void act_wait(struct run *run, const struct rollout_action *action)
{
	(void)action;
	run_tell_waiting(run);
}

static void act_settle(struct run *run, const struct rollout_action *action)
{
	(void)action;
	choose_victims(run);
	run_drain_note(run);
	run->queue_empty_since_ms = 0;
	run_poll_begin(run);
}

static void act_delay(struct run *run, const struct rollout_action *action)
{
	(void)action;
	run->delay = (struct run_delay){.began_ms = clock_monotonic_ms()};
	if (run_delay_is_fixed(run))
		run_tell_delaying(run);
	run_poll_begin(run);
}

static void act_commit(struct run *run, const struct rollout_action *action)
{
	(void)action;
	set_steady(run);
	run->host->ops->commit(run->host->userdata, run);
}

static void act_leave(struct run *run, const struct rollout_action *action)
{
	(void)action;
	/* The connections that they have now are those that they have to finish. */
	run_drain_begin(run);
	begin_gap(run);
	instances_leave(&run->victims);
	run->deaf_since_ms = 0;
	if (run->machine.open)
		run_poll_begin(run);
}

/* ---- hooks ---------------------------------------------------------------------------------- */

/* Hooks are about generations. */
static void hook(struct run *run, enum hook_point point)
{
	if (!run->partial)
		run->host->ops->hook(run->host->userdata, run, point);
}

static void act_shifted(struct run *run, const struct rollout_action *action)
{
	(void)action;
	hook(run, HOOK_AFTER_SHIFT);
}

static void act_drained(struct run *run, const struct rollout_action *action)
{
	(void)action;
	hook(run, HOOK_AFTER_DRAIN);
}

static void act_undone(struct run *run, const struct rollout_action *action)
{
	(void)action;
	hook(run, run->machine.outcome == ROLLOUT_ROLLED_BACK ? HOOK_ON_ROLLBACK : HOOK_ON_FAILURE);
}

/* ---- all of them ---------------------------------------------------------------------------- */

/* But for PUBLISH, which alone has a result at once, and END, for which there is nothing to do. */
static void (*const acts[ROLLOUT_DO_END + 1])(struct run *run,
					      const struct rollout_action *action) = {
	[ROLLOUT_DO_TELL] = act_tell,         [ROLLOUT_DO_PREPARE] = act_prepare,
	[ROLLOUT_DO_CANCEL] = act_cancel,     [ROLLOUT_DO_START] = act_start,
	[ROLLOUT_DO_VERIFY] = act_verify,     [ROLLOUT_DO_GATE] = act_gate,
	[ROLLOUT_DO_RESTORE] = act_restore,   [ROLLOUT_DO_STEADY] = act_steady,
	[ROLLOUT_DO_SHIFTED] = act_shifted,   [ROLLOUT_DO_WAIT] = act_wait,
	[ROLLOUT_DO_DISCARD] = act_discard,   [ROLLOUT_DO_SETTLE] = act_settle,
	[ROLLOUT_DO_COMMIT] = act_commit,     [ROLLOUT_DO_UNNAME] = act_unname,
	[ROLLOUT_DO_DELAY] = act_delay,       [ROLLOUT_DO_LEAVE] = act_leave,
	[ROLLOUT_DO_DRAIN] = act_drain,       [ROLLOUT_DO_DRAINED] = act_drained,
	[ROLLOUT_DO_STOP] = act_stop,         [ROLLOUT_DO_KILL] = act_kill,
	[ROLLOUT_DO_REAP] = act_reap,         [ROLLOUT_DO_TIMER] = act_timer,
	[ROLLOUT_DO_NO_TIMER] = act_no_timer, [ROLLOUT_DO_UNDONE] = act_undone,
};

int run_act(struct run *run, const struct rollout_action *action)
{
	assert(action->type <= ROLLOUT_DO_END);
	if (action->type == ROLLOUT_DO_PUBLISH)
		return act_publish(run, action);
	assert(acts[action->type] || action->type == ROLLOUT_DO_END);
	if (acts[action->type])
		acts[action->type](run, action);
	return -1;
}
