/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>

#include "common/duration.h"
#include "orchestrator/instance/instances.h"
#include "orchestrator/service/service_internal.h"

/* ---- who is on the way out ------------------------------------------------------------------ */

static bool is_victim(const struct service *s, const struct instance *i)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (service_run_is_used(&s->runs[k]) &&
		    (instances_have(&s->runs[k].victims, i) ||
		     (!s->runs[k].machine.has_new &&
		      instances_have(&s->runs[k].side[ROLLOUT_OLD], i))))
			return true;
	return false;
}

void service_staying(const struct service *s, struct instances *ret)
{
	ret->n = 0;
	for (size_t k = 0; s->current && k < s->current->instances.n; k++) {
		struct instance *i = s->current->instances.list[k];

		if (!instance_is_leaving(i) && !is_victim(s, i))
			instances_add(ret, i);
	}
}

/* ---- who serves ----------------------------------------------------------------------------- */

bool service_is_in(const struct service *s, const struct instance *i)
{
	(void)s;
	return i->role == INSTANCE_IN && instance_is_serving(i);
}

bool service_is_meant(const struct service *s, const struct instance *i)
{
	(void)s;
	return i->role == INSTANCE_IN;
}

static bool is_well(const struct service *s, const struct instance *i)
{
	return service_is_in(s, i) && !instance_is_unhealthy(i);
}

bool service_is_backup(const struct service *s, const struct instance *i)
{
	(void)s;
	return i->role == INSTANCE_BACKUP && instance_is_serving(i);
}

bool service_is_steady(const struct service *s, const struct instance *i)
{
	return i->steady && is_well(s, i);
}

size_t service_count(const struct service *s, service_filter *wanted)
{
	size_t n = 0;

	for (size_t k = 0; k < s->n_generations; k++)
		for (size_t j = 0; j < s->generations[k]->instances.n; j++)
			n += wanted(s, s->generations[k]->instances.list[j]);
	return n;
}

/*
 * They back up nobody: the service is being stopped, and nobody else is left. A server may go on
 * accepting after its drain signal, for whoever balances load to see that it goes.
 */
static bool is_last(const struct service *s, const struct instance *i)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (service_run_is_used(&s->runs[k]) && s->runs[k].machine.policy.lasts &&
		    instances_have(&s->runs[k].victims, i))
			return service_is_backup(s, i);
	return false;
}

bool service_can_serve(const struct service *s)
{
	return service_count(s, service_is_in) > 0;
}

service_filter *service_in_service(const struct service *s)
{
	if (service_count(s, is_well) > 0)
		return is_well;
	return service_can_serve(s) ? service_is_in : is_last;
}

bool service_can_take(const struct service *s)
{
	return service_count(s, service_in_service(s)) > 0;
}

size_t service_named(const struct service *s)
{
	return service_count(s, service_in_service(s));
}

/* By the published tables, not by the roles that the next ones are made of. */
struct generation *service_named_generation(const struct service *s)
{
	for (size_t k = s->n_generations; k > 0; k--) {
		struct generation *g = s->generations[k - 1];

		for (size_t j = 0; j < g->instances.n; j++)
			if (g->instances.list[j]->aimed > 0)
				return g;
	}
	return NULL;
}

/* During a pause nothing is named, and what is to serve keeps what it has. */
static bool answers(const struct service *s, const struct instance *i)
{
	bool named = s->hold.paused ? i->role == INSTANCE_IN : i->aimed > 0;

	return named && i->pid > 0 && instance_is_serving(i) && !instance_is_unhealthy(i);
}

void service_who_serves(const struct service *s, struct run_serving *ret)
{
	*ret = (struct run_serving){.wanted = s->instances, .ending = s->shutting_down};
	for (size_t k = s->n_generations; k > 0; k--) {
		const struct generation *g = s->generations[k - 1];
		uint32_t n = 0;

		for (size_t j = 0; j < g->instances.n; j++)
			n += answers(s, g->instances.list[j]);
		if (n > 0 && ret->generation == 0)
			ret->generation = g->number;
		ret->instances += n;
	}
}

int service_steered_to(const struct service *s, const struct instance *i, uint64_t *ret)
{
	*ret = 0;
	if (!steer_can(s->wiring.tier, STEER_CAN_COUNT))
		return -ENODATA;
	for (size_t k = 0; k < i->sockets.n; k++) {
		const struct instance_socket *socket = &i->sockets.list[k];
		struct steer_slot_stats stats;
		int r = steer_slot_stats(instance_endpoint(i, socket->endpoint), socket->slot,
					 &stats);

		if (r < 0)
			return r;
		if (socket->endpoint == 0)
			*ret += stats.primary + stats.backup;
	}
	return 0;
}

void service_keep_sockets(struct service *s)
{
	for (size_t g = 0; g < s->n_generations; g++)
		for (size_t k = 0; k < s->generations[g]->instances.n; k++)
			instance_keep_sockets(s->generations[g]->instances.list[k]);
}

char *service_describe_awaited(const struct service *s, char ret[static SERVICE_AWAITED_MAX])
{
	char who[TAKEOVER_TEXT_MAX], limit[DURATION_TEXT_MAX];

	takeover_describe(s->awaited, service_id(s), who);
	snprintf(ret, SERVICE_AWAITED_MAX,
		 "waiting for agents of an earlier batond: %s; one that does not answer within %s "
		 "is ended, and another goes on with its server",
		 who[0] ? who : "they are asked", duration_format(agentlink_deadline(), limit));
	return ret;
}
