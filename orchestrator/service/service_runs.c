/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/service/service_internal.h"

bool service_run_is_used(const struct run *run)
{
	return run->id != 0;
}

struct run *service_undecided_run(struct service *s)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (service_run_is_used(&s->runs[k]) && !rollout_is_decided(&s->runs[k].machine))
			return &s->runs[k];
	return NULL;
}

struct run *service_stopping_run(struct service *s)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (service_run_is_used(&s->runs[k]) && s->current &&
		    s->runs[k].old == s->current && !s->runs[k].machine.has_new &&
		    !s->runs[k].partial)
			return &s->runs[k];
	return NULL;
}

struct run *service_going_run(struct service *s)
{
	if (s->config->rollout.strategy != ROLLOUT_STOP_FIRST)
		return NULL;
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (service_run_is_used(&s->runs[k]))
			return &s->runs[k];
	return NULL;
}

struct run *service_run(struct service *s)
{
	struct run *found = service_undecided_run(s);

	for (size_t k = 0; !found && k < SERVICE_RUNS_MAX; k++)
		if (service_run_is_used(&s->runs[k]))
			found = &s->runs[k];
	for (size_t k = 0; k < SERVICE_RUNS_MAX && found; k++)
		if (service_run_is_used(&s->runs[k]) && s->runs[k].id > found->id &&
		    rollout_is_decided(&found->machine))
			found = &s->runs[k];
	return found;
}

bool service_has_failed(struct service *s)
{
	if (s->current || s->stopped || service_undecided_run(s))
		return false;
	return s->refusal[0] || (s->last.id && s->last.outcome != ROLLOUT_DONE);
}

struct run *service_free_run(struct service *s)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (!service_run_is_used(&s->runs[k]))
			return &s->runs[k];
	return NULL;
}

uint32_t service_next_rollout(struct service *s)
{
	return ++s->context->last_rollout;
}

void service_begin_run(struct service *s, struct run *run, struct run_plan plan)
{
	assert(!service_run_is_used(run));
	if (plan.id == 0)
		plan.id = service_next_rollout(s);
	run_begin(run, &s->host, &plan);
	/* What it holds is counted from now on. */
	if (plan.new) {
		s->hold.held = (struct run_held){};
		s->hold.held_for = run->id;
	}
}

void service_limit_drains(struct service *s)
{
	uint64_t end_ms = clock_monotonic_ms() + s->config->drain.shutdown_timeout_ms;

	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (service_run_is_used(&s->runs[k]))
			run_limit_drain(&s->runs[k], end_ms);
}

void service_settle_scale(struct service *s)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++) {
		struct run *run = &s->runs[k];
		struct error err;

		if (!service_run_is_used(run) || run->scale_undone ||
		    run->order != RUN_ORDER_SCALE || run->machine.outcome == ROLLOUT_DONE)
			continue;
		run->scale_undone = true;
		/* Unless somebody has wished for another number since. */
		if (s->instances != run->instances_wanted)
			continue;
		s->instances = run->instances_before;
		if (state_set_instances(s->context->state, service_id(s), s->instances, &err) < 0)
			log_warning("%s: %s", s->config->name, err.text);
	}
}

void service_retire(struct service *s, struct generation *g, const struct instances *goes)
{
	struct run *run = service_free_run(s);

	if (goes->n == 0)
		return;
	if (!run) {
		log_error("%s: generation %u is left as it is: %d rollouts are under way",
			  s->config->name, g->number, SERVICE_RUNS_MAX);
		return;
	}
	service_begin_run(s, run,
			  (struct run_plan){.order = RUN_ORDER_RETIRE,
					    .old = g,
					    .goes = goes,
					    .retire = true,
					    .partial = g == s->current,
					    .automatic = true,
					    .shutdown = s->shutting_down});
}
