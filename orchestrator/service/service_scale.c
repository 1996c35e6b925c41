/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rollouts within the generation that serves: more instances, fewer, others.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "orchestrator/service/service_internal.h"

/* Instances that do not work go first, then those with the highest indexes. */
static void choose_surplus(const struct instances *staying, size_t n, struct instances *ret)
{
	struct choose_candidate list[INSTANCES_MAX];
	size_t chosen[INSTANCES_MAX], n_chosen;

	for (size_t k = 0; k < staying->n; k++) {
		const struct instance *i = staying->list[k];

		list[k] = (struct choose_candidate){
			.index = i->index,
			.bad = instance_has_failed(i) || instance_is_unhealthy(i),
		};
	}
	n_chosen = choose(list, staying->n, CHOOSE_HIGHEST, n, chosen);
	assert(n_chosen == n);
	for (size_t k = 0; k < n_chosen; k++)
		instances_add(ret, staying->list[chosen[k]]);
}

enum run_order order_purpose(const struct order_call *call)
{
	switch (call->order->type) {
	case SERVICE_ORDER_RESTART:
		return RUN_ORDER_RESTART;
	case SERVICE_ORDER_UPGRADE:
		return RUN_ORDER_UPGRADE;
	case SERVICE_ORDER_ROLLBACK:
		return RUN_ORDER_ROLLBACK;
	case SERVICE_ORDER_START:
		return RUN_ORDER_START;
	case SERVICE_ORDER_STOP:
		return RUN_ORDER_STOP;
	case SERVICE_ORDER_SCALE:
		return RUN_ORDER_SCALE;
	default:
		/* The others begin no rollout. */
		assert(false);
	}
	return _RUN_ORDER_COUNT;
}

int order_refuse_busy(const struct run *run, struct refusal *refusal)
{
	char generation[32] = "no new generation", replaces[48] = "";

	if (run->new)
		snprintf(generation, sizeof(generation), "generation %u", run->new->number);
	if (run->old && run->old != run->new)
		snprintf(replaces, sizeof(replaces), run->new ? " replaces %u" : ", %u stops",
			 run->old->number);
	error_text(&refusal->why, -EBUSY,
		   "rollout %u (%s, %s%s) is at step %s since %.1f s; \"baton abort %s\" undoes "
		   "it, --supersede takes its place",
		   run->id, run_order_name(run->order), generation, replaces,
		   rollout_state_name(run->machine.state),
		   (double)(clock_monotonic_ms() - run->step_began_ms) / 1000.0, run->host->name);
	return refuse(refusal, REFUSAL_BUSY);
}

/* Note the number for later daemons, unless it is the configuration's: the service's own order. */
static int remember(struct order_call *call, uint32_t wanted)
{
	struct service *s = call->service;

	if (call->order->instances == 0)
		return 0;
	if (state_set_instances(s->context->state, service_id(s), wanted, &call->refusal->why) < 0)
		return refuse(call->refusal, REFUSAL_CANNOT_SCALE);
	return 0;
}

static void begin_scaling(struct order_call *call, const struct instances *staying, struct run *run,
			  uint32_t before)
{
	struct service *s = call->service;
	struct run_plan plan = {.order = order_purpose(call), .id = call->id, .partial = true};
	cleanup(instances_done) struct instances goes = {};
	char message[64];

	if (staying->n > s->instances)
		choose_surplus(staying, staying->n - s->instances, &goes);
	else
		plan.n_new = s->instances - (uint32_t)staying->n;
	plan.new = plan.n_new > 0 ? s->current : NULL;
	plan.old = goes.n > 0 ? s->current : NULL;
	plan.goes = &goes;
	snprintf(message, sizeof(message), "%zu instances become %u", staying->n, s->instances);
	service_tell(s, &(struct event){.kind = EVENT_SCALED,
					.message = message,
					.generation = s->current->number,
					.instances = s->instances});
	service_begin_run(s, run, plan);
	run->instances_before = before;
	run->instances_wanted = s->instances;
	call->answer->run = run;
}

int order_scale(struct order_call *call)
{
	struct service *s = call->service;
	uint32_t wanted = call->order->instances, before = s->instances;
	struct run *run = service_free_run(s);
	cleanup(instances_done) struct instances staying = {};
	int r;

	if (wanted == 0)
		wanted = s->instances;
	if (!run)
		return order_refuse_busy(service_run(s), call->refusal);
	service_staying(s, &staying);
	if (s->current && wanted > staying.n &&
	    service_check_slots(s, wanted - (uint32_t)staying.n, &call->refusal->why) < 0)
		return refuse(call->refusal, REFUSAL_CANNOT_SCALE);
	r = remember(call, wanted);
	if (r < 0)
		return r;
	call->answer->unchanged = s->current ? staying.n == wanted : before == wanted;
	s->instances = wanted;
	if (s->current && staying.n != wanted)
		begin_scaling(call, &staying, run, before);
	else
		snprintf(call->answer->message, sizeof(call->answer->message),
			 s->current ? "it has %u instances already"
				    : "it will have %u instances when it is started",
			 wanted);
	return 0;
}

int service_begin_replace(struct service *s, const struct instances *goes, uint32_t n_new,
			  struct error *err)
{
	struct run *run = service_free_run(s);

	if (!run)
		return error_text(err, -EBUSY,
				  "%d rollouts are under way; wait until one has ended",
				  SERVICE_RUNS_MAX);
	service_begin_run(s, run,
			  (struct run_plan){.order = RUN_ORDER_REPLACE,
					    .new = s->current,
					    .old = goes->n > 0 ? s->current : NULL,
					    .goes = goes,
					    .n_new = n_new,
					    .partial = true,
					    .automatic = true});
	return 0;
}
