/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "common/log.h"
#include "orchestrator/service/service_internal.h"
#include "orchestrator/service/underway.h"
#include "orchestrator/service/service_twins.h"

/* ---- who is there --------------------------------------------------------------------------- */

/* It serves, and is not on its way out. */
static bool stays(const struct instance *i)
{
	return !instance_is_leaving(i) && instance_is_serving(i);
}

static bool can_serve(const struct generation *g)
{
	for (size_t k = 0; k < g->instances.n; k++)
		if (stays(g->instances.list[k]))
			return true;
	return false;
}

/* Only on tier ebpf the kernel has kept the tables; on others every instance counts as named. */
static bool is_named(const struct service *s, const struct instance *i)
{
	if (s->wiring.tier != STEER_EBPF)
		return true;
	for (size_t k = 0; k < i->sockets.n; k++)
		if (steer_names(instance_endpoint(i, i->sockets.list[k].endpoint),
				i->sockets.list[k].slot))
			return true;
	return false;
}

/* Its checks: steady is who has, and so is whom the kernel's tables name. */
static bool has_passed(const struct service *s, const struct instance *i)
{
	return i->steady || (s->wiring.tier == STEER_EBPF && is_named(s, i));
}

static bool any_is_named(const struct service *s, const struct generation *g)
{
	for (size_t k = 0; k < g->instances.n; k++)
		if (is_named(s, g->instances.list[k]))
			return true;
	return false;
}

/*
 * Which instances of a generation would serve on? The steady ones: the others were victims, or had
 * yet to pass their checks. Between a shift and its commit none is steady: then those that the
 * tables name. If there are no tables any more, all of them.
 */
static void find_staying(const struct service *s, const struct generation *g,
			 struct instances *ret_in, struct instances *ret_out)
{
	bool any_named = any_is_named(s, g), any_steady = false;

	ret_in->n = ret_out->n = 0;
	for (size_t k = 0; k < g->instances.n; k++)
		any_steady |= stays(g->instances.list[k]) && g->instances.list[k]->steady;
	for (size_t k = 0; k < g->instances.n; k++) {
		struct instance *i = g->instances.list[k];

		if (stays(i) && (any_steady ? i->steady : !any_named || is_named(s, i)))
			instances_add(ret_in, i);
		else
			instances_add(ret_out, i);
	}
}

static size_t n_staying(const struct service *s, const struct generation *g)
{
	cleanup(instances_done) struct instances in = {}, out = {};

	find_staying(s, g, &in, &out);
	return in.n;
}

/*
 * Which generation was not given up? Its instances are steady. Between a shift and its commit none
 * is steady: then the generation that the earlier daemon has noted as serving. Without a note, the
 * oldest that the tables name. A generation that no table names has never passed its checks.
 */
static struct generation *find_kept(struct service *s, const struct generation *steady)
{
	uint32_t serving = state_serving(s->context->state, service_id(s));

	for (size_t k = 0; k < s->n_generations; k++)
		if (s->generations[k] == steady && can_serve(steady))
			return s->generations[k];
	for (size_t k = 0; k < s->n_generations; k++)
		if (s->generations[k]->number == serving && can_serve(s->generations[k]))
			return s->generations[k];
	for (size_t k = 0; k < s->n_generations; k++)
		if (can_serve(s->generations[k]) && any_is_named(s, s->generations[k]))
			return s->generations[k];
	return NULL;
}

/*
 * That generation goes on, unless a rolling rollout has left less than half of it, and a newer one
 * that the tables name is larger. Going back would end the instances that carry the load.
 */
static struct generation *find_current(struct service *s, const struct generation *steady)
{
	struct generation *kept = find_kept(s, steady), *best = kept;

	if (!kept || 2 * n_staying(s, kept) >= s->instances)
		return kept;
	for (size_t k = 0; k < s->n_generations; k++)
		if (n_staying(s, s->generations[k]) > n_staying(s, best) &&
		    any_is_named(s, s->generations[k]))
			best = s->generations[k];
	return best;
}

/*
 * What the instances listen on that have not left yet: of a rollout that was under way, the sets of
 * both sides. The file may say something else by now: a rollout brings that.
 */
static int open_endpoints(struct service *s, struct takeover_agent *const *agents, size_t n,
			  struct error *err)
{
	int r = service_open_wiring(s, err);

	s->endpoints.agents = agents;
	s->endpoints.n_agents = n;
	for (size_t k = 0; r >= 0 && k < n; k++) {
		const struct launch_spec *spec = &agents[k]->spec;
		struct service_config has = {};

		for (size_t j = 0; j < spec->n_listen; j++)
			if (!agents[k]->lost[j])
				has.listen[has.n_listen++] = spec->listen[j];
		if (agents[k]->hello.state < AGENT_LEFT)
			r = service_open_addresses(s, &has, err);
	}
	/* All have left: those of the file are opened for the start that comes. */
	if (r >= 0 && wiring_free_place(&s->wiring) == 0)
		r = service_open_addresses(s, s->config, err);
	s->endpoints.agents = NULL;
	s->endpoints.n_agents = 0;
	if (r < 0 && s->endpoints.open)
		service_close_endpoints(s);
	return r;
}

/*
 * A socket is in one map only, and the map of an earlier program keeps it until that program is off
 * the group. If ours cannot go on with that map, it takes the place of that program at once: what
 * comes before the sockets are in its own map waits at the anchor.
 */
static int replace_program(struct steer *steer, struct error *err)
{
	int r = steer_reset(steer, err);

	if (r >= 0)
		r = steer_hold(steer, true);
	if (r >= 0)
		r = steer_attach(steer, err);
	/* Another's program is on the group: then no earlier one of ours keeps anything. */
	return r == -EADDRINUSE ? 0 : r;
}

static int prepare_endpoints(struct service *s, struct error *err)
{
	int r = 0;

	WIRING_EACH (k, &s->wiring) {
		s->endpoints.replaced[k] = s->wiring.tier == STEER_EBPF &&
					   !steer_is_taken_over(s->wiring.endpoints[k]);
		if (r < 0 || !s->endpoints.replaced[k])
			continue;
		log_warning("%s: the map with the sockets of an earlier batond's servers is gone, "
			    "or does not fit this version: new connections wait until the sockets "
			    "are in another one",
			    s->endpoints.declared[k].text);
		r = replace_program(s->wiring.endpoints[k], err);
	}
	return r;
}

/* What has waited meanwhile goes where the table says, unless the service lets it wait, too. */
static void end_replacing(struct service *s)
{
	struct error err;

	WIRING_EACH (k, &s->wiring) {
		int r = 0;

		if (!s->endpoints.replaced[k])
			continue;
		s->endpoints.replaced[k] = false;
		if (s->hold.on)
			continue;
		r = steer_unhold(s->wiring.endpoints[k], &err);
		if (r < 0)
			log_error("%s: %s", s->endpoints.declared[k].text, err.text);
		else
			log_info("%s: the sockets are in another map; %d new connection%s waited "
				 "for that",
				 s->endpoints.declared[k].text, r, r == 1 ? "" : "s");
		steer_hold(s->wiring.endpoints[k], false);
		/* Nobody can take them. */
		steer_expire(s->wiring.endpoints[k], UINT32_MAX);
	}
}

static int take_over_generations(struct service *s, struct takeover_agent *const *agents, size_t n,
				 const struct generation **ret_steady, struct error *err)
{
	for (size_t first = 0, last; first < n; first = last) {
		struct generation *g;
		int r;

		for (last = first;
		     last < n && agents[last]->hello.generation == agents[first]->hello.generation;)
			last++;
		r = generation_take_over(s->context, s->config, agents + first, last - first,
					 &s->wiring, &service_instance_callbacks, s, &g, err);
		if (r < 0)
			return r;
		r = service_add_generation(s, g, err);
		if (r < 0)
			return r;
		for (size_t k = first; k < last; k++)
			if (agents[k]->hello.steady)
				*ret_steady = g;
	}
	return 0;
}

/* None of them may change what the endpoints were opened for. */
static int hear_generations(struct service *s, struct takeover_agent *const *agents, size_t n,
			    const struct generation **ret_steady, struct error *err)
{
	int r;

	s->endpoints.taking_over = true;
	r = take_over_generations(s, agents, n, ret_steady, err);
	s->endpoints.taking_over = false;
	return r;
}

/* A foreign program on a group of ours is drift: repair it, if that is configured. */
static int attach_or_repair(struct service *s, struct error *err)
{
	int r = service_attach_endpoints(s, err);

	if (r != -EADDRINUSE || s->config->drift != DRIFT_REPAIR)
		return r;
	WIRING_EACH (k, &s->wiring) {
		struct error why;

		if (steer_repair(s->wiring.endpoints[k], &why) < 0)
			log_error("%s: %s", s->endpoints.declared[k].text, why.text);
	}
	return service_attach_endpoints(s, err);
}

/* ---- half-way through a rolling rollout ------------------------------------------------------ */

/*
 * The current generation lacks instances. Newer instances that the tables name carry their share,
 * and go on until the missing ones are back. Only on tier ebpf the tables tell which they are.
 */
static struct generation *find_substitutes(struct service *s, const struct instances *in,
					   struct instances *ret)
{
	ret->n = 0;
	if (s->wiring.tier != STEER_EBPF || in->n >= s->instances)
		return NULL;
	for (size_t k = s->n_generations; k > 0; k--) {
		struct generation *g = s->generations[k - 1];

		if (g == s->current)
			continue;
		for (size_t j = 0; j < g->instances.n; j++)
			if (stays(g->instances.list[j]) && is_named(s, g->instances.list[j]))
				instances_add(ret, g->instances.list[j]);
		if (ret->n > 0)
			return g;
	}
	return NULL;
}

/* Start the missing instances; when they are healthy the substitutes go. */
static void restore(struct service *s, struct generation *g, const struct instances *substitutes,
		    size_t n_in)
{
	struct run *run = service_free_run(s);

	if (!run)
		return;
	for (size_t k = 0; k < substitutes->n; k++) {
		instance_release_leftovers(substitutes->list[k]);
		instance_recall_health(substitutes->list[k], true);
	}
	instances_check(substitutes);
	service_begin_run(s, run,
			  (struct run_plan){.order = RUN_ORDER_RESTORE,
					    .new = s->current,
					    .n_new = s->instances - (uint32_t)n_in,
					    .old = g,
					    .goes = substitutes,
					    .partial = true,
					    .automatic = true});
}

/* All of a generation but its substitutes. */
static void retire_rest(struct service *s, struct generation *g,
			const struct instances *substitutes)
{
	cleanup(instances_done) struct instances goes = {};

	for (size_t k = 0; k < g->instances.n; k++)
		if (!instances_have(substitutes, g->instances.list[k]))
			instances_add(&goes, g->instances.list[k]);
	service_retire(s, g, &goes);
}

/* ---- the whole ------------------------------------------------------------------------------ */

static void serve_on(struct service *s, const struct instances *in)
{
	struct event event = {.kind = EVENT_TAKEN_OVER, .generation = s->current->number};
	const struct underway_list *found = s->underway.found;
	char message[768], what[512];
	size_t n;

	s->settled = true;
	service_recall(s);
	service_note_taken_over(s);
	for (size_t k = 0; k < in->n; k++) {
		instance_release_leftovers(in->list[k]);
		instance_recall_health(in->list[k], has_passed(s, in->list[k]));
		instance_steady(in->list[k], true);
		instance_check(in->list[k]);
	}
	/* A rollout was under way, or the configuration has changed. */
	if (in->n > s->instances)
		service_order_later(s, SERVICE_ORDER_SCALE);
	service_describe_underway(s, what, sizeof(what));
	n = (size_t)snprintf(message, sizeof(message), "%s%sgeneration %u serves on", what,
			     what[0] ? ": " : "", s->current->number);
	for (size_t k = 0; k < s->n_generations && n < sizeof(message); k++)
		if (s->generations[k] != s->current)
			n += (size_t)snprintf(message + n, sizeof(message) - n,
					      "; generation %u, whose rollout was under way, goes",
					      s->generations[k]->number);
	if (s->hold.paused && n < sizeof(message))
		snprintf(message + n, sizeof(message) - n,
			 "; it stays paused: new connections wait until \"baton resume %s\"",
			 s->config->name);
	event.message = message;
	event.rollout = found ? found->list[found->n - 1].id : 0;
	service_tell(s, &event);
	/* No instance reports that others are missing: look. */
	service_poke(s);
}

int service_take_over(struct service *s, struct takeover_agent *const *agents, size_t n,
		      struct error *err)
{
	const struct generation *steady = NULL;
	cleanup(instances_done) struct instances in = {}, out = {}, substitutes = {};
	struct generation *other = NULL;
	int r;

	assert(n > 0 && !s->current);
	service_learn_twins(s, agents, n);
	r = open_endpoints(s, agents, n, err);
	if (r >= 0)
		r = prepare_endpoints(s, err);
	if (r >= 0)
		r = hear_generations(s, agents, n, &steady, err);
	if (r < 0)
		return r;
	service_forget_failover(s);
	s->current = find_current(s, steady);
	s->hold.paused =
		s->underway.was_paused && s->current && steer_can(s->wiring.tier, STEER_CAN_HOLD);
	if (s->current) {
		find_staying(s, s->current, &in, &out);
		other = find_substitutes(s, &in, &substitutes);
		instances_name(&in, INSTANCE_IN);
		instances_name(&substitutes, INSTANCE_IN);
	}
	/* They have been taken over. Whatever fails from here on, they must be looked after. */
	if (service_publish(s, err) < 0)
		log_error("%s: %s", s->config->name, err->text);
	if (attach_or_repair(s, err) < 0)
		log_error("%s: %s", s->config->name, err->text);
	end_replacing(s);
	WIRING_EACH (k, &s->wiring) {
		steer_release_unclaimed(s->wiring.endpoints[k]);
		steer_tidy(s->wiring.endpoints[k]);
	}
	service_keep_sockets(s);
	for (size_t k = 0; k < s->n_generations; k++)
		if (s->generations[k] != s->current)
			retire_rest(s, s->generations[k], &substitutes);
	if (!s->current)
		return 0;
	service_retire(s, s->current, &out);
	if (other)
		restore(s, other, &substitutes, in.n);
	serve_on(s, &in);
	return 1;
}
