/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An address can have so many listening sockets and no more (steer_room()). Instances that would
 * bring more than that are refused before any of them is started: those that found no room would
 * only fail later, one by one.
 */
#include <errno.h>

#include "orchestrator/service/service_internal.h"

/* How many sockets an instance brings: as many as those that run have, or else one. */
static uint32_t sockets_each(const struct service *s, const struct steer *endpoint)
{
	uint32_t most = 1;

	for (size_t k = 0; s->current && k < s->current->instances.n; k++) {
		const struct instance *i = s->current->instances.list[k];
		uint32_t n = 0;

		for (size_t m = 0; m < i->sockets.n; m++)
			n += instance_endpoint(i, i->sockets.list[m].endpoint) == endpoint;
		if (n > most)
			most = n;
	}
	return most;
}

static int refuse_more(const struct service *s, size_t place, uint32_t n, uint32_t each,
		       struct error *err)
{
	uint32_t used, max;

	steer_room(s->wiring.endpoints[place], &used, &max);
	return error_text(err, -ENOSPC,
			  "%u more instance%s would need %u listening sockets on %s (%u each), but "
			  "%u of the %u that one address can have on tier %s are taken: have fewer "
			  "instances, fewer sockets for each, or strategy \"rolling\"",
			  n, n == 1 ? "" : "s", n * each, s->endpoints.declared[place].text, each,
			  used, max, steer_tier_name(s->wiring.tier));
}

int service_check_slots(const struct service *s, uint32_t n, struct error *err)
{
	for (size_t k = 0; k < s->config->n_listen; k++) {
		size_t place = wiring_place(&s->wiring, &s->config->listen[k]);
		uint32_t used, max, each;

		/* One that is opened only now has room. */
		if (place == WIRING_MAX)
			continue;
		each = sockets_each(s, s->wiring.endpoints[place]);
		steer_room(s->wiring.endpoints[place], &used, &max);
		if (used + n * each > max)
			return refuse_more(s, place, n, each, err);
	}
	return 0;
}
