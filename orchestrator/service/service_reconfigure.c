/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "common/vector.h"
#include "orchestrator/service/service_internal.h"

/*
 * Would a restart with @config run something else than @g? The configuration may be the same, but
 * an environment file was edited, or a symlink has another target. Of a generation that was taken
 * over only the release is known, not the configuration that it was started with.
 */
static bool differs_from_running(struct service *s, const struct generation *g,
				 const struct service_config *config)
{
	cleanup(release_free) struct release *release = NULL;
	bool same_file = service_config_same_release(s->config, config), back;
	const struct history *history = &s->history.past;
	struct error err;
	int r;

	/* After a rollback something else runs than the file says, and is to stay. */
	back = same_file && g == s->current && history_has_thrown_out(history, config, NULL);
	if (!back && !service_config_same_release(g->config, config))
		return true;
	/* A generation on trial has command and environment of its own order. */
	if (same_file && g == s->current)
		r = release_resolve(config, g->number, s->history.command, s->history.environment,
				    &release, &err);
	else if (same_file)
		r = release_resolve(config, g->number, g->release->command, g->added, &release,
				    &err);
	else
		r = release_resolve(config, g->number, NULL, NULL, &release, &err);
	/* It cannot be started. If the file is new, the restart that follows says so. */
	if (r < 0)
		return !same_file;
	if (same_file && history_has_thrown_out(history, config, release))
		return false;
	return g->taken_over ? !release_equal(release, g->release)
			     : !release_identical(g->release, release);
}

void service_look_at(struct service *s, struct service_config *config)
{
	const struct run *run = service_undecided_run(s);
	const struct generation *g = run && run->new && !run->partial ? run->new : s->current;
	const struct service_order as_it_was = {.type = SERVICE_ORDER_RESTART};
	const struct service_order reset = {.type = SERVICE_ORDER_RESTART, .reset = true};

	if (g)
		(void)differs_from_running(s, g, config);
	s->config = config;
	order_look(s, &as_it_was);
	order_look(s, &reset);
}

/* Policies for drains and rollouts count for the generations that there are, too. */
static void apply_policies(struct service *s)
{
	const struct run *run = service_undecided_run(s);
	struct generation *coming = run && !run->partial ? run->new : NULL;
	struct generation *list[] = {s->current, coming};

	for (size_t k = 0; k < 2; k++)
		if (list[k]) {
			list[k]->config->drain = s->config->drain;
			list[k]->config->rollout = s->config->rollout;
		}
	if (s->endpoints.open && (s->current || service_undecided_run(s))) {
		service_begin_hold(s);
		service_end_hold(s);
	}
}

int service_reconfigure(struct service *s, struct service_config *config,
			enum service_order_type *ret_order, struct error *err)
{
	bool scaled = config->instances != s->config->instances, rewatch;
	enum service_order_type order = _SERVICE_ORDER_COUNT; /* none */
	const struct run *run = service_undecided_run(s);
	/* The generation that will serve, if a rollout is undecided. */
	const struct generation *g = run && run->new && !run->partial ? run->new : s->current;

	assert(strcmp(config->name, s->config->name) == 0);
	if (service_can_become(s, config, err) < 0) {
		service_config_free(config);
		return -EBUSY;
	}
	if (g && differs_from_running(s, g, config))
		order = SERVICE_ORDER_RESTART;
	else if (g && scaled && config->instances != s->instances)
		order = SERVICE_ORDER_SCALE;
	/* A new command in the file wins over the one of an earlier upgrade. */
	s->history.overridden[0] = '\0';
	if (!service_config_same_release(s->config, config))
		service_drop_overrides(s);
	if (scaled) {
		/* A scaling that is under way does not set it back if it fails. */
		for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
			s->runs[k].scale_undone = true;
		s->instances = config->instances;
		if (state_set_instances(s->context->state, service_id(s), 0, err) < 0)
			log_warning("%s: %s", config->name, err->text);
	}
	config->id = TAKE_PTR(s->config->id);
	rewatch = !vector_equal(s->config->watch, config->watch) ||
		  s->config->watch_settle_ms != config->watch_settle_ms;
	service_config_free(s->config);
	s->config = config;
	s->host.name = config->name;
	apply_policies(s);
	/* A watch of the same paths goes on: it may be waiting for a change to come to rest. */
	if (rewatch)
		service_watch_paths(s);
	if (order == _SERVICE_ORDER_COUNT)
		return 0;
	*ret_order = order;
	return 1;
}
