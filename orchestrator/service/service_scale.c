/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rollouts within the generation that serves: more instances, fewer, others.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "orchestrator/service/service_orders.h"

/* Without a body, for a reload: as many as are wanted already. */
static int parse_instances(struct order_call *call, uint32_t *ret)
{
	const json_t *n = json_object_get(call->body, "instances");

	*ret = call->service->instances;
	if (!call->body)
		return 0;
	if (!json_is_integer(n) || json_integer_value(n) < 1 ||
	    json_integer_value(n) > CONFIG_INSTANCES_MAX) {
		error_text(&call->problem->detail, -EINVAL,
			   "instances: expected a number from 1 to %d", CONFIG_INSTANCES_MAX);
		return order_refuse(call->problem, 400, 2, "Bad request");
	}
	*ret = (uint32_t)json_integer_value(n);
	return 0;
}

/* The ones with the highest numbers; what does not work first of all. */
static void choose_surplus(const struct instances *staying, size_t n, struct instances *ret)
{
	ret->n = 0;
	while (ret->n < n) {
		struct instance *best = NULL;

		for (size_t k = 0; k < staying->n; k++) {
			struct instance *i = staying->list[k];
			bool bad = instance_has_failed(i) || instance_is_unhealthy(i);
			bool best_bad =
				best && (instance_has_failed(best) || instance_is_unhealthy(best));

			if (instances_have(ret, i))
				continue;
			if (!best || (bad && !best_bad) ||
			    (bad == best_bad && i->index > best->index))
				best = i;
		}
		instances_add(ret, best);
	}
}

int order_scale(struct order_call *call)
{
	struct service *s = call->service;
	struct run_plan plan = {.order = call->order, .id = call->id, .partial = true};
	struct run *run = service_free_run(s);
	struct instances staying, goes = {};
	uint32_t wanted, before;
	int r = parse_instances(call, &wanted);

	if (r < 0)
		return r;
	if (!run)
		return order_refuse_busy(service_run(s), call->problem);
	if (call->body) {
		r = state_set_instances(s->context->state, s->config->name, wanted,
					&call->problem->detail);
		if (r < 0)
			return order_refuse(call->problem, 500, 1, "Cannot scale");
	}
	service_staying(s, &staying);
	before = s->instances;
	call->answer->unchanged = s->current ? staying.n == wanted : s->instances == wanted;
	s->instances = wanted;
	if (!s->current || staying.n == wanted) {
		snprintf(call->answer->message, sizeof(call->answer->message),
			 s->current ? "it has %u instances already"
				    : "it will have %u instances when it is started",
			 wanted);
		return 0;
	}
	if (staying.n > wanted)
		choose_surplus(&staying, staying.n - wanted, &goes);
	else
		plan.n_new = wanted - (uint32_t)staying.n;
	plan.new = plan.n_new > 0 ? s->current : NULL;
	plan.old = goes.n > 0 ? s->current : NULL;
	plan.goes = &goes;
	service_event(s, "scaled",
		      json_pack("{s:I, s:o}", "instances", (json_int_t)wanted, "message",
				json_sprintf("%zu instances become %u", staying.n, wanted)));
	run_begin(run, s, &plan);
	run->instances_before = before;
	run->instances_wanted = wanted;
	call->answer->run = run;
	return 0;
}

void service_settle_scale(struct service *s)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++) {
		struct run *run = &s->runs[k];
		struct error err;

		if (!run->id || run->scale_undone || strcmp(run->order, "scale") != 0 ||
		    run->machine.outcome == ROLLOUT_DONE)
			continue;
		run->scale_undone = true;
		/* Unless somebody has wished for another number since. */
		if (s->instances != run->instances_wanted)
			continue;
		s->instances = run->instances_before;
		if (state_set_instances(s->context->state, s->config->name, s->instances, &err) < 0)
			log_warning("%s: %s", s->config->name, err.text);
	}
}

int service_begin_replace(struct service *s, const struct instances *goes, uint32_t n_new,
			  struct error *err)
{
	struct run *run = service_free_run(s);

	if (!run)
		return error_text(err, -EBUSY, "%d rollouts are under way", SERVICE_RUNS_MAX);
	run_begin(run, s,
		  &(struct run_plan){.order = "replace",
				     .new = s->current,
				     .old = goes->n > 0 ? s->current : NULL,
				     .goes = goes,
				     .n_new = n_new,
				     .partial = true,
				     .automatic = true});
	return 0;
}
