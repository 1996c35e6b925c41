/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>

#include "common/clock.h"
#include "orchestrator/service/service_internal.h"

static uint64_t carried_by(const struct instance *i)
{
	uint64_t sum = 0;

	for (size_t k = 0; k < i->sockets.n; k++) {
		const struct instance_socket *socket = &i->sockets.list[k];
		struct steer_slot_stats stats;

		if (steer_slot_stats(instance_endpoint(i, socket->endpoint), socket->slot,
				     &stats) >= 0)
			sum += stats.backup;
	}
	return sum;
}

/* New connections that @g has had as a backup since it was looked at last. */
static uint64_t newly_carried(struct generation *g)
{
	uint64_t sum = 0;

	for (size_t k = 0; k < g->instances.n; k++) {
		struct instance *i = g->instances.list[k];
		uint64_t now = carried_by(i);

		if (now > i->carried_seen)
			sum += now - i->carried_seen;
		i->carried_seen = now;
	}
	return sum;
}

static void tell_failover(struct service *s, const struct generation *g, uint64_t n)
{
	const struct generation *named = service_named_generation(s);

	char message[160];

	if (named && named != g)
		snprintf(message, sizeof(message),
			 "generation %u does not accept; generation %u carries its new "
			 "connections (%llu so far)",
			 named->number, g->number, (unsigned long long)n);
	else
		snprintf(message, sizeof(message),
			 "other instances of generation %u carry new connections of one that "
			 "does not accept (%llu so far)",
			 g->number, (unsigned long long)n);
	service_tell(s, &(struct event){.kind = EVENT_FAILOVER,
					.message = message,
					.generation = g->number});
}

void service_look_failover(struct service *s)
{
	bool before = s->failover.active;

	/* Those that are the last to serve leave one after the other: no failure. */
	if (service_stopping_run(s)) {
		service_forget_failover(s);
		return;
	}
	for (size_t k = 0; k < s->n_generations; k++) {
		uint64_t n = newly_carried(s->generations[k]);

		if (n == 0)
			continue;
		s->failover.active = true;
		s->failover.carried += n;
		s->failover.last_realtime_ms = clock_realtime_ms();
		if (before)
			continue;
		s->failover.count++;
		tell_failover(s, s->generations[k], n);
	}
}

void service_end_failover(struct service *s)
{
	s->failover.active = false;
}

void service_forget_failover(struct service *s)
{
	for (size_t k = 0; k < s->n_generations; k++)
		newly_carried(s->generations[k]);
}
