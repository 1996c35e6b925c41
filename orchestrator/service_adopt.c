/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>

#include "common/log.h"
#include "orchestrator/service_internal.h"

/* ---- adopting ------------------------------------------------------------------------------- */

static bool is_leaving(const struct generation *g)
{
	for (size_t k = 0; k < g->n_instances; k++)
		if (g->instances[k].leaving)
			return true;
	return false;
}

static bool can_serve(const struct generation *g)
{
	return !is_leaving(g) && !generation_is_dead(g);
}

/* Only a table that the kernel keeps tells; without one the oldest must be right. */
static bool is_named(const struct service *s, const struct generation *g)
{
	return s->wiring.tier != STEER_EBPF || generation_is_named(g);
}

/*
 * Which generation was the current one? Its agents are steady. Between the shift and the commit
 * nobody's are: then the one that the earlier daemon has noted as serving, which it had not given
 * up yet; without a note the oldest that the table names. One that no table names has never passed
 * its checks.
 */
static struct generation *find_current(struct service *s, const struct generation *steady)
{
	uint32_t serving = state_serving(s->context->state, s->config->name);

	for (size_t k = 0; k < s->n_generations; k++)
		if (s->generations[k] == steady && can_serve(steady))
			return s->generations[k];
	for (size_t k = 0; k < s->n_generations; k++)
		if (s->generations[k]->number == serving && can_serve(s->generations[k]))
			return s->generations[k];
	for (size_t k = 0; k < s->n_generations; k++)
		if (can_serve(s->generations[k]) && is_named(s, s->generations[k]))
			return s->generations[k];
	return NULL;
}

/* Maps of an earlier daemon that cannot be taken over hold its sockets until its program goes. */
static int prepare_endpoints(struct service *s, struct error *err)
{
	int r = 0;

	for (size_t k = 0; r >= 0 && k < s->config->n_listen; k++) {
		if (s->wiring.tier != STEER_EBPF || steer_is_taken_over(s->wiring.endpoints[k]))
			continue;
		log_warning("%s: the steering of an earlier batond cannot be taken over; "
			    "connections are refused for a moment",
			    s->config->listen[k].text);
		r = steer_reset(s->wiring.endpoints[k], err);
		if (r >= 0)
			r = steer_attach(s->wiring.endpoints[k], err);
	}
	return r;
}

static int adopt_generations(struct service *s, struct adopt_agent *const *agents, size_t n,
			     const struct generation **ret_steady, struct error *err)
{
	for (size_t first = 0, last; first < n; first = last) {
		struct generation *g;
		int r;

		for (last = first;
		     last < n && agents[last]->hello.generation == agents[first]->hello.generation;)
			last++;
		if (s->n_generations == SERVICE_GENERATIONS_MAX)
			return error_text(err, -E2BIG, "more than %d generations are alive",
					  SERVICE_GENERATIONS_MAX);
		r = generation_adopt(s->context, s->config, agents + first, last - first,
				     &s->wiring, &service_instance_callbacks, s, &g, err);
		if (r < 0)
			return r;
		s->generations[s->n_generations++] = g;
		if (agents[first]->hello.steady)
			*ret_steady = g;
	}
	return 0;
}

/* A foreign program on a group of ours is drift, and dealt with as such. */
static int attach_or_repair(struct service *s, struct error *err)
{
	int r = service_attach_endpoints(s, err);

	if (r != -EADDRINUSE || s->config->drift != DRIFT_REPAIR)
		return r;
	for (size_t k = 0; k < s->config->n_listen; k++) {
		struct error why;

		if (steer_repair(s->wiring.endpoints[k], &why) < 0)
			log_error("%s: %s", s->config->listen[k].text, why.text);
	}
	return service_attach_endpoints(s, err);
}

int service_adopt(struct service *s, struct adopt_agent *const *agents, size_t n, struct error *err)
{
	const struct generation *steady = NULL;
	char message[64];
	int r;

	r = service_open_endpoints(s, err);
	if (r >= 0)
		r = prepare_endpoints(s, err);
	if (r >= 0)
		r = adopt_generations(s, agents, n, &steady, err);
	if (r < 0)
		return r;
	service_forget_failover(s);
	s->current = find_current(s, steady);
	/* Whatever fails from here on, they have been taken over: somebody must look after them. */
	if (service_publish(s, s->current, NULL, err) < 0)
		log_error("%s: %s", s->config->name, err->text);
	if (attach_or_repair(s, err) < 0)
		log_error("%s: %s", s->config->name, err->text);
	for (size_t k = 0; k < s->config->n_listen; k++)
		steer_release_unclaimed(s->wiring.endpoints[k]);
	for (size_t k = 0; k < s->n_generations; k++)
		if (s->generations[k] != s->current)
			run_begin_retire(service_free_run(s), s, s->generations[k]);
	if (!s->current)
		return 0;
	s->settled = true;
	s->command = state_command(s->context->state, s->config->name);
	generation_release_leftovers(s->current);
	generation_steady(s->current, true);
	generation_check(s->current);
	snprintf(message, sizeof(message), "generation %u serves on", s->current->number);
	service_event(s, "adopted", json_pack("{s:s}", "message", message));
	return 1;
}
