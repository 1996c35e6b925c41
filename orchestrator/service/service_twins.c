/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/service/service_twins.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "orchestrator/service/service_internal.h"

static void remember(struct service *s, const struct address *declared, const struct address *bound)
{
	struct address twin;
	struct error err;

	if (address_twin(declared, &twin) &&
	    state_set_twin(s->context->state, service_id(s), twin.text, address_equal(&twin, bound),
			   &err) < 0)
		log_warning("%s: a later batond finds out anew of which family the sockets are: %s",
			    s->config->name, err.text);
}

/* ---- who serves ----------------------------------------------------------------------------- */

static bool listens(const struct service *s, const struct instance *i, size_t place)
{
	size_t k = wiring_index(&s->wiring, place, i->config);

	for (size_t j = 0; j < i->sockets.n; j++)
		if (i->sockets.list[j].endpoint == k)
			return true;
	return false;
}

/* Those that start together with @i, and that no table names, find out like @i. */
static bool is_in_the_way(const struct service *s, const struct instance *other,
			  const struct instance *i, size_t place)
{
	return other != i && other->phase <= INSTANCE_JOINED && listens(s, other, place) &&
	       (other->generation != i->generation || other->role != INSTANCE_OUT);
}

bool service_is_served(void *userdata, const struct instance *i, size_t k)
{
	const struct service *s = userdata;
	size_t place = wiring_place(&s->wiring, &i->config->listen[k]);

	/* In a takeover it is not known yet who serves; but how, service_learn_twins() knows. */
	if (s->endpoints.taking_over)
		return true;
	/* Servers of one generation that do not agree would have it opened anew for ever. */
	if (s->endpoints.moved_for[place] == i->generation || s->lending.borrowed[place])
		return true;
	for (size_t g = 0; g < s->n_generations; g++)
		for (size_t j = 0; j < s->generations[g]->instances.n; j++)
			if (is_in_the_way(s, s->generations[g]->instances.list[j], i, place))
				return true;
	return false;
}

bool service_is_moving(void *userdata)
{
	const struct service *s = userdata;

	for (size_t g = 0; g < s->n_generations; g++)
		for (size_t j = 0; j < s->generations[g]->instances.n; j++) {
			const struct instance *i = s->generations[g]->instances.list[j];

			if (i->awaited > 0 && i->phase <= INSTANCE_JOINED)
				return true;
		}
	return false;
}

void service_end_move(struct service *s)
{
	if (service_is_moving(s))
		return;
	for (size_t g = 0; g < s->n_generations; g++)
		for (size_t j = 0; j < s->generations[g]->instances.n; j++)
			instance_ask_sockets(s->generations[g]->instances.list[j]);
}

/* ---- moving --------------------------------------------------------------------------------- */

static void tell_move(struct service *s, const struct instance *i, size_t k,
		      const struct address *address, uint32_t held)
{
	char message[512], lost[64] = "";

	if (held > 0)
		snprintf(lost, sizeof(lost), "; %u connections that waited were reset", held);
	snprintf(message, sizeof(message),
		 "instance %u listens on %s: %s was opened anew for sockets of that family%s",
		 i->index, address->text, i->config->listen[k].text, lost);
	service_tell(s, &(struct event){.kind = EVENT_SOCKETS,
					.message = message,
					.has_instance = true,
					.generation = i->generation,
					.instance = i->index,
					.listen = i->config->listen[k].text});
}

/* Maps that are pinned for it are of a batond that died in between. */
static int open_anew(struct service *s, const struct address *address, struct steer **ret,
		     struct error *err)
{
	int r = service_open_endpoint(s, address, true, ret, err);

	if (r < 0)
		return r;
	r = steer_reset(*ret, err);
	if (r >= 0 && s->hold.on)
		steer_hold(*ret, true);
	if (r >= 0)
		r = steer_attach(*ret, err);
	if (r < 0) {
		steer_unpin_all(*ret);
		steer_free(TAKE_PTR(*ret));
	}
	return r;
}

/* Each generation that has the address is told, by its own index of it. */
static void change_endpoint(struct service *s, size_t place)
{
	for (size_t g = 0; g < s->n_generations; g++) {
		const struct generation *of = s->generations[g];
		size_t k = wiring_index(&s->wiring, place, of->config);

		for (size_t j = 0; k < of->config->n_listen && j < of->instances.n; j++)
			instance_change_endpoint(of->instances.list[j], k);
	}
}

int service_move_endpoint(void *userdata, const struct instance *i, size_t k,
			  const struct address *address, struct error *err)
{
	struct service *s = userdata;
	size_t place = wiring_place(&s->wiring, &i->config->listen[k]);
	struct steer *before = s->wiring.endpoints[place], *after = NULL;
	uint32_t held = 0;
	int r = open_anew(s, address, &after, err);

	if (r < 0)
		return r;
	s->wiring.endpoints[place] = after;
	s->endpoints.moved_for[place] = i->generation;
	change_endpoint(s, place);
	/* No other group takes what waits there. */
	if (steer_held(before, &held) >= 0 && held > 0) {
		hold_left(&s->hold.queues[place], held);
		s->hold.expired[place] += held;
	}
	steer_unpin_all(before);
	steer_free(before);
	s->drift.drifted[place] = false;
	s->published.version = 0;
	remember(s, &i->config->listen[k], address);
	tell_move(s, i, k, address, held);
	return 0;
}

/* ---- taking over ---------------------------------------------------------------------------- */

/* How much does a socket of @agent say about what its service's endpoints are? */
static int weight(const struct service *s, const struct takeover_agent *agent,
		  const struct report_socket *socket)
{
	uint32_t serving = state_serving(s->context->state, service_id(s));

	return 1 + socket->own + 2 * (agent->hello.generation == serving) + 4 * agent->hello.steady;
}

static bool is_for(const struct takeover_agent *agent, const struct report_socket *socket,
		   const struct address *declared)
{
	return socket->endpoint < agent->spec.n_listen &&
	       address_equal(&agent->spec.listen[socket->endpoint], declared);
}

static void learn(struct service *s, struct takeover_agent *const *agents, size_t n,
		  const struct address *declared)
{
	struct address twin, found;
	int best = 0;

	if (!address_twin(declared, &twin))
		return;
	for (size_t a = 0; a < n; a++)
		for (size_t j = 0; j < agents[a]->hello.n_sockets; j++) {
			const struct report_socket *socket = &agents[a]->hello.sockets[j];

			if (!is_for(agents[a], socket, declared) ||
			    weight(s, agents[a], socket) <= best)
				continue;
			best = weight(s, agents[a], socket);
			found = strcmp(socket->address, twin.text) == 0 ? twin : *declared;
		}
	if (best > 0)
		remember(s, declared, &found);
}

void service_learn_twins(struct service *s, struct takeover_agent *const *agents, size_t n)
{
	for (size_t a = 0; a < n; a++)
		for (size_t k = 0; k < agents[a]->spec.n_listen; k++)
			learn(s, agents, n, &agents[a]->spec.listen[k]);
}
