/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "orchestrator/service/service_internal.h"

/* A socket may be on its way from a server by its agent to here for so many looks. */
#define LOOKS_MIN 2

/* Then it is told although no process was found that has it. */
#define LOOKS_UNSEEN 10

/* So many of a service's own processes are looked at before those of others. */
#define OWN_PROCESSES_MAX 256

/* ---- ours ----------------------------------------------------------------------------------- */

static bool is_of(const struct instance *i, pid_t pid)
{
	return (i->link && !i->lost && agentlink_pid(i->link) == pid) || i->pid == pid ||
	       (i->processes && processes_contain(i->processes, pid) > 0);
}

static bool has_process(const struct service *s, pid_t pid)
{
	for (size_t k = 0; k < s->n_generations; k++)
		for (size_t j = 0; j < s->generations[k]->instances.n; j++)
			if (is_of(s->generations[k]->instances.list[j], pid))
				return true;
	return false;
}

/* Agents, servers and what these have started: whom to look at first. */
static size_t list_processes(const struct service *s, pid_t *ret, size_t max)
{
	size_t n = 0;

	for (size_t k = 0; k < s->n_generations; k++)
		for (size_t j = 0; j < s->generations[k]->instances.n; j++) {
			const struct instance *i = s->generations[k]->instances.list[j];
			cleanup_free pid_t *pids = NULL;
			size_t n_pids = 0;

			if (i->link && !i->lost && n < max)
				ret[n++] = agentlink_pid(i->link);
			if (i->processes)
				(void)processes_list(i->processes, &pids, &n_pids);
			for (size_t p = 0; p < n_pids && n < max; p++)
				ret[n++] = pids[p];
		}
	return n;
}

/* While an address goes from one service to another, servers of both listen there. */
static bool is_ours(void *userdata, pid_t pid)
{
	const struct service *s = userdata;

	return pid == getpid() || has_process(s, pid) ||
	       (s->lending.partner && has_process(s->lending.partner, pid));
}

/*
 * The cookies of sockets that were joined: agents have them, which need not be looked for. Neither
 * need the daemon's own ones: with many services each search would be through many descriptors.
 */
struct joined {
	struct service *service;
	const struct address *declared; /* that is looked at */
	const struct steer *steer;
	uint64_t *cookies;
	size_t n;
};

static int compare_cookies(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void add_joined(struct joined *joined, const struct instance_sockets *sockets)
{
	for (size_t k = 0; k < sockets->n; k++)
		joined->cookies[joined->n++] = sockets->list[k].cookie;
}

/* False: there is no memory. */
static bool list_joined(struct service *s, struct joined *ret)
{
	size_t n = 1;

	*ret = (struct joined){.service = s};
	for (size_t k = 0; k < s->n_generations; k++)
		for (size_t j = 0; j < s->generations[k]->instances.n; j++)
			n += s->generations[k]->instances.list[j]->sockets.n +
			     s->generations[k]->instances.list[j]->unused.n;
	ret->cookies = calloc(n, sizeof(*ret->cookies));
	if (!ret->cookies)
		return false;
	for (size_t k = 0; k < s->n_generations; k++)
		for (size_t j = 0; j < s->generations[k]->instances.n; j++) {
			add_joined(ret, &s->generations[k]->instances.list[j]->sockets);
			add_joined(ret, &s->generations[k]->instances.list[j]->unused);
		}
	qsort(ret->cookies, ret->n, sizeof(*ret->cookies), compare_cookies);
	return true;
}

static bool is_joined(const struct joined *joined, uint64_t cookie)
{
	return bsearch(&cookie, joined->cookies, joined->n, sizeof(cookie), compare_cookies);
}

static uint32_t generation_of(const struct service *s, const struct occupant *who)
{
	for (size_t k = 0; k < s->n_generations && who->cgroup_id != 0; k++)
		for (size_t j = 0; j < s->generations[k]->instances.n; j++)
			if (s->generations[k]->instances.list[j]->cgroup_id == who->cgroup_id)
				return s->generations[k]->number;
	for (size_t k = 0; k < STRANGERS_GONE_MAX; k++) {
		uint64_t id = s->strangers.gone[k].is_cgroup ? who->cgroup_id : who->cookie;

		if (id != 0 && s->strangers.gone[k].id == id)
			return s->strangers.gone[k].generation;
	}
	return 0;
}

/* ---- telling -------------------------------------------------------------------------------- */

static const char *what_it_gets(const struct service *s)
{
	if (!s->endpoints.open)
		return "connections go there";
	return steer_can(s->wiring.tier, STEER_CAN_SHIFT) ? "it gets no connections"
							  : "it gets its share of the connections";
}

static void tell(struct service *s, const struct service_stranger *stranger)
{
	const char *address = stranger->address;
	char who[OCCUPANT_TEXT_MAX], message[OCCUPANT_TEXT_MAX + ADDRESS_TEXT_MAX + 200];

	occupant_describe(&stranger->who, who);
	if (stranger->generation > 0)
		snprintf(message, sizeof(message),
			 "%s keeps a listening socket of generation %u on %s, but has left its "
			 "cgroup: %s; end it",
			 who, stranger->generation, address, what_it_gets(s));
	else
		snprintf(message, sizeof(message),
			 "%s listens on %s, too, and baton has not started it: %s; end it", who,
			 address, what_it_gets(s));
	service_tell(
		s, &(struct event){.kind = EVENT_STRANGER, .message = message, .listen = address});
}

static void tell_gone(struct service *s, const struct service_stranger *stranger)
{
	const char *address = stranger->address;
	char who[OCCUPANT_TEXT_MAX], message[OCCUPANT_TEXT_MAX + ADDRESS_TEXT_MAX + 40];

	snprintf(message, sizeof(message), "%s listens on %s no more",
		 occupant_describe(&stranger->who, who), address);
	service_tell(
		s, &(struct event){.kind = EVENT_STRANGER, .message = message, .listen = address});
}

/* ---- looking -------------------------------------------------------------------------------- */

static struct service_stranger *find(struct service_strangers *strangers, uint64_t cookie)
{
	for (size_t k = 0; k < strangers->n; k++)
		if (strangers->list[k].who.cookie == cookie)
			return &strangers->list[k];
	return NULL;
}

static void note(struct service *s, const struct address *address, const struct occupant *who)
{
	struct service_stranger *known = find(&s->strangers, who->cookie);

	if (!known && s->strangers.n == STRANGERS_MAX)
		return;
	if (!known) {
		known = &s->strangers.list[s->strangers.n++];
		*known = (struct service_stranger){.who = *who};
		memcpy(known->address, address->text, sizeof(known->address));
	}
	known->looks++;
	known->seen = true;
}

/* Forget those that do not listen any more. */
static void drop_unseen(struct service *s)
{
	size_t kept = 0;

	for (size_t k = 0; k < s->strangers.n; k++) {
		if (s->strangers.list[k].seen)
			s->strangers.list[kept++] = s->strangers.list[k];
		else if (s->strangers.list[k].told)
			tell_gone(s, &s->strangers.list[k]);
	}
	s->strangers.n = kept;
}

/* Who has those that are still to be told of? Only they cost a search. */
static void identify(struct service *s)
{
	struct service_stranger *whose[STRANGERS_MAX];
	struct occupant list[STRANGERS_MAX];
	pid_t own[OWN_PROCESSES_MAX];
	struct openers_liking liking = {.first = own, .is_preferred = is_ours, .userdata = s};
	size_t n = 0;

	for (size_t k = 0; k < s->strangers.n; k++) {
		struct service_stranger *stranger = &s->strangers.list[k];

		if (stranger->told || stranger->ours || stranger->looks < LOOKS_MIN ||
		    stranger->looks > LOOKS_UNSEEN)
			continue;
		list[n] = stranger->who;
		whose[n++] = stranger;
	}
	if (n > 0) {
		liking.n_first = list_processes(s, own, OWN_PROCESSES_MAX);
		occupants_find_holders(list, n, &liking);
	}
	for (size_t k = 0; k < n; k++) {
		struct service_stranger *stranger = whose[k];

		stranger->who = list[k];
		stranger->ours = list[k].pid != 0 && is_ours(s, list[k].pid);
		if (stranger->ours || (list[k].pid == 0 && stranger->looks < LOOKS_UNSEEN))
			continue;
		stranger->generation = generation_of(s, &list[k]);
		stranger->told = true;
		tell(s, stranger);
	}
}

static void on_occupant(void *userdata, const struct occupant *who)
{
	const struct joined *joined = userdata;

	if (!is_joined(joined, who->cookie) && !steer_is_own(joined->steer, who->cookie))
		note(joined->service, joined->declared, who);
}

void service_look_strangers(struct service *s)
{
	struct joined joined;
	int r = 0;

	if (!s->context->occupants || !list_joined(s, &joined))
		return;
	for (size_t k = 0; k < s->strangers.n; k++)
		s->strangers.list[k].seen = false;
	WIRING_EACH (k, &s->wiring) {
		if (r < 0 || s->lending.borrowed[k])
			continue;
		joined.declared = &s->endpoints.declared[k];
		joined.steer = s->wiring.endpoints[k];
		r = occupants_each(s->context->occupants, joined.declared, on_occupant, &joined);
	}
	free(joined.cookies);
	/* If nobody can tell, what was known stands. */
	if (r < 0)
		return;
	drop_unseen(s);
	identify(s);
}

void service_tell_leftovers(struct service *s)
{
	struct occupant list[STRANGERS_MAX];

	if (!s->context->occupants)
		return;
	occupants_forget(s->context->occupants);
	for (size_t k = 0; k < WIRING_MAX; k++) {
		const struct address *declared = &s->endpoints.declared[k];
		int n = declared->length > 0 ? occupants_look(s->context->occupants, declared, list,
							      STRANGERS_MAX)
					     : 0;

		if (n > 0)
			occupants_find_holders(list, (size_t)n, NULL);
		for (int j = 0; j < n; j++) {
			struct service_stranger *known = find(&s->strangers, list[j].cookie);
			struct service_stranger left = {
				.who = list[j],
				.generation = generation_of(s, &list[j]),
			};

			memcpy(left.address, declared->text, sizeof(left.address));

			if (list[j].pid != 0 && !(known && known->told))
				tell(s, &left);
		}
	}
}

static void add_gone(struct service *s, uint64_t id, bool is_cgroup, uint32_t generation)
{
	size_t k = s->strangers.n_gone++ % STRANGERS_GONE_MAX;

	s->strangers.gone[k].id = id;
	s->strangers.gone[k].is_cgroup = is_cgroup;
	s->strangers.gone[k].generation = generation;
}

void service_note_gone(struct service *s, const struct instance *i)
{
	add_gone(s, i->cgroup_id, true, i->generation);
	for (size_t k = 0; k < i->sockets.n; k++)
		add_gone(s, i->sockets.list[k].cookie, false, i->generation);
}

void service_forget_strangers(struct service *s)
{
	s->strangers.n = 0;
}
