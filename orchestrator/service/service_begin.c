/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "orchestrator/service/service_internal.h"
#include "common/vector.h"

/* What a new generation is made of. begin() takes it over. */
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

static int check_room(struct order_call *call, const struct recipe *recipe)
{
	struct service *s = call->service;

	if (!recipe->config || !recipe->release) {
		error_text(&call->refusal->why, -ENOMEM, "out of memory");
		return refuse(call->refusal, REFUSAL_CANNOT_START);
	}
	if (service_free_run(s) && service_has_room(s))
		return 0;
	if (service_has_room(s))
		error_text(&call->refusal->why, -EBUSY, "%d rollouts are under way",
			   SERVICE_RUNS_MAX);
	else
		error_text(
			&call->refusal->why, -EBUSY,
			"%zu generations are alive (\"drain.generations_max\" is %u); wait until "
			"one has drained",
			s->n_generations, s->config->drain.generations_max);
	return refuse(call->refusal, REFUSAL_BUSY);
}

static int check_strategy(struct order_call *call)
{
	struct service *s = call->service;

	if (!s->current || s->config->rollout.strategy != ROLLOUT_CANARY ||
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
	int r = s->endpoints.open ? 0 : service_open_fresh(s, &call->refusal->why);

	if (r < 0)
		return r;
	return service_make_generation(s, TAKE_PTR(recipe->config), TAKE_PTR(recipe->release), ret,
				       &call->refusal->why);
}

/* Replace the current generation by one of @recipe, which is taken over. */
static int begin(struct order_call *call, struct recipe *recipe)
{
	struct service *s = call->service;
	struct run_plan plan = {
		.order = order_purpose(call), .id = call->id, .n_new = s->instances};
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
 * Make a recipe of the configuration. @command and @added, if they are not NULL, stand in for those
 * of the last upgrade. If that fails nothing has been touched.
 */
static int resolve(struct order_call *call, char *const *command, char *const *added,
		   struct recipe *ret)
{
	struct service *s = call->service;
	int r = 0;

	*ret = (struct recipe){};
	command = command ? command : s->history.command;
	added = added ? added : s->history.environment;
	if (release_resolve(s->config, command, added, &ret->release, &call->refusal->why) < 0)
		return refuse(call->refusal, REFUSAL_BAD_RELEASE);
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
	error_text(&call->refusal->why, -EALREADY,
		   "generation %u is running already (restart replaces it)",
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

	if (!g || call->order->force || !release_identical(g->release, recipe->release) ||
	    !service_config_same_release(g->config, recipe->config))
		return false;
	snprintf(call->answer->message, sizeof(call->answer->message),
		 "generation %u runs this release already (%s %s)", g->number,
		 g->release->executable, g->release->digest);
	return true;
}

/* With the order's command and environment, if it has any. */
static int resolve_order(struct order_call *call, struct recipe *ret)
{
	return resolve(call, call->order->command, call->order->environment, ret);
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

int order_check_rollback(struct order_call *call)
{
	if (call->service->history.previous_release)
		return 0;
	error_text(&call->refusal->why, -ENOENT,
		   "no earlier generation has run since batond started");
	return refuse(call->refusal, REFUSAL_NO_EARLIER_RELEASE);
}

int order_rollback(struct order_call *call)
{
	struct service *s = call->service;
	struct recipe recipe = {};
	int r = order_check_rollback(call);

	if (r < 0)
		return r;
	recipe.config = service_config_copy(s->history.previous_config);
	recipe.release = release_copy(s->history.previous_release);
	/* Only the release goes back. The policies are those of the configuration. */
	if (recipe.config && service_config_take_policies(recipe.config, s->config) < 0)
		service_config_free(TAKE_PTR(recipe.config));
	if (s->history.previous_added && vector_copy(s->history.previous_added, &recipe.added) < 0)
		release_free(TAKE_PTR(recipe.release));
	return begin(call, &recipe);
}

int order_stop(struct order_call *call)
{
	struct service *s = call->service;
	struct run_plan plan = {.order = order_purpose(call), .id = call->id, .shutdown = true};
	struct instances goes;

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
	return 0;
}
