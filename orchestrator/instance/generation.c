/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/instance/generation.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/vector.h"
#include "orchestrator/host/cgroup.h"
#include "orchestrator/host/errand.h"
#include "orchestrator/instance/takeover.h"

#define JUST_MS 100 /* no longer than a server's own start */

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
	g->context = context;
	g->config = config;
	g->release = release;
	g->wiring = wiring;
	g->callbacks = callbacks;
	g->userdata = userdata;
	g->started_ms = clock_monotonic_ms();
	g->started_realtime_ms = clock_realtime_ms();
	*ret = g;
	return 0;
}

/* It has not been started and has no index yet. NULL: there is no memory or no room. */
static struct instance *make_instance(struct generation *g)
{
	struct instance *i;

	if (g->instances.n == INSTANCES_MAX)
		return NULL;
	i = calloc(1, sizeof(*i));
	if (!i)
		return NULL;
	i->context = g->context;
	i->config = g->config;
	i->release = g->release;
	i->wiring = g->wiring;
	i->callbacks = g->callbacks;
	i->userdata = g->userdata;
	i->generation = g->number;
	if (check_set_make(&i->checks, i, i->config) < 0) {
		free(i);
		return NULL;
	}
	return i;
}

static bool has_index(const struct generation *g, uint32_t index)
{
	for (size_t k = 0; k < g->instances.n; k++)
		if (g->instances.list[k]->index == index)
			return true;
	return false;
}

/*
 * A server that has lost its agent drains by itself, when its instance is gone already: its cgroup
 * must not get another server. If the kernel cannot tell, there is such a server.
 */
static bool is_taken(const struct generation *g, uint32_t index)
{
	char path[CGROUP_PATH_MAX + PROTOCOL_NAME_MAX + 32];

	if (has_index(g, index))
		return true;
	if (!g->context->cgroup_base[0] || index >= INSTANCES_MAX)
		return false;
	snprintf(path, sizeof(path), "%s/%s.%u.%u", g->context->cgroup_base,
		 service_config_id(g->config), g->number, index);
	return cgroup_populated(path) != 0;
}

static void look(void *userdata)
{
	struct generation *g = userdata;
	const char *path;
	struct error err;

	if (g->looked)
		g->mixed |= release_changed(g->release, &path);
	/* If something is gone that is told when the agent cannot start it. */
	else if (release_look(g->release, &err) >= 0)
		g->looked = true;
}

static void tell_silence(const struct generation *g, const struct error *why)
{
	log_warning("%s: whether the files of generation %u are as they were is not known: %s",
		    g->config->name, g->number, why->text);
}

static void on_late(void *userdata, const struct error *why)
{
	tell_silence(userdata, why);
}

/* What does not answer stays unknown. */
static void on_seen(void *userdata, int r, const struct error *why)
{
	struct generation *g = userdata;

	g->errand = NULL;
	if (r >= 0)
		look(g);
	else if (r != -ETIMEDOUT)
		tell_silence(g, why);
	if (g->look_again)
		generation_look(g);
}

void generation_look(struct generation *g)
{
	struct errand_spec spec = {
		.look = look, .on_seen = on_seen, .on_late = on_late, .userdata = g};
	struct error err;

	g->look_again = g->errand;
	if (!g->errand && errand_start(g->context->event, &spec, &g->errand, &err) < 0)
		tell_silence(g, &err);
}

/* Then a helper that looks again, at each start of a service, would see nothing else. */
static bool was_just_resolved(const struct generation *g)
{
	return g->instances.n == 0 && !g->config->hooks.command[HOOK_BEFORE_START] &&
	       g->release->resolved_ms > 0 &&
	       clock_monotonic_ms() - g->release->resolved_ms <= JUST_MS;
}

int generation_add(struct generation *g, struct instance **ret, struct error *err)
{
	struct instance *i = make_instance(g);

	*ret = i;
	if (!i && g->instances.n < INSTANCES_MAX)
		return error_set(err, -ENOMEM, "one more instance");
	if (!i)
		return error_text(err, -E2BIG,
				  "generation %u has %zu instances; there is no room for one more",
				  g->number, g->instances.n);
	while (is_taken(g, i->index))
		i->index++;
	/* Hooks and other instances may have taken their time since it was resolved. */
	if (was_just_resolved(g))
		g->looked = true;
	else
		generation_look(g);
	instances_add(&g->instances, i);
	return instance_start(i, g->release, err);
}

void generation_remove(struct generation *g, struct instance *i)
{
	assert(instances_have(&g->instances, i));
	instances_remove(&g->instances, i);
	instance_done(i);
	free(i);
}

/*
 * The settings and the addresses that its processes were given; the file may say something else by
 * now.
 */
static int take_spec(struct service_config *config, const struct launch_spec *spec)
{
	assert(spec->n_listen <= CONFIG_LISTEN_MAX);
	for (size_t k = 0; k < spec->n_listen; k++)
		config->listen[k] = spec->listen[k];
	config->n_listen = spec->n_listen;
	process_settings_done(&config->process);
	return process_settings_copy(&spec->process, &config->process);
}

int generation_take_over(struct context *context, const struct service_config *config,
			 struct takeover_agent *const *agents, size_t n,
			 const struct wiring *wiring, const struct instance_callbacks *callbacks,
			 void *userdata, struct generation **ret, struct error *err)
{
	struct service_config *copy = service_config_copy(config);
	struct release *release = takeover_release(agents[0]);
	struct generation *g;
	int r;

	assert(n > 0);
	if (!copy || !release || n > INSTANCES_MAX) {
		service_config_free(copy);
		release_free(release);
		return error_set(err, n > INSTANCES_MAX ? -E2BIG : -ENOMEM, "take over");
	}
	r = take_spec(copy, &agents[0]->spec);
	if (r < 0) {
		service_config_free(copy);
		release_free(release);
		return error_set(err, r, "take over");
	}
	r = generation_new(context, agents[0]->hello.generation, copy, release, wiring, callbacks,
			   userdata, &g, err);
	if (r < 0)
		return r;
	g->taken_over = g->looked = true;
	for (size_t k = 0; k < n; k++) {
		struct instance *i = make_instance(g);

		if (!i) {
			generation_free(g);
			return error_set(err, -ENOMEM, "take over");
		}
		assert(agents[k]->hello.generation == g->number);
		instances_add(&g->instances, i);
		instance_take_over(i, agents[k]);
	}
	*ret = g;
	return 0;
}

void generation_free(struct generation *g)
{
	if (!g)
		return;
	errand_cancel(g->errand);
	while (g->instances.n > 0)
		generation_remove(g, g->instances.list[g->instances.n - 1]);
	instances_done(&g->instances);
	service_config_free(g->config);
	release_free(g->release);
	vector_free(g->added);
	free(g);
}

const char *generation_mode(const struct generation *g)
{
	const char *mode = NULL;

	for (size_t k = 0; k < g->instances.n && !mode; k++)
		mode = instance_mode(g->instances.list[k]);
	return mode;
}
