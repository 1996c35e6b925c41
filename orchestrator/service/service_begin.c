/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/duration.h"
#include "common/vector.h"
#include "orchestrator/host/environment.h"
#include "orchestrator/service/service_internal.h"

/* What a new generation is made of. begin() takes it over. */
struct recipe {
	struct service_config *config;
	struct release *release;
	char **added;    /* to the environment; NULL: nothing */
	uint32_t origin; /* a rollback: the generation whose release it is */
};

static void recipe_done(struct recipe *recipe)
{
	service_config_free(recipe->config);
	release_free(recipe->release);
	vector_free(recipe->added);
	*recipe = (struct recipe){};
}

/* A rolling rollout starts no more than its surge at a time, and if it has none, one for one. */
static int check_slots(struct order_call *call)
{
	struct service *s = call->service;
	const struct rollout_config *rollout = &s->config->rollout;
	uint32_t n = s->instances;

	if (s->current && rollout->strategy == ROLLOUT_ROLLING && n > rollout->max_surge)
		n = rollout->max_surge;
	/* Those that go have left before. */
	if (s->current && rollout->strategy == ROLLOUT_STOP_FIRST)
		return 0;
	if (service_check_slots(s, n, &call->refusal->why) < 0)
		return refuse(call->refusal, REFUSAL_START_CONFLICT);
	return 0;
}

static int check_room(struct order_call *call, const struct recipe *recipe)
{
	struct service *s = call->service;

	if (!recipe->config || !recipe->release) {
		error_text(&call->refusal->why, -ENOMEM, "out of memory");
		return refuse(call->refusal, REFUSAL_CANNOT_START);
	}
	if (service_free_run(s) && service_has_room(s))
		return check_slots(call);
	if (service_has_room(s))
		error_text(&call->refusal->why, -EBUSY,
			   "%d rollouts are under way; wait until one has ended", SERVICE_RUNS_MAX);
	else
		error_text(
			&call->refusal->why, -EBUSY,
			"%zu generations are alive (\"drain.generations_max\" is %u); wait until "
			"one has drained",
			s->n_generations, s->config->drain.generations_max);
	return refuse(call->refusal, REFUSAL_BUSY);
}

/* Between the old and the new connections wait, or the operator knows that they cannot. */
static int check_stop_first(struct order_call *call)
{
	struct service *s = call->service;

	if (s->config->rollout.gap || steer_can(s->wiring.tier, STEER_CAN_HOLD))
		return 0;
	error_text(&call->refusal->why, -EOPNOTSUPP,
		   "strategy \"stop-first\" has new connections wait, which tier %s cannot do; "
		   "\"gap\": true in \"rollout\" has them refused until the new release is ready",
		   steer_tier_name(s->wiring.tier));
	return refuse(call->refusal, REFUSAL_START_CONFLICT);
}

static int check_strategy(struct order_call *call)
{
	struct service *s = call->service;

	if (!s->current)
		return 0;
	if (s->config->rollout.strategy == ROLLOUT_STOP_FIRST)
		return check_stop_first(call);
	if (s->config->rollout.strategy != ROLLOUT_CANARY ||
	    steer_can(s->wiring.tier, STEER_CAN_SHIFT))
		return 0;
	error_text(&call->refusal->why, -EOPNOTSUPP,
		   "a canary needs shares of new connections, which tier %s cannot give; use "
		   "strategy \"rolling\" or \"blue-green\"",
		   steer_tier_name(s->wiring.tier));
	return refuse(call->refusal, REFUSAL_START_CONFLICT);
}

static int make_generation(struct order_call *call, struct recipe *recipe, struct generation **ret)
{
	struct service *s = call->service;
	int r = service_open_fresh(s, recipe->config, &call->refusal->why);

	if (r < 0)
		return r;
	return service_make_generation(s, TAKE_PTR(recipe->config), TAKE_PTR(recipe->release), ret,
				       &call->refusal->why);
}

/* A file that the release names was changed where it lies: what it was is nowhere any more. */
static void note_way_back(struct order_call *call)
{
	const struct generation *g = call->service->current;
	const char *path;

	if (g && release_changed(g->release, &path))
		snprintf(call->answer->note, sizeof(call->answer->note),
			 "rollback would run what %.400s is now, not what it was", path);
}

/* Replace the current generation by one of @recipe, which is taken over. */
static int begin(struct order_call *call, struct recipe *recipe)
{
	struct service *s = call->service;
	struct run_plan plan = {
		.order = order_purpose(call), .id = call->id, .n_new = s->instances};
	struct generation *g = NULL;
	cleanup(instances_done) struct instances goes = {};
	struct run *run;
	int r = check_room(call, recipe);

	if (r >= 0)
		r = check_strategy(call);
	if (r >= 0 && service_check_overlaps(s, recipe->config, &call->refusal->why) < 0)
		r = refuse(call->refusal, REFUSAL_START_CONFLICT);
	if (r < 0) {
		recipe_done(recipe);
		return r;
	}
	/* A stopped service whose last generations still drain has refused connections. */
	if (s->endpoints.open)
		service_begin_hold(s);
	r = make_generation(call, recipe, &g);
	if (r < 0) {
		recipe_done(recipe);
		if (s->n_generations == 0)
			service_close_endpoints(s);
		return refuse(call->refusal, r == -EBUSY || r == -EADDRINUSE
						     ? REFUSAL_START_CONFLICT
						     : REFUSAL_CANNOT_START);
	}
	/* It runs what a reload or a watched path has brought, so that their order is needless. */
	s->queue.has_own = false;
	s->stopped = false;
	g->added = TAKE_PTR(recipe->added);
	g->origin = recipe->origin;
	if (!recipe->origin)
		note_way_back(call);
	service_staying(s, &goes);
	plan.new = g;
	plan.old = goes.n > 0 ? s->current : NULL;
	plan.goes = &goes;
	run = service_free_run(s);
	service_begin_run(s, run, plan);
	call->answer->run = run;
	return 0;
}

/*
 * Make a recipe of the configuration. @command and @added, if they are not NULL, stand in for its
 * command, and are added to its environment. If that fails nothing has been touched.
 */
static int resolve(struct order_call *call, char *const *command, char *const *added,
		   struct recipe *ret)
{
	struct service *s = call->service;
	struct run_serving serving;
	int r = 0;

	*ret = (struct recipe){};
	if (release_resolve(s->config, service_coming_number(s), command, added, &ret->release,
			    &call->refusal->why) < 0) {
		service_who_serves(s, &serving);
		return refuse(call->refusal, serving.instances > 0 ? REFUSAL_BAD_RELEASE
								   : REFUSAL_BAD_FIRST_RELEASE);
	}
	ret->config = service_config_copy(s->config);
	if (added)
		r = vector_copy(added, &ret->added);
	if (r < 0 || !ret->config) {
		recipe_done(ret);
		error_text(&call->refusal->why, -ENOMEM, "out of memory");
		return refuse(call->refusal, REFUSAL_CANNOT_START);
	}
	return 0;
}

static bool is_unset(char *const *names, const char *entry)
{
	size_t n = strcspn(entry, "=");

	for (; names && *names; names++)
		if (strlen(*names) == n && strncmp(*names, entry, n) == 0)
			return true;
	return false;
}

/* What earlier upgrades have added, less what the order unsets, and what it adds itself. */
static int merge_environment(const struct order_call *call, char ***ret)
{
	const struct service_order *order = call->order;
	int r = 0;

	for (char **e = call->service->history.environment; e && *e && r >= 0; e++) {
		char *copy;

		if (is_unset(order->unset, *e))
			continue;
		copy = strdup(*e);
		r = copy ? vector_append(ret, copy) : -ENOMEM;
	}
	for (char **e = order->environment; e && *e && r >= 0; e++) {
		cleanup_free char *name = strndup(*e, strcspn(*e, "="));

		r = name ? environment_set(ret, name, strchr(*e, '=') + 1) : -ENOMEM;
	}
	return r;
}

/* By the configuration and upgrades, this one included; a reset is by the configuration alone. */
static int resolve_order(struct order_call *call, struct recipe *ret)
{
	const struct service_order *order = call->order;
	char **command = order->command ? order->command : call->service->history.command;
	cleanup(vector_free) char **added = NULL;

	*ret = (struct recipe){};
	if (order->reset)
		return resolve(call, NULL, NULL, ret);
	if (merge_environment(call, &added) < 0) {
		error_text(&call->refusal->why, -ENOMEM, "out of memory");
		return refuse(call->refusal, REFUSAL_CANNOT_START);
	}
	return resolve(call, command, added, ret);
}

static int begin_fresh(struct order_call *call)
{
	struct recipe recipe;
	int r = resolve_order(call, &recipe);

	return r < 0 ? r : begin(call, &recipe);
}

int order_restart(struct order_call *call)
{
	return begin_fresh(call);
}

static int refuse_running(struct order_call *call)
{
	error_text(&call->refusal->why, -EALREADY,
		   "generation %u is running already (\"baton restart\" replaces it)",
		   call->service->current->number);
	return refuse(call->refusal, REFUSAL_RUNNING);
}

int order_start(struct order_call *call)
{
	return call->service->current ? refuse_running(call) : begin_fresh(call);
}

/* A generation that is being stopped will not run any more when the order begins. */
int order_check_start(struct order_call *call)
{
	if (call->service->current && !service_stopping_run(call->service))
		return refuse_running(call);
	return order_check_release(call);
}

/* ---- upgrade -------------------------------------------------------------------------------- */

/* Is exactly this running? Then nothing has to be done, and the answer says so. */
static bool is_identical(struct order_call *call, const struct recipe *recipe)
{
	const struct generation *g = call->service->current;

	if (!g || call->order->force || g->mixed ||
	    !release_identical(g->release, recipe->release) ||
	    !service_config_same_release(g->config, recipe->config))
		return false;
	snprintf(call->answer->message, sizeof(call->answer->message),
		 "generation %u runs this release already (%s %s)", g->number,
		 g->release->executable, g->release->digest);
	return true;
}

int order_check_release(struct order_call *call)
{
	struct recipe recipe;
	int r = resolve_order(call, &recipe);

	if (r >= 0)
		recipe_done(&recipe);
	return r;
}

int order_upgrade(struct order_call *call)
{
	struct recipe recipe;
	int r = resolve_order(call, &recipe);

	if (r < 0)
		return r;
	if (is_identical(call, &recipe)) {
		call->answer->unchanged = true;
		recipe_done(&recipe);
		return 0;
	}
	return begin(call, &recipe);
}

/* ---- rollback ------------------------------------------------------------------------------- */

int order_check_rollback(struct order_call *call)
{
	if (service_rollback_target(call->service))
		return 0;
	error_text(
		&call->refusal->why, -ENOENT,
		"no earlier release that has served well is known; \"baton upgrade %s -- COMMAND\" "
		"starts another one",
		call->service->config->name);
	return refuse(call->refusal, REFUSAL_NO_EARLIER_RELEASE);
}

/* Can it be started still? As far as can be seen before. */
static int look_at_target(struct order_call *call, const struct past *target,
			  struct release *release)
{
	struct error *why = &call->refusal->why;

	if (release_look(release, why) >= 0)
		return 0;
	error_prefix(why, 0, "the release of generation %u cannot be started any more",
		     target->generation);
	return refuse(call->refusal, REFUSAL_BAD_RELEASE);
}

/* What goes back is the release: how it comes is said by the file as it is now. */
int order_rollback(struct order_call *call)
{
	struct service *s = call->service;
	const struct past *target = service_rollback_target(s);
	struct recipe recipe = {};
	const char *path;
	int r = order_check_rollback(call);

	if (r < 0)
		return r;
	recipe.origin = target->generation;
	recipe.config = service_config_copy(target->config);
	recipe.release = release_copy(target->release);
	if (recipe.config && service_config_take_policies(recipe.config, s->config) < 0)
		service_config_free(TAKE_PTR(recipe.config));
	if (target->added && vector_copy(target->added, &recipe.added) < 0)
		release_free(TAKE_PTR(recipe.release));
	if (recipe.release && recipe.config && look_at_target(call, target, recipe.release) < 0) {
		recipe_done(&recipe);
		return -EINVAL;
	}
	if (release_changed(target->release, &path))
		snprintf(call->answer->note, sizeof(call->answer->note),
			 "rollback runs what %.400s is now, not what it was", path);
	return begin(call, &recipe);
}

/* "5m", "3h": as fine as is of interest. */
static const char *age(uint64_t since_ms, char ret[static DURATION_TEXT_MAX])
{
	uint64_t now_ms = clock_realtime_ms(), ms = now_ms > since_ms ? now_ms - since_ms : 0;
	uint64_t unit = ms < 60000 ? 1000 : ms < 3600000 ? 60000 : 3600000;

	if (ms < 1000)
		return "0s";
	return duration_format(ms - ms % unit, ret);
}

int order_try_rollback(struct order_call *call)
{
	const struct past *target = service_rollback_target(call->service);
	cleanup(release_free) struct release *release = NULL;
	char *ret = call->answer->message, began[DURATION_TEXT_MAX], ended[DURATION_TEXT_MAX];
	size_t size = sizeof(call->answer->message), n;
	const char *path;
	int r = order_check_rollback(call);

	if (r < 0)
		return r;
	release = release_copy(target->release);
	r = release ? look_at_target(call, target, release) : 0;
	if (r < 0)
		return r;
	n = (size_t)snprintf(ret, size, "rollback would go to generation %u (", target->generation);
	for (char **word = target->release->command; *word && n < 200; word++)
		n += (size_t)snprintf(ret + n, size - n, "%s%.100s",
				      word == target->release->command ? "" : " ", *word);
	n += (size_t)snprintf(ret + n, size - n, "), which served from %s ago until %s ago",
			      age(target->began_ms, began), age(target->ended_ms, ended));
	if (release_changed(target->release, &path) && n < size)
		snprintf(ret + n, size - n, "; it would run what %s is now, not what it was", path);
	return 0;
}

/* ---- for a helper --------------------------------------------------------------------------- */

static void look_at_past(struct service *s)
{
	const struct past *target = service_rollback_target(s);
	cleanup(release_free) struct release *release = NULL;
	const char *path;
	struct error err;

	if (!target)
		return;
	release = release_copy(target->release);
	if (release)
		(void)release_look(release, &err);
	(void)release_changed(target->release, &path);
}

void order_look(struct service *s, const struct service_order *order)
{
	struct service_answer answer = {};
	struct refusal refusal = {};
	struct order_call call = {
		.service = s, .order = order, .answer = &answer, .refusal = &refusal};
	struct recipe recipe;
	const char *path;

	if (order->type == SERVICE_ORDER_ROLLBACK)
		look_at_past(s);
	else if (resolve_order(&call, &recipe) >= 0)
		recipe_done(&recipe);
	if (s->current)
		(void)release_changed(s->current->release, &path);
}

int order_stop(struct order_call *call)
{
	struct service *s = call->service;
	struct run_plan plan = {.order = order_purpose(call), .id = call->id, .shutdown = true};
	cleanup(instances_done) struct instances goes = {};

	if (!s->current) {
		error_text(&call->refusal->why, -EALREADY, "it is stopped already");
		return refuse(call->refusal, REFUSAL_NOT_RUNNING);
	}
	call->answer->run = service_free_run(s);
	if (!call->answer->run)
		return order_refuse_busy(service_run(s), call->refusal);
	service_staying(s, &goes);
	if (goes.n == 0) {
		error_text(&call->refusal->why, -EALREADY, "all of it is on its way out already");
		call->answer->run = NULL;
		return refuse(call->refusal, REFUSAL_NOT_RUNNING);
	}
	service_limit_drains(s);
	s->queue.has_own = false;
	s->stopped = true;
	plan.old = s->current;
	plan.goes = &goes;
	service_begin_run(s, call->answer->run, plan);
	if (call->order->scaled)
		snprintf(call->answer->note, sizeof(call->answer->note),
			 "scaling to 0 stops the service; the next start gives it %u instance%s",
			 s->instances, s->instances == 1 ? "" : "s");
	return 0;
}
