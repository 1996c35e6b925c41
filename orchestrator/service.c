/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/service_internal.h"
#include "orchestrator/vector.h"

/* ---- events --------------------------------------------------------------------------------- */

static void log_event(const char *service, const char *event, const json_t *details)
{
	const char *message = json_string_value(json_object_get(details, "message"));
	const char *reason = json_string_value(json_object_get(details, "reason"));
	json_int_t id = json_integer_value(json_object_get(details, "rollout"));
	char rollout[32] = "";

	if (id > 0)
		snprintf(rollout, sizeof(rollout), "rollout %lld: ", (long long)id);
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

/* Forget a generation whose processes are gone. */
static void drop_generation(struct service *s, struct generation *g)
{
	size_t k = 0;

	while (k < s->n_generations && s->generations[k] != g)
		k++;
	if (k == s->n_generations)
		return;
	s->n_generations--;
	memmove(&s->generations[k], &s->generations[k + 1],
		(s->n_generations - k) * sizeof(s->generations[0]));
	if (s->current == g)
		s->current = NULL;
	if (s->primary == g)
		s->primary = NULL;
	if (s->backup == g)
		s->backup = NULL;
	for (k = 0; k < SERVICE_GENERATIONS_MAX; k++)
		if (s->runs[k].new == g)
			s->runs[k].new = NULL;
	generation_free(g);
}

static void forget_previous(struct service *s)
{
	service_config_free(TAKE_PTR(s->previous_config));
	release_free(TAKE_PTR(s->previous_release));
}

static void keep_previous(struct service *s, const struct generation *g)
{
	forget_previous(s);
	s->previous_config = service_config_copy(g->config);
	s->previous_release = release_copy(g->release);
	if (!s->previous_config || !s->previous_release)
		forget_previous(s);
}

/* For a daemon that takes over: it finds the generation running, not why it runs that. */
static void remember_command(struct service *s)
{
	struct error err;

	if (state_set_command(s->context->state, s->config->name, s->command, &err) < 0)
		log_warning("%s: the command cannot be remembered: %s", s->config->name, err.text);
}

/* The command for the restarts to come, where it is not the configuration's. */
static void keep_command(struct service *s, const struct generation *g)
{
	char **copy = NULL;

	if (!vector_equal(g->release->command, s->config->command) &&
	    vector_copy(g->release->command, &copy) < 0)
		return;
	vector_free(s->command);
	s->command = copy;
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
	s->current = run->new;
	remember_serving(s);
	s->refusal[0] = '\0';
	if (run->old)
		keep_previous(s, run->old);
	if (strcmp(run->order, "upgrade") == 0 || strcmp(run->order, "rollback") == 0)
		keep_command(s, run->new);
	else if (strcmp(run->order, "start") == 0)
		/* Of an earlier daemon's upgrade that nothing was left of. */
		remember_command(s);
}

/* ---- rollouts ------------------------------------------------------------------------------- */

static bool run_in_use(const struct run *run)
{
	return run->id != 0;
}

/* The rollout that could still go either way. */
struct run *service_undecided_run(struct service *s)
{
	for (size_t k = 0; k < SERVICE_GENERATIONS_MAX; k++)
		if (run_in_use(&s->runs[k]) && !rollout_is_decided(&s->runs[k].machine))
			return &s->runs[k];
	return NULL;
}

/* The rollout by which the current generation goes without a successor. */
struct run *service_stopping_run(struct service *s)
{
	for (size_t k = 0; k < SERVICE_GENERATIONS_MAX; k++)
		if (run_in_use(&s->runs[k]) && s->current && s->runs[k].old == s->current &&
		    !s->runs[k].machine.has_new)
			return &s->runs[k];
	return NULL;
}

struct run *service_run(struct service *s)
{
	struct run *found = service_undecided_run(s);

	for (size_t k = 0; !found && k < SERVICE_GENERATIONS_MAX; k++)
		if (run_in_use(&s->runs[k]))
			found = &s->runs[k];
	for (size_t k = 0; k < SERVICE_GENERATIONS_MAX && found; k++)
		if (run_in_use(&s->runs[k]) && s->runs[k].id > found->id &&
		    rollout_is_decided(&found->machine))
			found = &s->runs[k];
	return found;
}

bool service_is_idle(const struct service *s)
{
	for (size_t k = 0; k < SERVICE_GENERATIONS_MAX; k++)
		if (run_in_use(&s->runs[k]))
			return false;
	return s->n_generations == 0;
}

struct run *service_free_run(struct service *s)
{
	for (size_t k = 0; k < SERVICE_GENERATIONS_MAX; k++)
		if (!run_in_use(&s->runs[k]))
			return &s->runs[k];
	return NULL;
}

static void restart_changed(struct service *s)
{
	struct api_problem problem = {};
	struct run *run;

	s->changed = false;
	if (service_order(s, "restart", NULL, &run, &problem) < 0)
		log_error("%s: restart: %s", s->config->name, problem.detail.text);
}

static void stop_current(struct service *s)
{
	struct run *run = service_free_run(s);

	if (s->current && run && !service_stopping_run(s))
		run_begin(run, s, "stop", NULL, s->current);
}

static void end_run(struct service *s, struct run *run)
{
	struct generation *gone = rollout_victim_is_new(&run->machine) ? run->new : run->old;

	run_result(run, &s->last);
	/* A service that was stopped is not paused any more, also where something still drains. */
	if (!run->machine.has_new && !run->machine.retire)
		s->paused = false;
	s->settled |= !run->machine.retire;
	if (gone)
		drop_generation(s, gone);
	run_done(run);
	if (s->n_generations == 0)
		service_unpin_endpoints(s);
	service_event(s, rollout_outcome_name(s->last.outcome), run_result_json(&s->last));
	if (s->shutting_down && !service_undecided_run(s))
		stop_current(s);
	else if (s->changed && !s->shutting_down && s->current && !service_undecided_run(s))
		restart_changed(s);
	s->on_end(s->userdata, s);
}

static int on_defer(sd_event_source *source, void *userdata)
{
	struct service *s = userdata;

	(void)source;
	for (size_t k = 0; k < SERVICE_GENERATIONS_MAX; k++)
		if (run_in_use(&s->runs[k]) && run_observe(&s->runs[k]))
			end_run(s, &s->runs[k]);
	service_republish(s);
	/* What is in no table any more, now that the tables are right. */
	for (size_t k = 0; k < s->n_generations; k++)
		generation_release_unused(s->generations[k]);
	return 0;
}

void service_poke(struct service *s)
{
	sd_event_source_set_enabled(s->defer, SD_EVENT_ONESHOT);
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
 * Would a restart with @config run something else? Of an adopted generation only the release is
 * known, not what was configured when it started.
 */
static bool differs_from_running(struct service *s, const struct service_config *config)
{
	cleanup(release_free) struct release *release = NULL;
	bool same_file = service_config_same_release(s->config, config);

	if (!s->current->adopted)
		return !service_config_same_release(s->current->config, config);
	if (release_resolve(config, same_file ? s->command : NULL, &release, NULL) < 0)
		return !same_file;
	return !release_equal(release, s->current->release);
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

int service_reconfigure(struct service *s, struct service_config *config, bool *ret_changed,
			struct error *err)
{
	if (s->open && (!same_group(s->config, config) || !same_steering(s, config))) {
		service_config_free(config);
		return error_text(err, -EBUSY,
				  "\"listen\", \"user\", \"steering\" and \"sticky\" can only be "
				  "changed while it is stopped (baton stop %s)",
				  s->config->name);
	}
	*ret_changed = s->current && differs_from_running(s, config);
	/* What could be rolled back to had other endpoints: it cannot come back. */
	if (!same_group(s->config, config))
		forget_previous(s);
	/* A new command in the file wins over the one of an earlier upgrade. */
	if (!service_config_same_release(s->config, config)) {
		vector_free(TAKE_PTR(s->command));
		remember_command(s);
	}
	service_config_free(s->config);
	s->config = config;
	/* How what runs now will go, when its time has come. */
	if (s->current) {
		s->current->config->drain = config->drain;
		s->current->config->rollout = config->rollout;
	}
	if (s->open && (s->current || service_undecided_run(s))) {
		service_begin_hold(s);
		service_end_hold(s);
	}
	return 0;
}

void service_shutdown(struct service *s)
{
	struct run *run = service_undecided_run(s);

	if (s->shutting_down)
		return;
	s->shutting_down = true;
	if (run)
		run_abort(run, "batond is shutting down");
	else if (s->current)
		stop_current(s);
}

void service_kill(struct service *s)
{
	for (size_t k = 0; k < s->n_generations; k++)
		generation_kill(s->generations[k]);
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
	s->on_end = on_end;
	s->userdata = userdata;
	r = sd_event_add_defer(context->event, &s->defer, on_defer, s);
	if (r < 0)
		return error_set(err, r, "service %s", config->name);
	sd_event_source_set_enabled(s->defer, SD_EVENT_OFF);
	*ret = TAKE_PTR(s);
	return 0;
}

void service_free(struct service *s)
{
	if (!s)
		return;
	for (size_t k = 0; k < SERVICE_GENERATIONS_MAX; k++)
		run_done(&s->runs[k]);
	for (size_t k = 0; k < s->n_generations; k++)
		generation_free(s->generations[k]);
	service_close_endpoints(s);
	sd_event_source_disable_unref(s->defer);
	vector_free(s->command);
	forget_previous(s);
	service_config_free(s->config);
	free(s);
}
