/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/host/command.h"
#include "orchestrator/rollout/run_internal.h"
#include "orchestrator/service/service.h"

static enum rollout_side other(enum rollout_side side)
{
	return side == ROLLOUT_NEW ? ROLLOUT_OLD : ROLLOUT_NEW;
}

static struct generation *generation_of(const struct run *run, enum rollout_side side)
{
	return side == ROLLOUT_NEW ? run->new : run->old;
}

/* ---- who ------------------------------------------------------------------------------------ */

/* Should @a go rather than @b? */
static bool goes_first(const struct instance *a, const struct instance *b)
{
	bool a_out = a->role == INSTANCE_OUT, b_out = b->role == INSTANCE_OUT;
	bool a_bad = instance_has_failed(a) || instance_is_unhealthy(a);
	bool b_bad = instance_has_failed(b) || instance_is_unhealthy(b);

	if (a_out != b_out)
		return a_out;
	if (a_bad != b_bad)
		return a_bad;
	return a->index < b->index;
}

/* Those that go, as many as the machine has decided. */
static void choose_victims(struct run *run)
{
	const struct instances *from = &run->side[rollout_from(&run->machine)];

	while (run->victims.n < run->machine.victims) {
		struct instance *best = NULL;

		for (size_t k = 0; k < from->n; k++)
			if (!instances_have(&run->victims, from->list[k]) &&
			    (!best || goes_first(from->list[k], best)))
				best = from->list[k];
		if (!best)
			return;
		instances_add(&run->victims, best);
	}
}

/* ---- before_start and gates ----------------------------------------------------------------- */

static void on_prepared(void *userdata, const struct command_result *result)
{
	struct run *run = userdata;
	bool good = !result->timed_out && !result->exit_signal && !result->exit_code;

	run->prepare = NULL;
	run->answer = good ? ROLLOUT_PREPARED : ROLLOUT_PREPARE_FAILED;
	snprintf(run->answer_text, sizeof(run->answer_text), "%s", result->text);
	service_poke(run->service);
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
	run->answer = events[answer];
	snprintf(run->answer_text, sizeof(run->answer_text), "%s", text);
	service_poke(run->service);
}

void run_cancel_questions(struct run *run)
{
	command_cancel(TAKE_PTR(run->prepare));
	gates_cancel(TAKE_PTR(run->gates));
	run->answer = -1;
}

static void act_prepare(struct run *run)
{
	struct command_spec spec;
	struct error err;
	int r;

	run_cancel_questions(run);
	r = service_command(run->service, run, HOOK_BEFORE_START, &spec, &run->environment, &err);
	if (r >= 0)
		r = command_start(run->service->context->event, &spec, on_prepared, run,
				  &run->prepare, &err);
	if (r >= 0)
		return;
	run->answer = ROLLOUT_PREPARE_FAILED;
	snprintf(run->answer_text, sizeof(run->answer_text), "%s", err.text);
}

/* Connections that the table has sent to the new side since it named it first. */
static bool count_connections(const struct run *run, uint64_t *ret)
{
	*ret = 0;
	for (size_t k = 0; k < run->side[ROLLOUT_NEW].n; k++) {
		uint64_t n;

		if (service_steered_to(run->service, run->side[ROLLOUT_NEW].list[k], &n) < 0)
			return false;
		*ret += n;
	}
	*ret -= run->accepted_before < *ret ? run->accepted_before : *ret;
	return true;
}

static void act_gate(struct run *run, enum rollout_gate point)
{
	struct gates_question question = {
		.event = run->service->context->event,
		.prober = run->service->context->prober,
		.config = run->new->config,
		.point = point,
	};
	struct error err;
	int r;

	run_cancel_questions(run);
	question.connections_known = count_connections(run, &question.connections);
	r = service_command(run->service, run, _HOOK_COUNT, &question.command, &run->environment,
			    &err);
	if (r >= 0)
		r = gates_ask(&question, on_gates, run, &run->gates, &err);
	if (r >= 0)
		return;
	run->answer = ROLLOUT_GATE_FAILED;
	snprintf(run->answer_text, sizeof(run->answer_text), "gate: %s", err.text);
}

/* ---- acting --------------------------------------------------------------------------------- */

static void act_start(struct run *run, enum rollout_side to, uint32_t n)
{
	struct generation *g = generation_of(run, to);

	for (; n > 0; n--) {
		struct instance *i;
		struct error err;

		/* A failure is seen by the next look(): the instance says so itself. */
		if (generation_add(g, &i, &err) < 0)
			log_error("%s: generation %u: %s", run->service->config->name, g->number,
				  err.text);
		if (!i)
			continue;
		instances_add(&run->side[to], i);
		instances_add(&run->batch, i);
	}
}

/* What has a role, before a table is published that may yet be refused. */
struct roles {
	enum instance_role list[_ROLLOUT_SIDE_COUNT][INSTANCES_MAX];
	struct generation *canary;
	uint32_t weight;
};

static void keep_roles(const struct run *run, struct roles *ret)
{
	for (size_t side = 0; side < _ROLLOUT_SIDE_COUNT; side++)
		for (size_t k = 0; k < run->side[side].n; k++)
			ret->list[side][k] = run->side[side].list[k]->role;
	ret->canary = run->service->canary;
	ret->weight = run->service->canary_weight;
}

static void restore_roles(struct run *run, const struct roles *roles)
{
	for (size_t side = 0; side < _ROLLOUT_SIDE_COUNT; side++)
		for (size_t k = 0; k < run->side[side].n; k++)
			run->side[side].list[k]->role = roles->list[side][k];
	run->service->canary = roles->canary;
	run->service->canary_weight = roles->weight;
}

/* A victim that was never in service is no backup either: nobody knows whether it is well. */
static void set_roles(struct run *run, const struct rollout_action *action)
{
	struct service *s = run->service;
	struct instances fresh = {};

	for (size_t k = 0; k < run->victims.n; k++)
		if (run->victims.list[k]->role == INSTANCE_OUT)
			instances_add(&fresh, run->victims.list[k]);

	instances_name(&run->side[other(action->to)], INSTANCE_IN);
	instances_name(&run->side[action->to], INSTANCE_IN);
	instances_name(&run->victims, INSTANCE_BACKUP);
	instances_name(&fresh, INSTANCE_OUT);
	s->canary = action->weight > 0 ? generation_of(run, action->to) : NULL;
	s->canary_weight = action->weight;
}

/*
 * Who is to be started again by its agent when it crashes? What serves and is not on trial: not the
 * new ones before COMMIT, not those that are on their way out.
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

static int act_publish(struct run *run, const struct rollout_action *action)
{
	struct service *s = run->service;
	bool undone; /* as the machine will decide */
	struct roles before;
	struct error err;
	uint64_t unused;
	int r;

	keep_roles(run, &before);
	run->victims.n = 0;
	choose_victims(run);
	if (!run->machine.shifted) {
		run->accepted_before = 0;
		count_connections(run, &unused);
		run->accepted_before = unused;
	}
	set_roles(run, action);
	run->publish_error[0] = '\0';
	r = action->to == ROLLOUT_NEW && run->batch.n > 0
		    ? service_check_sockets(s, &run->batch, &err)
		    : 0;
	if (r >= 0)
		r = service_publish(s, &err);
	undone = r < 0 && rollout_can_undo(&run->machine);
	if (!undone)
		set_steady(run);
	if (r >= 0)
		return ROLLOUT_SHIFTED;
	snprintf(run->publish_error, sizeof(run->publish_error), "%s", err.text);
	log_error("%s: %s", s->config->name, err.text);
	if (undone) {
		run_set_reason(run, "%s", run->publish_error);
		/* Nobody of the old side goes. Some endpoints may have got the new table. */
		run->victims.n = 0;
		restore_roles(run, &before);
		/* Where that does not work either it is tried again with the next look. */
		if (service_publish(s, NULL) < 0)
			s->version = 0;
	}
	return ROLLOUT_SHIFT_FAILED;
}

static void act_discard(struct run *run)
{
	while (run->batch.n > 0) {
		struct instance *i = run->batch.list[0];

		log_warning("%s: instance %u of generation %u could not be started: %s",
			    run->service->config->name, i->index, i->generation,
			    i->failure[0] ? i->failure : "not healthy in time");
		instance_kill(i);
		service_remove_instance(run->service, i);
	}
}

/*
 * A victim may not be a backup any longer: its slot will be somebody else's. What it has now is
 * what it will have to finish.
 */
static void act_unname(struct run *run)
{
	struct tap_count count;
	struct error err;

	instances_name(&run->victims, INSTANCE_OUT);
	/* A generation that is being retired is in no table already. */
	if (!run->machine.retire && service_publish(run->service, &err) < 0)
		log_error("%s: %s", run->service->config->name, err.text);
	instances_uncheck(&run->victims);
	if (instances_live(&run->victims, &run->drain_began_with) < 0)
		run->drain_began_with = 0;
	run->drain_reset_before = instances_count(&run->victims, &count) == 0 ? count.reset : 0;
	run->drain_resets = run->drain_idle = run->cut_now = 0;
}

static void act_drain(struct run *run)
{
	struct tap *tap = run->service->wiring.tap;

	/* The kernel says when the last one ends, where it counts; looking covers the rest. */
	for (size_t k = 0; k < run->victims.n && tap; k++)
		tap_watch(tap, run->victims.list[k]->generation, run->victims.list[k]->index);
	run_poll(run);
}

/* The deadline has passed with connections left, which "force" wants closed. */
static void cut_connections(struct run *run)
{
	struct error err;
	uint64_t n;

	if (run->cut_now == 0 || run->victims.n == 0 || !run->victims.list[0]->config->drain.force)
		return;
	if (instances_cut(&run->victims, &n, &err) < 0)
		log_warning("%s: connections that are left cannot be closed: %s",
			    run->service->config->name, err.text);
	else
		log_info("%s: %llu connections were closed at the deadline",
			 run->service->config->name, (unsigned long long)n);
}

static void act_stop(struct run *run)
{
	choose_victims(run);
	cut_connections(run);
	instances_stop(&run->victims);
}

/* Where all is to end that counts, also for what had more time to drain. */
static void act_timer(struct run *run, uint64_t at_ms)
{
	bool late = run->drain_end_ms > 0 && at_ms > run->drain_end_ms;

	run->deadline_ms =
		run->machine.state == ROLLOUT_DRAINING && late ? run->drain_end_ms : at_ms;
	run_set_deadline(run, run->deadline_ms);
}

static void act_kill(struct run *run)
{
	for (size_t k = 0; k < run->victims.n; k++)
		if (!instance_has_stopped(run->victims.list[k]))
			log_warning("%s: instance %u of generation %u did not stop; killed",
				    run->service->config->name, run->victims.list[k]->index,
				    run->victims.list[k]->generation);
	instances_kill(&run->victims);
}

int run_act(struct run *run, const struct rollout_action *action)
{
	switch (action->type) {
	case ROLLOUT_DO_PREPARE:
		act_prepare(run);
		break;
	case ROLLOUT_DO_START:
		act_start(run, action->to, action->n);
		break;
	case ROLLOUT_DO_VERIFY:
		instances_check(&run->batch);
		break;
	case ROLLOUT_DO_GATE:
		act_gate(run, action->point);
		break;
	case ROLLOUT_DO_PUBLISH:
		return act_publish(run, action);
	case ROLLOUT_DO_SHIFTED:
		if (!run->partial)
			service_hook(run->service, run, HOOK_AFTER_SHIFT);
		break;
	case ROLLOUT_DO_DISCARD:
		act_discard(run);
		break;
	case ROLLOUT_DO_SETTLE:
		choose_victims(run);
		run->queue_empty_since_ms = 0;
		run_poll(run);
		break;
	case ROLLOUT_DO_COMMIT:
		set_steady(run);
		service_commit(run->service, run);
		break;
	case ROLLOUT_DO_UNNAME:
		act_unname(run);
		break;
	case ROLLOUT_DO_LEAVE:
		instances_leave(&run->victims);
		break;
	case ROLLOUT_DO_DRAIN:
		act_drain(run);
		break;
	case ROLLOUT_DO_STOP:
		act_stop(run);
		break;
	case ROLLOUT_DO_KILL:
		act_kill(run);
		break;
	case ROLLOUT_DO_TIMER:
		act_timer(run, action->at_ms);
		break;
	case ROLLOUT_DO_NO_TIMER:
		run->deadline_ms = 0;
		if (run->timer)
			sd_event_source_set_enabled(run->timer, SD_EVENT_OFF);
		break;
	case ROLLOUT_DO_END:
		break;
	}
	return -1;
}
