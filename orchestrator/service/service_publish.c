/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "orchestrator/service/service_internal.h"

/* Divisible by every number up to 16, and close to it for the others. */
#define INSTANCE_WEIGHT 720720
_Static_assert(INSTANCE_WEIGHT <= TABLE_WEIGHT_MAX, "a weight of table.h");

/* ---- shares --------------------------------------------------------------------------------- */

struct shares {
	struct table_share list[STEER_SLOTS];
	size_t n;
};

static size_t sockets_of(const struct instance *i, size_t k)
{
	size_t n = 0;

	for (size_t j = 0; j < i->sockets.n; j++)
		n += i->sockets.list[j].endpoint == k;
	return n;
}

/*
 * How many instances of the canary (!@canary: of the others) listen at this place? Those of another
 * generation may have it at another index of their addresses, or not at all.
 */
static uint32_t group_size(const struct service *s, service_filter *wanted, size_t place,
			   bool canary)
{
	uint32_t n = 0;

	for (size_t k = 0; k < s->n_generations; k++) {
		const struct generation *g = s->generations[k];
		size_t index;

		if ((g == s->published.shares.canary) != canary)
			continue;
		index = wiring_index(&s->wiring, place, g->config);
		for (size_t j = 0; j < g->instances.n; j++)
			n += wanted(s, g->instances.list[j]) &&
			     sockets_of(g->instances.list[j], index) > 0;
	}
	return n;
}

/* The @k-th part if @total is dealt into @n parts, as whole numbers. */
static uint32_t deal(uint32_t total, uint32_t n, uint32_t k)
{
	assert(k < n);
	return total / n + (k < total % n);
}

/*
 * Each instance of the group gets the same, however many sockets it has. If @total is a number of
 * buckets, the weights are whole buckets, and the table loses no share by rounding.
 */
static void add_shares(const struct service *s, service_filter *wanted, size_t place, bool canary,
		       uint32_t total, struct shares *ret)
{
	uint32_t n_instances = group_size(s, wanted, place, canary), nth = 0;

	for (size_t k = 0; k < s->n_generations; k++) {
		const struct generation *g = s->generations[k];
		size_t index;

		if ((g == s->published.shares.canary) != canary)
			continue;
		index = wiring_index(&s->wiring, place, g->config);
		for (size_t j = 0; j < g->instances.n; j++) {
			const struct instance *i = g->instances.list[j];
			uint32_t n = (uint32_t)sockets_of(i, index), mine, socket = 0;

			if (!wanted(s, i) || n == 0)
				continue;
			mine = deal(total, n_instances, nth++);
			for (size_t m = 0; m < i->sockets.n && ret->n < STEER_SLOTS; m++)
				if (i->sockets.list[m].endpoint == index)
					ret->list[ret->n++] = (struct table_share){
						.slot = i->sockets.list[m].slot,
						.weight = deal(mine, n, socket++),
					};
		}
	}
}

/* The buckets of the canary: to the nearest one, but never none, and never all. */
static uint32_t canary_buckets(const struct service *s)
{
	uint32_t n = (STEER_BUCKETS * s->published.shares.weight + 50) / 100;

	if (n == 0)
		return 1;
	return n < STEER_BUCKETS ? n : STEER_BUCKETS - 1;
}

static void gather(const struct service *s, service_filter *wanted, size_t place,
		   struct shares *ret)
{
	uint32_t in = group_size(s, wanted, place, true);
	uint32_t rest = group_size(s, wanted, place, false);

	ret->n = 0;
	/* If one of the two groups has nobody, the other has it all. */
	if (!s->published.shares.canary || in == 0 || rest == 0) {
		add_shares(s, wanted, place, true, INSTANCE_WEIGHT * in, ret);
		add_shares(s, wanted, place, false, INSTANCE_WEIGHT * rest, ret);
		return;
	}
	add_shares(s, wanted, place, true, canary_buckets(s), ret);
	add_shares(s, wanted, place, false, STEER_BUCKETS - canary_buckets(s), ret);
}

/* ---- tables --------------------------------------------------------------------------------- */

/* Has any generation that serves this address? */
static bool should_listen(const struct service *s, size_t place)
{
	service_filter *wanted = service_in_service(s);

	for (size_t k = 0; k < s->n_generations; k++) {
		const struct generation *g = s->generations[k];

		if (wiring_index(&s->wiring, place, g->config) == g->config->n_listen)
			continue;
		for (size_t j = 0; j < g->instances.n; j++)
			if (wanted(s, g->instances.list[j]))
				return true;
	}
	return false;
}

static void compute(struct service *s, size_t place, struct steer_table *ret)
{
	struct shares primary, backup;
	uint16_t backups[STEER_SLOTS];
	struct steer_table current;

	gather(s, service_in_service(s), place, &primary);
	gather(s, service_is_backup, place, &backup);
	/* A canary's instances may all die at once, and their sockets with them. */
	if (backup.n == 0)
		gather(s, service_is_steady, place, &backup);
	/*
	 * Instances that serve may have closed this socket, or their generation has not got this
	 * address any more: then it is the backups' turn.
	 */
	if (primary.n == 0 && service_can_serve(s)) {
		if (should_listen(s, place))
			log_warning("%s: nothing of what serves listens on %s", s->config->name,
				    s->endpoints.declared[place].text);
		primary = backup;
		backup.n = 0;
	}
	for (size_t k = 0; k < backup.n; k++)
		backups[k] = backup.list[k].slot;
	if (steer_table(s->wiring.endpoints[place], &current) < 0)
		table_clear(&current);
	table_compute(primary.list, primary.n, backups, backup.n, &current, ret);
}

/* ---- endpoints that compete ------------------------------------------------------------------ */

static bool compete(const struct service *s, size_t place, size_t other)
{
	return place != other &&
	       address_overlaps(&s->endpoints.declared[place], &s->endpoints.declared[other]);
}

bool service_competes(const struct service *s, size_t place)
{
	SERVICE_OWN (other, s)
		if (compete(s, place, other))
			return true;
	return false;
}

/* Of CROSS_ALL connections that either could take, those for @second. -1: nobody can. */
static int share_of(const struct service *s, size_t first, size_t second)
{
	service_filter *const filters[] = {service_in_service(s), service_is_backup,
					   service_is_steady};
	int share = -1;

	for (size_t k = 0; share < 0 && k < sizeof(filters) / sizeof(filters[0]); k++)
		share = crossing_share(
			&(struct crossing_weight){
				group_size(s, filters[k], first, true),
				group_size(s, filters[k], first, false),
			},
			&(struct crossing_weight){
				group_size(s, filters[k], second, true),
				group_size(s, filters[k], second, false),
			},
			canary_buckets(s));
	return share;
}

/* What comes to the address of @place: does it all come to this endpoint? */
static uint32_t part_of(const struct service *s, size_t place)
{
	SERVICE_OWN (other, s) {
		int share;

		if (!compete(s, place, other) ||
		    crossing_is_wider(&s->endpoints.declared[place], &s->endpoints.declared[other]))
			continue;
		share = share_of(s, other, place);
		return share < 0 ? CROSS_ALL : (uint32_t)share;
	}
	return CROSS_ALL;
}

static int share_out(struct service *s, struct error *err)
{
	SERVICE_OWN (first, s) {
		SERVICE_OWN (second, s) {
			int share, r;

			if (second <= first || !compete(s, first, second))
				continue;
			share = share_of(s, first, second);
			if (share < 0)
				continue;
			r = steer_share(s->wiring.endpoints[first], s->wiring.endpoints[second],
					(uint32_t)share);
			if (r < 0)
				return error_set(err, r, "choose between %s and %s",
						 s->endpoints.declared[first].text,
						 s->endpoints.declared[second].text);
		}
	}
	return 0;
}

/* ---- publishing ------------------------------------------------------------------------------ */

/*
 * Note which share of its first address, of which @table is, each instance has from now on, and
 * what earlier tables have sent to it there.
 */
static void note_shares(struct service *s, size_t place, const struct steer_table *table)
{
	uint32_t part = part_of(s, place);

	for (size_t k = 0; k < s->n_generations; k++) {
		if (wiring_index(&s->wiring, place, s->generations[k]->config) != 0)
			continue;
		for (size_t j = 0; j < s->generations[k]->instances.n; j++) {
			struct instance *i = s->generations[k]->instances.list[j];

			i->aimed = 0;
			for (size_t m = 0; m < i->sockets.n; m++)
				if (i->sockets.list[m].endpoint == 0)
					i->aimed += (uint32_t)table_count(table,
									  i->sockets.list[m].slot);
			i->aimed = i->aimed * part / CROSS_ALL;
			if (service_steered_to(s, i, &i->shifted) < 0)
				i->shifted = 0;
		}
	}
}

/* While the service is paused nothing is named, so that connections wait. */
static int publish_endpoint(struct service *s, size_t k, struct error *err)
{
	struct steer_table table;
	int r;

	if (s->hold.paused || !service_can_take(s))
		table_clear(&table);
	else
		compute(s, k, &table);
	r = steer_publish(s->wiring.endpoints[k], &table, err);
	if (r >= 0)
		note_shares(s, k, &table);
	return r;
}

/* Another number whenever the tables would be others. */
static uint64_t version(const struct service *s)
{
	uint64_t hash = 14695981039346656037ULL; /* FNV-1a */

	for (size_t k = 0; k < s->n_generations; k++) {
		for (size_t j = 0; j < s->generations[k]->instances.n; j++) {
			const struct instance *i = s->generations[k]->instances.list[j];
			const uint64_t parts[] = {i->generation,
						  i->index,
						  (uint64_t)i->role,
						  instance_is_serving(i),
						  instance_is_unhealthy(i),
						  i->sockets_version};

			if (i->role == INSTANCE_OUT)
				continue;
			for (size_t m = 0; m < sizeof(parts) / sizeof(parts[0]); m++)
				hash = (hash ^ parts[m]) * 1099511628211ULL;
		}
	}
	return (hash ^ s->published.shares.weight) * 1099511628211ULL;
}

/* Does all that the endpoint at @place competes for go to another one? */
static bool gets_nothing(const struct service *s, size_t place)
{
	SERVICE_OWN (other, s)
		if (compete(s, place, other) && share_of(s, other, place) == 0)
			return true;
	return false;
}

static int publish_those(struct service *s, bool nothing, struct error *err)
{
	int r = 0;

	SERVICE_OWN (k, s)
		if (r >= 0 && gets_nothing(s, k) == nothing)
			r = publish_endpoint(s, k, err);
	return r;
}

/* An endpoint gets connections only when its table names somebody, and until it names nobody. */
static int publish_all(struct service *s, struct error *err)
{
	int r = publish_those(s, false, err);

	if (r >= 0)
		r = share_out(s, err);
	if (r >= 0)
		r = publish_those(s, true, err);
	if (r < 0)
		return r;
	s->published.version = version(s);
	if (s->hold.paused || !service_can_take(s))
		service_await(s);
	else if (service_can_serve(s))
		service_unhold(s);
	return 0;
}

int service_publish(struct service *s, struct error *err)
{
	struct error why;
	int r;

	assert(s->endpoints.open);
	err = err ? err : &why;
	service_look_failover(s);
	service_begin_hold(s);
	r = publish_all(s, err);
	s->published.failure[0] = '\0';
	if (r < 0) {
		s->published.version = 0;
		snprintf(
			s->published.failure, sizeof(s->published.failure),
			"new connections go where they went before, the table cannot be changed: %s",
			err->text);
	}
	service_end_hold(s);
	return r;
}

/* Tables change if an instance cannot accept any more, can again, or has other sockets. */
void service_republish(struct service *s)
{
	char before[sizeof(s->published.failure)];
	uint64_t now = version(s);
	struct error err;

	/* If nobody can serve, the last table is as good as an empty one. */
	if (s->endpoints.open && !service_can_take(s))
		service_await(s);
	if (!s->endpoints.open || now == s->published.version || !service_can_take(s))
		return;
	memcpy(before, s->published.failure, sizeof(before));
	if (service_publish(s, &err) < 0) {
		/* A look comes many times a second: service_publish_again() says when to try. */
		s->published.version = now;
		if (strcmp(before, s->published.failure) == 0)
			return;
		log_error("%s: the table stays as it is: %s", s->config->name, err.text);
		service_poke(s);
	} else if (service_can_serve(s)) {
		log_info("%s: new table: %zu of %zu instances serve", s->config->name,
			 service_named(s), service_count(s, service_is_meant));
	}
}

void service_publish_again(struct service *s)
{
	if (!s->published.failure[0])
		return;
	s->published.version = 0;
	service_poke(s);
}

int service_check_sockets(struct service *s, const struct instances *set, struct error *err)
{
	(void)s;
	for (size_t k = 0; k < set->n; k++) {
		const struct instance *i = set->list[k];

		for (size_t e = 0; e < i->config->n_listen; e++)
			if (!instance_is_serving(i) || !sockets_of(i, e))
				return error_text(
					err, -ENOENT,
					"instance %u of generation %u has no listening socket "
					"left on %s",
					i->index, i->generation, i->config->listen[e].text);
	}
	return 0;
}
