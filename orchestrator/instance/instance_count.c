/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>

#include "orchestrator/instance/instance_internal.h"

#define QUEUE_TRIES 4

/* So many are asked for one by one: the kernel filters by port then. */
#define SOCKETS_FEW 2

static bool has_checks(const struct instance *i)
{
	if (!steer_can(i->wiring->tier, STEER_CAN_PIN))
		return true;
	for (size_t k = 0; k < i->checks.n; k++)
		if (i->checks.list[k].checker.sources.n > 0)
			return true;
	for (size_t k = 0; k < i->config->n_listen; k++)
		if (i->pinned[k].n > 0)
			return true;
	return false;
}

static bool is_check(const void *userdata, const struct diag_connection *connection)
{
	const struct instance *i = userdata;

	for (size_t k = 0; k < i->checks.n; k++)
		if (sources_has(&i->checks.list[k].checker.sources, connection))
			return true;
	for (size_t k = 0; k < i->config->n_listen; k++)
		if (sources_has(&i->pinned[k], connection))
			return true;
	/* If connections cannot be pinned, a check of one instance comes to any other. */
	return !steer_can(i->wiring->tier, STEER_CAN_PIN) &&
	       prober_has(i->context->prober, (const struct sockaddr *)&connection->peer);
}

/* Those of commands that ask it on endpoint @k. */
static uint32_t commands_queued(struct instance *i, size_t k)
{
	struct address address;

	if (i->pinned[k].n == 0)
		return 0;
	address_local(&i->config->listen[k], &address);
	return sources_queued(&i->pinned[k], i->context->diag, &address);
}

/* Those of their own checks. To be asked after the sum that they are part of. */
static uint32_t checks_queued(struct instance *const *list, size_t n)
{
	uint32_t queued = 0;

	for (size_t j = 0; j < n; j++) {
		for (size_t k = 0; k < list[j]->checks.n; k++)
			queued += checker_queued(&list[j]->checks.list[k].checker);
		for (size_t k = 0; k < list[j]->config->n_listen; k++)
			queued += commands_queued(list[j], k);
	}
	return queued;
}

static size_t count_sockets(struct instance *const *list, size_t n)
{
	size_t sum = 0;

	for (size_t j = 0; j < n; j++)
		sum += list[j]->sockets.n;
	return sum;
}

static int add_each(const struct instance *i, uint32_t *sum)
{
	for (size_t k = 0; k < i->sockets.n; k++) {
		const struct instance_socket *s = &i->sockets.list[k];
		struct diag_listener listener;
		int r = diag_listener(i->context->diag,
				      address_port(&i->config->listen[s->endpoint]), s->cookie,
				      &listener, NULL);

		if (r < 0 && r != -ENOENT)
			return r;
		if (r >= 0)
			*sum += listener.queued;
	}
	return 0;
}

/* The sum over the sockets of which there is a sorted list. */
struct summing {
	uint64_t *cookies;
	size_t n;
	uint32_t queued;
};

static int compare_cookies(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void reset_sum(void *userdata)
{
	((struct summing *)userdata)->queued = 0;
}

static void add_listening(void *userdata, const struct diag_listening *listening)
{
	struct summing *summing = userdata;

	if (bsearch(&listening->cookie, summing->cookies, summing->n, sizeof(uint64_t),
		    compare_cookies))
		summing->queued += listening->queue.queued;
}

/* Each dump walks all listening sockets, so that one for each of many would take N squared. */
static int add_at_once(struct instance *const *list, size_t n, size_t n_sockets, uint32_t *sum)
{
	cleanup_free uint64_t *cookies = calloc(n_sockets, sizeof(*cookies));
	struct summing summing = {.cookies = cookies};
	int r;

	if (!cookies)
		return -ENOMEM;
	for (size_t j = 0; j < n; j++)
		for (size_t k = 0; k < list[j]->sockets.n; k++)
			cookies[summing.n++] = list[j]->sockets.list[k].cookie;
	qsort(cookies, summing.n, sizeof(*cookies), compare_cookies);
	r = diag_each_listener(list[0]->context->diag, 0, reset_sum, add_listening, &summing, NULL);
	if (r < 0)
		return r;
	*sum = summing.queued;
	return 0;
}

/* All that waits in their queues, their own checks included. */
static int all_queued(struct instance *const *list, size_t n, uint32_t *ret)
{
	size_t n_sockets = count_sockets(list, n);

	*ret = 0;
	if (n_sockets > SOCKETS_FEW)
		return add_at_once(list, n, n_sockets, ret);
	for (size_t j = 0; j < n; j++) {
		int r = add_each(list[j], ret);

		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * The server may accept a check while it is looked for. So this is repeated until as many are there
 * before and after; at last one that is gone already counts as a client's, never the other way.
 */
int instance_queued_many(struct instance *const *list, size_t n, uint32_t *ret)
{
	uint32_t before = 0, after = 0;

	for (int tries = 0; tries < QUEUE_TRIES; tries++) {
		int r = all_queued(list, n, ret);

		if (r < 0)
			return r;
		if (*ret == 0)
			return 0;
		after = checks_queued(list, n);
		if (tries > 0 && before == after)
			break;
		before = after;
	}
	*ret -= after < *ret ? after : *ret;
	return 0;
}

int instance_queued(struct instance *i, uint32_t *ret)
{
	return instance_queued_many(&i, 1, ret);
}

int instance_count(struct instance *i, struct tap_count *ret)
{
	if (!i->wiring->tap)
		return -ENODATA;
	return tap_count(i->wiring->tap, i->generation, i->index, ret);
}

void instance_connections_of(const struct instance *i, struct connections_of *ret)
{
	/* A socket that the daemon has made is of the daemon's cgroup; so are its connections. */
	bool ours = steer_can(i->wiring->tier, STEER_MAKES_SOCKETS);

	*ret = (struct connections_of){
		.diag = i->context->diag,
		.listen = i->config->listen,
		.n_listen = i->config->n_listen,
		.cgroup_id = ours ? 0 : i->cgroup_id,
		.processes = i->processes,
		.skip = has_checks(i) ? is_check : NULL,
		.skip_userdata = i,
	};
}

int instance_busy(struct instance *i, uint64_t idle_ms, uint64_t *ret)
{
	struct connections_of of;

	*ret = 0;
	if (instance_has_stopped(i))
		return 0;
	instance_connections_of(i, &of);
	if (!of.cgroup_id && !of.processes)
		return -ENODATA;
	return connections_count(&of, idle_ms, ret);
}

int instance_silent(struct instance *i, uint64_t age_ms, uint64_t *ret)
{
	struct connections_of of;
	struct tap_count count;

	*ret = 0;
	if (instance_has_stopped(i) || (instance_count(i, &count) == 0 && count.live == 0))
		return 0;
	instance_connections_of(i, &of);
	if (!of.cgroup_id && !of.processes)
		return -ENODATA;
	return connections_silent(&of, age_ms, ret);
}

int instance_kinds(const struct instance *i, struct connections_kinds *ret)
{
	struct connections_of of;

	*ret = (struct connections_kinds){};
	if (instance_has_stopped(i))
		return 0;
	instance_connections_of(i, &of);
	if (!of.cgroup_id && !of.processes)
		return -ENODATA;
	return connections_kinds(&of, ret);
}

int instance_cut(const struct instance *i, uint64_t *ret, struct error *err)
{
	struct connections_of of;

	*ret = 0;
	if (instance_has_stopped(i))
		return 0;
	instance_connections_of(i, &of);
	if (!of.cgroup_id && !of.processes)
		return error_text(err, -ENODATA, "its connections cannot be told from others");
	return connections_destroy(&of, ret, err);
}

int instance_live(struct instance *i, uint64_t *ret)
{
	struct tap_count count;

	if (instance_count(i, &count) < 0)
		return instance_busy(i, 0, ret);
	*ret = count.live;
	return 0;
}
