/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The orders that begin a rollout of a whole generation.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "orchestrator/host/environment.h"
#include "orchestrator/service/service_orders.h"
#include "common/vector.h"

/* Numbers are never used twice, not even where the state file was lost while agents lived on. */
static int next_number(struct service *s, uint32_t *ret, struct error *err)
{
	uint32_t highest = 0;
	int r;

	for (size_t k = 0; k < s->n_generations; k++)
		if (s->generations[k]->number > highest)
			highest = s->generations[k]->number;
	do {
		r = state_next_generation(s->context->state, s->config->name, ret, err);
	} while (r >= 0 && *ret <= highest);
	return r;
}

/* What a new generation is made of; taken over by begin(). */
struct recipe {
	struct service_config *config;
	struct release *release;
	char **added; /* to the environment; NULL: nothing */
};

static void recipe_done(struct recipe *recipe)
{
	service_config_free(recipe->config);
	release_free(recipe->release);
	vector_free(recipe->added);
	*recipe = (struct recipe){};
}

bool service_has_room(const struct service *s)
{
	return s->n_generations < s->config->drain.generations_max &&
	       s->n_generations < SERVICE_GENERATIONS_MAX;
}

static int check_room(struct order_call *call, const struct recipe *recipe)
{
	struct service *s = call->service;

	if (!recipe->config || !recipe->release) {
		error_text(&call->problem->detail, -ENOMEM, "out of memory");
		return order_refuse(call->problem, 500, 1, "Cannot start");
	}
	if (service_free_run(s) && service_has_room(s))
		return 0;
	if (service_has_room(s))
		error_text(&call->problem->detail, -EBUSY, "%d rollouts are under way",
			   SERVICE_RUNS_MAX);
	else
		error_text(
			&call->problem->detail, -EBUSY,
			"%zu generations are alive (\"drain.generations_max\" is %u); wait until "
			"one has drained",
			s->n_generations, s->config->drain.generations_max);
	return order_refuse(call->problem, 409, 6, "Busy");
}

static int check_strategy(struct order_call *call)
{
	struct service *s = call->service;

	if (!s->current || s->config->rollout.strategy != ROLLOUT_CANARY ||
	    steer_can(s->wiring.tier, STEER_CAN_SHIFT))
		return 0;
	error_text(&call->problem->detail, -EOPNOTSUPP,
		   "a canary needs shares of new connections, which tier %s cannot give; use "
		   "strategy \"rolling\" or \"blue-green\"",
		   steer_tier_name(s->wiring.tier));
	return order_refuse(call->problem, 409, 1, "Cannot start");
}

static int make_generation(struct order_call *call, struct recipe *recipe, struct generation **ret)
{
	struct service *s = call->service;
	uint32_t number;
	int r;

	r = s->open ? 0 : service_open_fresh(s, &call->problem->detail);
	if (r >= 0)
		r = next_number(s, &number, &call->problem->detail);
	if (r < 0)
		return r;
	recipe->config->instances = s->instances;
	return generation_new(s->context, number, TAKE_PTR(recipe->config),
			      TAKE_PTR(recipe->release), &s->wiring, &service_instance_callbacks, s,
			      ret, &call->problem->detail);
}

/* Replace the current generation by one of @recipe, which is taken over. */
static int begin(struct order_call *call, struct recipe *recipe)
{
	struct service *s = call->service;
	struct run_plan plan = {.order = call->order, .id = call->id, .n_new = s->instances};
	struct generation *g = NULL;
	struct instances goes;
	struct run *run;
	int r = check_room(call, recipe);

	if (r >= 0)
		r = check_strategy(call);
	if (r < 0) {
		recipe_done(recipe);
		return r;
	}
	/* A stopped one whose last generations still drain refuses connections until now. */
	if (s->open)
		service_begin_hold(s);
	r = make_generation(call, recipe, &g);
	if (r < 0) {
		recipe_done(recipe);
		if (s->n_generations == 0)
			service_close_endpoints(s);
		return order_refuse(call->problem, r == -EBUSY || r == -EADDRINUSE ? 409 : 500, 1,
				    "Cannot start");
	}
	/* It runs what the last reload, or a watched path, has brought. */
	s->own_order = NULL;
	s->stopped = false;
	g->added = TAKE_PTR(recipe->added);
	s->generations[s->n_generations++] = g;
	service_staying(s, &goes);
	plan.new = g;
	plan.old = goes.n > 0 ? s->current : NULL;
	plan.goes = &goes;
	run = service_free_run(s);
	run_begin(run, s, &plan);
	call->answer->run = run;
	return 0;
}

/*
 * Of the configuration, with @command and @added instead of what the last upgrade said where they
 * are given. Nothing has been touched where that fails; for the caller it is a generation that did
 * not start.
 */
static int resolve(struct order_call *call, char *const *command, char *const *added,
		   struct recipe *ret)
{
	struct service *s = call->service;
	int r = 0;

	*ret = (struct recipe){};
	command = command ? command : s->command;
	added = added ? added : s->environment;
	if (release_resolve(s->config, command, added, &ret->release, &call->problem->detail) < 0)
		return order_refuse(call->problem, 422, 3, "The new generation cannot start");
	ret->config = service_config_copy(s->config);
	if (added)
		r = vector_copy(added, &ret->added);
	if (r < 0 || !ret->config) {
		recipe_done(ret);
		error_text(&call->problem->detail, -ENOMEM, "out of memory");
		return order_refuse(call->problem, 500, 1, "Cannot start");
	}
	return 0;
}

static int begin_fresh(struct order_call *call)
{
	struct recipe recipe;
	int r = resolve(call, NULL, NULL, &recipe);

	return r < 0 ? r : begin(call, &recipe);
}

int order_restart(struct order_call *call)
{
	return begin_fresh(call);
}

static int refuse_running(struct order_call *call)
{
	error_text(&call->problem->detail, -EALREADY,
		   "generation %u is running already (restart replaces it)",
		   call->service->current->number);
	return order_refuse(call->problem, 409, 1, "Already running");
}

int order_start(struct order_call *call)
{
	return call->service->current ? refuse_running(call) : begin_fresh(call);
}

/* What is being stopped will not run any more when it is begun. */
int order_check_start(struct order_call *call)
{
	if (call->service->current && !service_stopping_run(call->service))
		return refuse_running(call);
	return order_check_release(call);
}

/* ---- upgrade -------------------------------------------------------------------------------- */

/* "command": an array of 1 to SERVICE_COMMAND_MAX strings. Borrowed strings in @ret. */
static int parse_command(struct order_call *call, char *ret[static SERVICE_COMMAND_MAX + 1])
{
	const json_t *command = json_object_get(call->body, "command"), *word;
	struct error *err = &call->problem->detail;
	size_t k;

	if (!command)
		return 0;
	if (!json_is_array(command) || json_array_size(command) == 0 ||
	    json_array_size(command) > SERVICE_COMMAND_MAX) {
		error_text(err, -EINVAL, "command: expected an array of 1 to %d strings",
			   SERVICE_COMMAND_MAX);
		return order_refuse(call->problem, 400, 2, "Bad request");
	}
	json_array_foreach (command, k, word) {
		if (!json_is_string(word) || (k == 0 && json_string_length(word) == 0)) {
			error_text(err, -EINVAL, "command[%zu]: expected a%s string", k,
				   k == 0 ? " non-empty" : "");
			return order_refuse(call->problem, 400, 2, "Bad request");
		}
		ret[k] = (char *)json_string_value(word);
	}
	ret[json_array_size(command)] = NULL;
	return 1;
}

/* "environment": an object of strings; a vector in *ret (the caller's, also on failure) or NULL. */
static int parse_environment(struct order_call *call, char ***ret)
{
	const json_t *environment = json_object_get(call->body, "environment");
	struct error *err = &call->problem->detail;
	const char *name;
	json_t *value;

	*ret = NULL;
	if (!environment)
		return 0;
	if (!json_is_object(environment) || json_object_size(environment) > SERVICE_COMMAND_MAX) {
		error_text(err, -EINVAL, "environment: expected an object of at most %d strings",
			   SERVICE_COMMAND_MAX);
		return order_refuse(call->problem, 400, 2, "Bad request");
	}
	json_object_foreach ((json_t *)environment, name, value) {
		int r = environment_check_name(name, err);

		if (r >= 0 && !json_is_string(value))
			r = error_text(err, -EINVAL, "environment.%s: expected a string", name);
		if (r < 0)
			return order_refuse(call->problem, 400, 2, "Bad request");
		if (environment_set(ret, name, json_string_value(value)) < 0) {
			error_text(err, -ENOMEM, "out of memory");
			return order_refuse(call->problem, 500, 1, "Cannot start");
		}
	}
	return 1;
}

/* Does what runs now run exactly this? Then nothing has to be done, and that is said. */
static bool is_identical(struct order_call *call, const struct recipe *recipe)
{
	const struct generation *g = call->service->current;

	if (!g || json_is_true(json_object_get(call->body, "force")) ||
	    !release_identical(g->release, recipe->release) ||
	    !service_config_same_release(g->config, recipe->config))
		return false;
	snprintf(call->answer->message, sizeof(call->answer->message),
		 "generation %u runs this release already (%s %s)", g->number,
		 g->release->executable, g->release->digest);
	return true;
}

/* With the command and the environment of the body, where there are any. */
static int resolve_body(struct order_call *call, struct recipe *ret)
{
	char *command[SERVICE_COMMAND_MAX + 1];
	cleanup(vector_free) char **added = NULL;
	int with_command = parse_command(call, command), r;

	if (with_command < 0)
		return with_command;
	r = parse_environment(call, &added);
	return r < 0 ? r : resolve(call, with_command > 0 ? command : NULL, added, ret);
}

int order_check_release(struct order_call *call)
{
	struct recipe recipe;
	int r = resolve_body(call, &recipe);

	if (r >= 0)
		recipe_done(&recipe);
	return r;
}

int order_upgrade(struct order_call *call)
{
	struct recipe recipe;
	int r = resolve_body(call, &recipe);

	if (r < 0)
		return r;
	if (is_identical(call, &recipe)) {
		call->answer->unchanged = true;
		recipe_done(&recipe);
		return 0;
	}
	return begin(call, &recipe);
}

int order_check_rollback(struct order_call *call)
{
	if (call->service->previous_release)
		return 0;
	error_text(&call->problem->detail, -ENOENT,
		   "no earlier generation has run since batond started");
	return order_refuse(call->problem, 409, 1, "Nothing to roll back to");
}

int order_rollback(struct order_call *call)
{
	struct service *s = call->service;
	struct recipe recipe = {};
	int r = order_check_rollback(call);

	if (r < 0)
		return r;
	recipe.config = service_config_copy(s->previous_config);
	recipe.release = release_copy(s->previous_release);
	/* What goes back is the release: how it comes is said by the file as it is now. */
	if (recipe.config && service_config_take_policies(recipe.config, s->config) < 0)
		service_config_free(TAKE_PTR(recipe.config));
	if (s->previous_added && vector_copy(s->previous_added, &recipe.added) < 0)
		release_free(TAKE_PTR(recipe.release));
	return begin(call, &recipe);
}

int order_stop(struct order_call *call)
{
	struct service *s = call->service;
	struct run_plan plan = {.order = call->order, .id = call->id, .shutdown = true};
	struct instances goes;

	if (!s->current) {
		error_text(&call->problem->detail, -EALREADY, "it is stopped already");
		return order_refuse(call->problem, 409, 1, "Not running");
	}
	call->answer->run = service_free_run(s);
	if (!call->answer->run)
		return order_refuse_busy(service_run(s), call->problem);
	service_staying(s, &goes);
	if (goes.n == 0) {
		error_text(&call->problem->detail, -EALREADY,
			   "all of it is on its way out already");
		call->answer->run = NULL;
		return order_refuse(call->problem, 409, 1, "Not running");
	}
	service_limit_drains(s);
	s->own_order = NULL;
	s->stopped = true;
	plan.old = s->current;
	plan.goes = &goes;
	run_begin(call->answer->run, s, &plan);
	return 0;
}
