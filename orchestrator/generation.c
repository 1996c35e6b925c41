/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/generation.h"

#include <errno.h>
#include <stdlib.h>

#include "common/clock.h"

#define for_each_instance(i, g)                                                                    \
	for (typeof(&(g)->instances[0]) i = (g)->instances; i < (g)->instances + (g)->n_instances; \
	     i++)

int generation_new(struct context *context, uint32_t number, struct service_config *config,
		   struct release *release, const struct wiring *wiring,
		   const struct instance_callbacks *callbacks, void *userdata,
		   struct generation **ret, struct error *err)
{
	struct generation *g = calloc(1, sizeof(*g));

	if (!g) {
		service_config_free(config);
		release_free(release);
		return error_set(err, -ENOMEM, "generation");
	}
	g->number = number;
	g->config = config;
	g->release = release;
	g->started_ms = clock_monotonic_ms();
	g->started_realtime_ms = clock_realtime_ms();
	g->n_instances = config->instances;
	for (uint32_t k = 0; k < config->instances; k++) {
		g->instances[k].context = context;
		g->instances[k].config = config;
		g->instances[k].wiring = wiring;
		g->instances[k].callbacks = callbacks;
		g->instances[k].userdata = userdata;
		g->instances[k].generation = number;
		g->instances[k].index = k;
	}
	*ret = g;
	return 0;
}

int generation_adopt(struct context *context, const struct service_config *config,
		     struct adopt_agent *const *agents, size_t n, const struct wiring *wiring,
		     const struct instance_callbacks *callbacks, void *userdata,
		     struct generation **ret, struct error *err)
{
	struct service_config *copy = service_config_copy(config);
	struct release *release = adopt_release(agents[0]);
	int r;

	if (!copy || !release || n > CONFIG_INSTANCES_MAX) {
		service_config_free(copy);
		release_free(release);
		return error_set(err, n > CONFIG_INSTANCES_MAX ? -E2BIG : -ENOMEM, "adopt");
	}
	copy->instances = (uint32_t)n;
	r = generation_new(context, agents[0]->hello.generation, copy, release, wiring, callbacks,
			   userdata, ret, err);
	if (r >= 0)
		(*ret)->adopted = true;
	for (size_t k = 0; r >= 0 && k < n; k++)
		instance_adopt(&(*ret)->instances[k], agents[k]);
	return r;
}

void generation_free(struct generation *g)
{
	if (!g)
		return;
	for_each_instance (i, g)
		instance_done(i);
	service_config_free(g->config);
	release_free(g->release);
	free(g);
}

int generation_start(struct generation *g, struct error *err)
{
	int first = 0;

	/* All of them, also after a failure: then each has a state that a stop can be built on. */
	for_each_instance (i, g) {
		struct error mine;
		int r = instance_start(i, g->release, &mine);

		if (r < 0 && first == 0) {
			first = r;
			*err = mine;
		}
	}
	return first;
}

void generation_check(struct generation *g)
{
	for_each_instance (i, g)
		instance_check(i);
}

void generation_uncheck(struct generation *g)
{
	for_each_instance (i, g)
		instance_uncheck(i);
}

void generation_release_leftovers(struct generation *g)
{
	for_each_instance (i, g)
		instance_release_leftovers(i);
}

void generation_release_unused(struct generation *g)
{
	for_each_instance (i, g)
		instance_release_unused(i);
}

void generation_steady(struct generation *g, bool on)
{
	for_each_instance (i, g)
		instance_steady(i, on);
}

void generation_leave(struct generation *g)
{
	for_each_instance (i, g)
		instance_leave(i);
}

void generation_stop(struct generation *g)
{
	for_each_instance (i, g)
		instance_stop(i);
}

void generation_kill(struct generation *g)
{
	for_each_instance (i, g)
		instance_kill(i);
}

bool generation_is_listening(const struct generation *g)
{
	for_each_instance (i, g)
		if (!i->joined || i->pid == 0 || i->failed)
			return false;
	return true;
}

bool generation_is_healthy(const struct generation *g)
{
	for_each_instance (i, g)
		if (!instance_is_healthy(i))
			return false;
	return true;
}

bool generation_has_left(const struct generation *g)
{
	for_each_instance (i, g)
		if (!i->left)
			return false;
	return true;
}

bool generation_has_stopped(const struct generation *g)
{
	for_each_instance (i, g)
		if (!i->stopped)
			return false;
	return true;
}

bool generation_is_dead(const struct generation *g)
{
	for_each_instance (i, g)
		if (instance_is_serving(i))
			return false;
	return true;
}

const struct instance *generation_failed(const struct generation *g)
{
	for_each_instance (i, g)
		if (i->failed || instance_is_unhealthy(i))
			return i;
	return NULL;
}

bool generation_has_exited(const struct generation *g)
{
	for_each_instance (i, g)
		if (!instance_has_exited(i))
			return false;
	return true;
}

int generation_queued(struct generation *g, uint32_t *ret)
{
	*ret = 0;
	for_each_instance (i, g) {
		uint32_t queued;
		int r = instance_queued(i, &queued);

		if (r < 0)
			return r;
		*ret += queued;
	}
	return 0;
}

int generation_live(struct generation *g, uint64_t *ret)
{
	*ret = 0;
	for_each_instance (i, g) {
		uint64_t live;
		int r = instance_live(i, &live);

		if (r < 0)
			return r;
		*ret += live;
	}
	return 0;
}

int generation_busy(struct generation *g, uint64_t idle_ms, uint64_t *ret)
{
	*ret = 0;
	for_each_instance (i, g) {
		uint64_t busy;
		int r = instance_busy(i, idle_ms, &busy);

		if (r < 0)
			return r;
		*ret += busy;
	}
	return 0;
}

int generation_count(struct generation *g, struct hooks_count *ret)
{
	*ret = (struct hooks_count){};
	for_each_instance (i, g) {
		struct hooks_count count;
		int r = instance_count(i, &count);

		if (r < 0)
			return r;
		ret->accepted += count.accepted;
		ret->live += count.live;
		ret->closed += count.closed;
		ret->reset += count.reset;
	}
	return 0;
}

const char *generation_mode(const struct generation *g)
{
	const char *mode = NULL;

	for_each_instance (i, g)
		if (!mode)
			mode = instance_mode(i);
	return mode;
}

uint64_t generation_version(const struct generation *g)
{
	uint64_t version = 0;

	_Static_assert(CONFIG_INSTANCES_MAX <= 32, "one bit each, below the sum of the versions");
	for (size_t k = 0; k < g->n_instances; k++) {
		version += (uint64_t)g->instances[k].sockets_version << 32;
		if (instance_is_serving(&g->instances[k]))
			version |= UINT64_C(1) << k;
	}
	return version;
}

size_t generation_serving(const struct generation *g)
{
	size_t n = 0;

	for_each_instance (i, g)
		n += instance_is_serving(i);
	return n;
}

bool generation_is_named(const struct generation *g)
{
	for_each_instance (i, g)
		for (size_t k = 0; k < i->sockets.n; k++)
			if (steer_names(i->wiring->endpoints[i->sockets.list[k].endpoint],
					i->sockets.list[k].slot))
				return true;
	return false;
}

/* Divisible by every number up to 16, and close to it for the others. */
#define INSTANCE_WEIGHT 720720

static size_t instance_shares(const struct instance *i, size_t endpoint, struct table_share *ret,
			      size_t max)
{
	size_t n = 0;

	for (size_t k = 0; k < i->sockets.n && n < max; k++)
		if (i->sockets.list[k].endpoint == endpoint)
			ret[n++].slot = i->sockets.list[k].slot;
	for (size_t k = 0; k < n; k++)
		ret[k].weight = INSTANCE_WEIGHT / (uint32_t)n;
	return n;
}

size_t generation_shares(const struct generation *g, size_t endpoint, struct table_share *ret,
			 size_t max)
{
	size_t n = 0;

	_Static_assert(INSTANCE_WEIGHT <= TABLE_WEIGHT_MAX, "a weight of table.h");
	for_each_instance (i, g)
		if (instance_is_serving(i))
			n += instance_shares(i, endpoint, ret + n, max - n);
	return n;
}
