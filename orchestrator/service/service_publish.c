/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>

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

static size_t sockets_of(const struct instance *i, size_t endpoint)
{
	size_t n = 0;

	for (size_t k = 0; k < i->sockets.n; k++)
		n += i->sockets.list[k].endpoint == endpoint;
	return n;
}

/* How many instances of the canary (!@canary: of the others) listen on @endpoint? */
static uint32_t group_size(const struct service *s, service_filter *wanted, size_t endpoint,
			   bool canary)
{
	uint32_t n = 0;

	for (size_t k = 0; k < s->n_generations; k++) {
		const struct generation *g = s->generations[k];

		if ((g == s->published.shares.canary) != canary)
			continue;
		for (size_t j = 0; j < g->instances.n; j++)
			n += wanted(s, g->instances.list[j]) &&
			     sockets_of(g->instances.list[j], endpoint) > 0;
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
static void add_shares(const struct service *s, service_filter *wanted, size_t endpoint,
		       bool canary, uint32_t total, struct shares *ret)
{
	uint32_t n_instances = group_size(s, wanted, endpoint, canary), nth = 0;

	for (size_t k = 0; k < s->n_generations; k++) {
		const struct generation *g = s->generations[k];

		if ((g == s->published.shares.canary) != canary)
			continue;
		for (size_t j = 0; j < g->instances.n; j++) {
			const struct instance *i = g->instances.list[j];
			uint32_t n = (uint32_t)sockets_of(i, endpoint), mine, socket = 0;

			if (!wanted(s, i) || n == 0)
				continue;
			mine = deal(total, n_instances, nth++);
			for (size_t m = 0; m < i->sockets.n && ret->n < STEER_SLOTS; m++)
				if (i->sockets.list[m].endpoint == endpoint)
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

static void gather(const struct service *s, service_filter *wanted, size_t endpoint,
		   struct shares *ret)
{
	uint32_t in = group_size(s, wanted, endpoint, true);
	uint32_t rest = group_size(s, wanted, endpoint, false);

	ret->n = 0;
	/* If one of the two groups has nobody, the other has it all. */
	if (!s->published.shares.canary || in == 0 || rest == 0) {
		add_shares(s, wanted, endpoint, true, INSTANCE_WEIGHT * in, ret);
		add_shares(s, wanted, endpoint, false, INSTANCE_WEIGHT * rest, ret);
		return;
	}
	add_shares(s, wanted, endpoint, true, canary_buckets(s), ret);
	add_shares(s, wanted, endpoint, false, STEER_BUCKETS - canary_buckets(s), ret);
}

/* ---- tables --------------------------------------------------------------------------------- */

static void compute(struct service *s, size_t endpoint, struct steer_table *ret)
{
	struct shares primary, backup;
	uint16_t backups[STEER_SLOTS];
	struct steer_table current;

	gather(s, service_in_service(s), endpoint, &primary);
	gather(s, service_is_backup, endpoint, &backup);
	/* A canary's instances may all die at once, and their sockets with them. */
	if (backup.n == 0)
		gather(s, service_is_steady, endpoint, &backup);
	/* Instances that serve may have closed this socket: then it is the backups' turn. */
	if (primary.n == 0 && service_can_serve(s)) {
		log_warning("%s: nothing of what serves listens on %s", s->config->name,
			    s->config->listen[endpoint].text);
		primary = backup;
		backup.n = 0;
	}
	for (size_t k = 0; k < backup.n; k++)
		backups[k] = backup.list[k].slot;
	if (steer_table(s->wiring.endpoints[endpoint], &current) < 0)
		table_clear(&current);
	table_compute(primary.list, primary.n, backups, backup.n, &current, ret);
}

/* Note which share each instance has from now on, and what earlier tables have sent to it. */
static void note_shares(struct service *s, const struct steer_table *table)
{
	for (size_t k = 0; k < s->n_generations; k++) {
		for (size_t j = 0; j < s->generations[k]->instances.n; j++) {
			struct instance *i = s->generations[k]->instances.list[j];

			i->aimed = 0;
			for (size_t m = 0; m < i->sockets.n; m++)
				if (i->sockets.list[m].endpoint == 0)
					i->aimed += (uint32_t)table_count(table,
									  i->sockets.list[m].slot);
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
	if (r >= 0 && k == 0)
		note_shares(s, &table);
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

static int publish_all(struct service *s, struct error *err)
{
	for (size_t k = 0; k < s->config->n_listen; k++) {
		int r = publish_endpoint(s, k, err);

		if (r < 0)
			return r;
	}
	s->published.version = version(s);
	if (!s->hold.paused && service_can_serve(s))
		service_unhold(s);
	return 0;
}

int service_publish(struct service *s, struct error *err)
{
	int r;

	assert(s->endpoints.open);
	service_look_failover(s);
	service_begin_hold(s);
	r = publish_all(s, err);
	if (r < 0)
		s->published.version = 0;
	service_end_hold(s);
	return r;
}

/* Tables change if an instance cannot accept any more, can again, or has other sockets. */
void service_republish(struct service *s)
{
	uint64_t now = version(s);
	struct error err;

	/* If nobody can serve, the last table is as good as an empty one. */
	if (!s->endpoints.open || now == s->published.version || !service_can_take(s))
		return;
	if (service_publish(s, &err) < 0) {
		log_error("%s: the table stays as it is: %s", s->config->name, err.text);
		/* Once more is enough: a look comes many times a second. */
		s->published.version = now;
	} else if (service_can_serve(s)) {
		log_info("%s: new table: %zu of %zu instances serve", s->config->name,
			 service_named(s), service_count(s, service_is_meant));
	}
}

int service_check_sockets(struct service *s, const struct instances *set, struct error *err)
{
	for (size_t k = 0; k < set->n; k++)
		for (size_t e = 0; e < s->config->n_listen; e++)
			if (!instance_is_serving(set->list[k]) || !sockets_of(set->list[k], e))
				return error_text(
					err, -ENOENT,
					"instance %u of generation %u has no listening socket "
					"left on %s",
					set->list[k]->index, set->list[k]->generation,
					s->config->listen[e].text);
	return 0;
}
