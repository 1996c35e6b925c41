/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/service/service.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/service/service_internal.h"
#include "common/vector.h"

/* ---- events --------------------------------------------------------------------------------- */

static void log_event(const char *service, const char *event, const json_t *details)
{
	const char *message = json_string_value(json_object_get(details, "message"));
	const char *reason = json_string_value(json_object_get(details, "reason"));
	json_int_t id = json_integer_value(json_object_get(details, "rollout"));
	char rollout[32] = "";

	if (id > 0)
		snprintf(rollout, sizeof(rollout), "rollout %lld: ", (long long)id);
	if (message && reason && strcmp(message, reason) == 0)
		reason = NULL;
	log_info("%s: %s%s%s%s%s%s", service, rollout, event, message ? ": " : "",
		 message ? message : "", reason ? " -- " : "", reason ? reason : "");
}

uint64_t service_event(struct service *s, const char *event, json_t *details)
{
	log_event(s->config->name, event, details);
	return events_add(s->context->events, clock_realtime_ms(), s->config->name, event, details);
}

/* ---- generations ---------------------------------------------------------------------------- */

static void on_instance_change(void *userdata)
{
	service_poke(userdata);
}

static void on_instance_note(void *userdata, const char *event, const char *message)
{
	service_event(userdata, event, json_pack("{s:s}", "message", message));
}

const struct instance_callbacks service_instance_callbacks = {
	.on_change = on_instance_change,
	.on_note = on_instance_note,
};

static void drop_generation(struct service *s, struct generation *g)
{
	size_t k = 0;

	while (k < s->n_generations && s->generations[k] != g)
		k++;
	assert(k < s->n_generations);
	s->n_generations--;
	memmove(&s->generations[k], &s->generations[k + 1],
		(s->n_generations - k) * sizeof(s->generations[0]));
	if (s->current == g)
		s->current = NULL;
	if (s->canary == g)
		s->canary = NULL;
	for (k = 0; k < SERVICE_RUNS_MAX; k++) {
		if (s->runs[k].new == g)
			s->runs[k].new = NULL;
		if (s->runs[k].old == g)
			s->runs[k].old = NULL;
	}
	generation_free(g);
}

/* Can a rollout still give it new instances? */
static bool has_prospects(const struct service *s, const struct generation *g)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (s->runs[k].id && (s->runs[k].new == g || s->runs[k].old == g) &&
		    !rollout_is_decided(&s->runs[k].machine))
			return true;
	return false;
}

/* A generation is over with its last instance. */
static void drop_empty_generations(struct service *s)
{
	for (size_t k = s->n_generations; k > 0; k--) {
		struct generation *g = s->generations[k - 1];

		if (g->instances.n == 0 && !has_prospects(s, g))
			drop_generation(s, g);
	}
}

void service_remove_instance(struct service *s, struct instance *i)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (s->runs[k].id)
			run_forget_instance(&s->runs[k], i);
	for (size_t k = 0; k < s->n_generations; k++)
		if (instances_have(&s->generations[k]->instances, i)) {
			generation_remove(s->generations[k], i);
			return;
		}
}

static void forget_previous(struct service *s)
{
	service_config_free(TAKE_PTR(s->previous_config));
	release_free(TAKE_PTR(s->previous_release));
	vector_free(TAKE_PTR(s->previous_added));
}

static void keep_previous(struct service *s, const struct generation *g)
{
	forget_previous(s);
	s->previous_config = service_config_copy(g->config);
	s->previous_release = release_copy(g->release);
	if (!s->previous_config || !s->previous_release ||
	    (g->added && vector_copy(g->added, &s->previous_added) < 0))
		forget_previous(s);
}

/* For a daemon that takes over: it finds the generation running, not why it runs that. */
static void remember_command(struct service *s)
{
	struct error err;

	if (state_set_command(s->context->state, s->config->name, s->command, &err) < 0 ||
	    state_set_environment(s->context->state, s->config->name, s->environment, &err) < 0)
		log_warning("%s: the command cannot be remembered: %s", s->config->name, err.text);
}

/* The command for the restarts to come, where it is not the configuration's. */
static void keep_command(struct service *s, const struct generation *g)
{
	char **command = NULL, **environment = NULL;

	if (!vector_equal(g->release->command, s->config->command) &&
	    vector_copy(g->release->command, &command) < 0)
		return;
	if (g->added && vector_copy(g->added, &environment) < 0) {
		vector_free(command);
		return;
	}
	vector_free(s->command);
	vector_free(s->environment);
	s->command = command;
	s->environment = environment;
	remember_command(s);
}

/* For a daemon that takes over: the one that serves until another is committed to. */
static void remember_serving(struct service *s)
{
	struct error err;

	if (state_set_serving(s->context->state, s->config->name, s->current->number, &err) < 0)
		log_warning("%s: which generation serves cannot be remembered: %s", s->config->name,
			    err.text);
}

void service_commit(struct service *s, const struct run *run)
{
	if (run->partial)
		return;
	s->current = run->new;
	remember_serving(s);
	s->refusal[0] = '\0';
	s->rolled_back = strcmp(run->order, "rollback") == 0;
	/* A restart of the same is nothing to go back to. */
	if (run->old && (!release_identical(run->old->release, run->new->release) ||
			 !service_config_same_release(run->old->config, run->new->config)))
		keep_previous(s, run->old);
	if (strcmp(run->order, "upgrade") == 0 || strcmp(run->order, "rollback") == 0)
		keep_command(s, run->new);
	else if (strcmp(run->order, "start") == 0)
		/* Of an earlier daemon's upgrade that nothing was left of. */
		remember_command(s);
	service_forgive(s);
}

/* ---- rollouts ------------------------------------------------------------------------------- */

static bool run_in_use(const struct run *run)
{
	return run->id != 0;
}

/* The rollout that could still go either way. */
struct run *service_undecided_run(struct service *s)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (run_in_use(&s->runs[k]) && !rollout_is_decided(&s->runs[k].machine))
			return &s->runs[k];
	return NULL;
}

/* The rollout by which the current generation goes without a successor. */
struct run *service_stopping_run(struct service *s)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (run_in_use(&s->runs[k]) && s->current && s->runs[k].old == s->current &&
		    !s->runs[k].machine.has_new && !s->runs[k].partial)
			return &s->runs[k];
	return NULL;
}

struct run *service_run(struct service *s)
{
	struct run *found = service_undecided_run(s);

	for (size_t k = 0; !found && k < SERVICE_RUNS_MAX; k++)
		if (run_in_use(&s->runs[k]))
			found = &s->runs[k];
	for (size_t k = 0; k < SERVICE_RUNS_MAX && found; k++)
		if (run_in_use(&s->runs[k]) && s->runs[k].id > found->id &&
		    rollout_is_decided(&found->machine))
			found = &s->runs[k];
	return found;
}

bool service_has_failed(struct service *s)
{
	if (s->current || s->stopped || service_undecided_run(s))
		return false;
	return s->refusal[0] || (s->last.id && s->last.outcome != ROLLOUT_DONE);
}

bool service_is_idle(const struct service *s)
{
	for (size_t k = 0; k < SERVICE_HOOKS_MAX; k++)
		if (s->hooks[k].command)
			return false;
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (run_in_use(&s->runs[k]))
			return false;
	return s->n_generations == 0;
}

struct run *service_free_run(struct service *s)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (!run_in_use(&s->runs[k]))
			return &s->runs[k];
	return NULL;
}

static bool is_victim(const struct service *s, const struct instance *i)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (run_in_use(&s->runs[k]) && (instances_have(&s->runs[k].victims, i) ||
						(!s->runs[k].machine.has_new &&
						 instances_have(&s->runs[k].side[ROLLOUT_OLD], i))))
			return true;
	return false;
}

void service_staying(const struct service *s, struct instances *ret)
{
	ret->n = 0;
	for (size_t k = 0; s->current && k < s->current->instances.n; k++) {
		struct instance *i = s->current->instances.list[k];

		if (!instance_is_leaving(i) && !is_victim(s, i))
			instances_add(ret, i);
	}
}

static void stop_current(struct service *s)
{
	struct run *run = service_free_run(s);
	struct instances goes;

	if (!s->current || !run || service_stopping_run(s))
		return;
	service_staying(s, &goes);
	if (goes.n > 0)
		run_begin(run, s,
			  &(struct run_plan){.order = "stop",
					     .old = s->current,
					     .goes = &goes,
					     .shutdown = true});
}

static void shed_surplus(struct service *s)
{
	struct instances staying;

	service_staying(s, &staying);
	if (staying.n > s->instances)
		service_order_later(s, "scale");
}

/* What has carried on for instances that cannot be had goes all the same. */
static void give_up_restore(struct service *s, struct generation *g,
			    const struct instances *substitutes)
{
	struct error err;

	if (!g)
		return;
	instances_name(substitutes, INSTANCE_OUT);
	if (service_publish(s, &err) < 0)
		log_error("%s: %s", s->config->name, err.text);
	service_retire(s, g, substitutes);
}

static void end_run(struct service *s, struct run *run)
{
	struct generation *old = run->old;
	struct instances left = run->side[ROLLOUT_OLD];

	service_settle_scale(s);
	run_result(run, &s->last);
	/* A service that was stopped is that, and not paused, also where something still drains. */
	if (!run->machine.has_new && !run->machine.retire && !run->partial) {
		s->paused = false;
		if (s->current && s->current->number == run->old_number) {
			s->current = NULL;
			service_forgive(s);
		}
	}
	s->settled |= !run->machine.retire;
	run_done(run);
	if (strcmp(s->last.order, "restore") == 0 && s->last.outcome != ROLLOUT_DONE)
		give_up_restore(s, old, &left);
	drop_empty_generations(s);
	if (s->n_generations == 0)
		service_unpin_endpoints(s);
	/* The one that was to come would have had as many as are wanted. */
	if (s->last.outcome != ROLLOUT_DONE && !s->last.partial)
		shed_surplus(s);
	service_event(s, rollout_outcome_name(s->last.outcome), run_result_json(&s->last));
	s->on_end(s->userdata, s);
}

static int on_defer(sd_event_source *source, void *userdata)
{
	struct service *s = userdata;

	(void)source;
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (run_in_use(&s->runs[k]) && run_observe(&s->runs[k]))
			end_run(s, &s->runs[k]);
	if (s->shutting_down && !service_undecided_run(s))
		stop_current(s);
	service_look_health(s);
	service_republish(s);
	/* What is in no table any more, now that the tables are right. */
	for (size_t k = 0; k < s->n_generations; k++)
		for (size_t j = 0; j < s->generations[k]->instances.n; j++)
			instance_release_unused(s->generations[k]->instances.list[j]);
	service_begin_next(s);
	return 0;
}

void service_poke(struct service *s)
{
	sd_event_source_set_enabled(s->defer, SD_EVENT_ONESHOT);
}

/* ---- watched paths -------------------------------------------------------------------------- */

/* Has a generation been started since, which has found what there is now? */
static bool is_old_news(const struct service *s)
{
	return s->n_generations > 0 &&
	       s->generations[s->n_generations - 1]->started_ms >= watch_moved_ms(s->watcher);
}

static void on_path_change(void *userdata, const char *path)
{
	struct service *s = userdata;

	if (!s->current || s->shutting_down || service_stopping_run(s) || is_old_news(s))
		return;
	service_event(s, "changed",
		      json_pack("{s:o, s:s}", "message", json_sprintf("%s has been replaced", path),
				"path", path));
	service_order_later(s, "restart");
}

static void watch_paths(struct service *s)
{
	struct error err;

	watch_free(TAKE_PTR(s->watcher));
	if (s->config->watch && watch_new(s->context->event, s->config->watch, on_path_change, s,
					  &s->watcher, &err) < 0)
		log_error("%s: watch: %s", s->config->name, err.text);
}

/* ---- life ----------------------------------------------------------------------------------- */

static bool same_group(const struct service_config *a, const struct service_config *b)
{
	if (a->n_listen != b->n_listen || a->uid != b->uid)
		return false;
	for (size_t k = 0; k < a->n_listen; k++)
		if (!address_equal(&a->listen[k], &b->listen[k]))
			return false;
	return true;
}

/*
 * Would a restart with @config run something else? Also where the file says the same, but not what
 * it leads to: an edited environment file, another target of a symlink. Of a taken-over generation
 * only the release is known, not what was configured when it started.
 */
static bool differs_from_running(struct service *s, const struct generation *g,
				 const struct service_config *config)
{
	cleanup(release_free) struct release *release = NULL;
	bool same_file = service_config_same_release(s->config, config), back;
	struct error err;
	int r;

	/* What a rollback has brought is not what the file says, and is to stay nevertheless. */
	back = same_file && s->rolled_back && g == s->current && s->previous_config &&
	       service_config_same_release(s->previous_config, config);
	if (!back && !service_config_same_release(g->config, config))
		return true;
	/* One that is still on trial brings what an upgrade has given it. */
	if (same_file && g == s->current)
		r = release_resolve(config, s->command, s->environment, &release, &err);
	else if (same_file)
		r = release_resolve(config, g->release->command, g->added, &release, &err);
	else
		r = release_resolve(config, NULL, NULL, &release, &err);
	/* What cannot be started must not replace what runs; where that is news it will be said. */
	if (r < 0)
		return !same_file;
	if (same_file && s->rolled_back && s->previous_release &&
	    release_identical(s->previous_release, release))
		return false;
	return g->taken_over ? !release_equal(release, g->release)
			     : !release_identical(g->release, release);
}

void service_refused(struct service *s, const char *reason)
{
	s->settled = true;
	snprintf(s->refusal, sizeof(s->refusal), "%s", reason);
}

/* What is steered by one tier cannot be by another from one moment to the next. */
static bool same_steering(const struct service *s, const struct service_config *config)
{
	char reason[TIERS_REASON_MAX];
	enum steer_tier tier;

	return config->sticky == s->config->sticky &&
	       tiers_choose(&s->context->tiers, config->steering, &tier, reason, NULL) >= 0 &&
	       tier == s->wiring.tier;
}

/* How what runs now will go, and be looked after, when its time has come. */
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
	if (s->open && (s->current || service_undecided_run(s))) {
		service_begin_hold(s);
		service_end_hold(s);
	}
}

int service_reconfigure(struct service *s, struct service_config *config, const char **ret_order,
			struct error *err)
{
	bool scaled = config->instances != s->config->instances, rewatch;
	const struct run *run = service_undecided_run(s);
	/* What will serve, where that is yet to be seen. */
	const struct generation *g = run && run->new && !run->partial ? run->new : s->current;

	*ret_order = NULL;
	if (s->open && (!same_group(s->config, config) || !same_steering(s, config))) {
		service_config_free(config);
		return error_text(err, -EBUSY,
				  "\"listen\", \"user\", \"steering\" and \"sticky\" can only be "
				  "changed while it is stopped (baton stop %s)",
				  s->config->name);
	}
	if (g && differs_from_running(s, g, config))
		*ret_order = "restart";
	else if (g && scaled && config->instances != s->instances)
		*ret_order = "scale";
	/* What could be rolled back to had other endpoints: it cannot come back. */
	if (!same_group(s->config, config))
		forget_previous(s);
	/* A new command in the file wins over the one of an earlier upgrade. */
	if (!service_config_same_release(s->config, config)) {
		vector_free(TAKE_PTR(s->command));
		vector_free(TAKE_PTR(s->environment));
		remember_command(s);
	}
	if (scaled) {
		/* Whatever becomes of a scaling that is under way. */
		for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
			s->runs[k].scale_undone = true;
		s->instances = config->instances;
		if (state_set_instances(s->context->state, config->name, 0, err) < 0)
			log_warning("%s: %s", config->name, err->text);
	}
	rewatch = !vector_equal(s->config->watch, config->watch);
	service_config_free(s->config);
	s->config = config;
	apply_policies(s);
	/* One that is as it was may be waiting for a change to come to rest. */
	if (rewatch)
		watch_paths(s);
	return 0;
}

void service_limit_drains(struct service *s)
{
	uint64_t end_ms = clock_monotonic_ms() + s->config->drain.shutdown_timeout_ms;

	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (run_in_use(&s->runs[k]))
			run_limit_drain(&s->runs[k], end_ms);
}

void service_shutdown(struct service *s)
{
	struct run *run = service_undecided_run(s);

	if (s->shutting_down)
		return;
	s->shutting_down = true;
	watch_free(TAKE_PTR(s->watcher));
	service_limit_drains(s);
	if (run)
		run_abort(run, true, "batond is shutting down");
	if (!service_undecided_run(s))
		stop_current(s);
}

void service_kill(struct service *s)
{
	for (size_t k = 0; k < s->n_generations; k++)
		instances_kill(&s->generations[k]->instances);
	service_poke(s);
}

int service_new(struct context *context, struct service_config *config,
		void (*on_end)(void *userdata, struct service *service), void *userdata,
		struct service **ret, struct error *err)
{
	cleanup(service_free) struct service *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		service_config_free(config);
		return error_set(err, -ENOMEM, "service");
	}
	s->context = context;
	s->config = config;
	s->instances = state_instances(context->state, config->name);
	if (s->instances == 0)
		s->instances = config->instances;
	s->on_end = on_end;
	s->userdata = userdata;
	r = sd_event_add_defer(context->event, &s->defer, on_defer, s);
	if (r < 0)
		return error_set(err, r, "service %s", config->name);
	sd_event_source_set_enabled(s->defer, SD_EVENT_OFF);
	watch_paths(s);
	*ret = TAKE_PTR(s);
	return 0;
}

void service_free(struct service *s)
{
	if (!s)
		return;
	watch_free(s->watcher);
	service_cancel_hooks(s);
	sd_event_source_disable_unref(s->heal_timer);
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		run_done(&s->runs[k]);
	for (size_t k = 0; k < s->n_generations; k++)
		generation_free(s->generations[k]);
	service_close_endpoints(s);
	sd_event_source_disable_unref(s->defer);
	json_decref(s->next.body);
	vector_free(s->command);
	vector_free(s->environment);
	forget_previous(s);
	service_config_free(s->config);
	free(s);
}
