/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "orchestrator/service_internal.h"

/* ---- orders --------------------------------------------------------------------------------- */

static int refuse(struct api_problem *problem, unsigned status, int code, const char *title)
{
	problem->status = status;
	problem->code = code;
	problem->title = title;
	return -EINVAL;
}

static int refuse_busy(const struct run *run, struct api_problem *problem)
{
	char generation[32] = "no new generation", replaces[48] = "";

	if (run->new)
		snprintf(generation, sizeof(generation), "generation %u", run->new->number);
	if (run->old)
		snprintf(replaces, sizeof(replaces), run->new ? " replaces %u" : ", %u stops",
			 run->old->number);
	error_text(&problem->detail, -EBUSY, "rollout %u (%s, %s%s) is at step %s since %.1f s",
		   run->id, run->order, generation, replaces,
		   rollout_state_name(run->machine.state),
		   (double)(clock_monotonic_ms() - run->step_began_ms) / 1000.0);
	return refuse(problem, 409, 6, "Busy");
}

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

/* Start a generation of @config and @release (both taken over) as the replacement of the current.
 */
static int begin(struct service *s, const char *order, struct service_config *config,
		 struct release *release, struct run **ret_run, struct api_problem *problem)
{
	struct run *run = service_free_run(s);
	struct generation *g = NULL;
	uint32_t number;
	int r;

	if (!config || !release || !run || s->n_generations == SERVICE_GENERATIONS_MAX) {
		if (config && release)
			error_text(&problem->detail, -EBUSY,
				   "%zu generations are alive; wait until one has drained",
				   s->n_generations);
		else
			error_text(&problem->detail, -ENOMEM, "out of memory");
		service_config_free(config);
		release_free(release);
		return refuse(problem, 409, 6, "Busy");
	}
	r = s->open ? 0 : service_open_fresh(s, &problem->detail);
	if (r >= 0)
		r = next_number(s, &number, &problem->detail);
	if (r < 0) {
		service_config_free(config);
		release_free(release);
		if (s->n_generations == 0)
			service_close_endpoints(s);
		return refuse(problem, r == -EBUSY || r == -EADDRINUSE ? 409 : 500, 1,
			      "Cannot start");
	}
	r = generation_new(s->context, number, config, release, &s->wiring,
			   &service_instance_callbacks, s, &g, &problem->detail);
	if (r < 0 && s->n_generations == 0)
		service_close_endpoints(s);
	if (r < 0)
		return refuse(problem, 500, 1, "Cannot start");
	s->generations[s->n_generations++] = g;
	run_begin(run, s, order, g, s->current);
	*ret_run = run;
	return 0;
}

static int begin_fresh(struct service *s, const char *order, char *const *command,
		       struct run **ret_run, struct api_problem *problem)
{
	struct release *release = NULL;

	/* It runs what the last reload has brought. */
	s->changed = false;
	/* Nothing has been touched yet; for the caller it is a generation that did not start. */
	if (release_resolve(s->config, command ? command : s->command, &release, &problem->detail) <
	    0)
		return refuse(problem, 422, 3, "The new generation cannot start");
	return begin(s, order, service_config_copy(s->config), release, ret_run, problem);
}

static int order_restart(struct service *s, const json_t *body, struct run **ret_run,
			 struct api_problem *problem)
{
	(void)body;
	return begin_fresh(s, "restart", NULL, ret_run, problem);
}

static int order_start(struct service *s, const json_t *body, struct run **ret_run,
		       struct api_problem *problem)
{
	(void)body;
	if (s->current) {
		error_text(&problem->detail, -EALREADY,
			   "generation %u is running already (restart replaces it)",
			   s->current->number);
		return refuse(problem, 409, 1, "Already running");
	}
	return begin_fresh(s, "start", NULL, ret_run, problem);
}

/* "command": an array of 1 to SERVICE_COMMAND_MAX strings. Borrowed strings in @ret. */
static int parse_command(const json_t *body, char *ret[static SERVICE_COMMAND_MAX + 1],
			 struct api_problem *problem)
{
	const json_t *command = json_object_get(body, "command"), *word;
	const char *key;
	json_t *value;
	size_t k;

	json_object_foreach ((json_t *)body, key, value) {
		if (strcmp(key, "command") == 0)
			continue;
		error_text(&problem->detail, -EINVAL,
			   "%s: unknown key (an upgrade takes \"command\")", key);
		return refuse(problem, 400, 2, "Bad request");
	}
	if (!command)
		return 0;
	if (!json_is_array(command) || json_array_size(command) == 0 ||
	    json_array_size(command) > SERVICE_COMMAND_MAX) {
		error_text(&problem->detail, -EINVAL,
			   "command: expected an array of 1 to %d strings", SERVICE_COMMAND_MAX);
		return refuse(problem, 400, 2, "Bad request");
	}
	json_array_foreach (command, k, word) {
		if (!json_is_string(word) || (k == 0 && json_string_length(word) == 0)) {
			error_text(&problem->detail, -EINVAL, "command[%zu]: expected a%s string",
				   k, k == 0 ? " non-empty" : "");
			return refuse(problem, 400, 2, "Bad request");
		}
		ret[k] = (char *)json_string_value(word);
	}
	ret[json_array_size(command)] = NULL;
	return 1;
}

static int order_upgrade(struct service *s, const json_t *body, struct run **ret_run,
			 struct api_problem *problem)
{
	char *command[SERVICE_COMMAND_MAX + 1];
	int r = parse_command(body, command, problem);

	if (r < 0)
		return r;
	return begin_fresh(s, "upgrade", r > 0 ? command : NULL, ret_run, problem);
}

static int order_rollback(struct service *s, const json_t *body, struct run **ret_run,
			  struct api_problem *problem)
{
	(void)body;
	if (!s->previous_release) {
		error_text(&problem->detail, -ENOENT,
			   "no earlier generation has run since batond started");
		return refuse(problem, 409, 1, "Nothing to roll back to");
	}
	return begin(s, "rollback", service_config_copy(s->previous_config),
		     release_copy(s->previous_release), ret_run, problem);
}

static int order_stop(struct service *s, const json_t *body, struct run **ret_run,
		      struct api_problem *problem)
{
	(void)body;
	if (!s->current) {
		error_text(&problem->detail, -EALREADY, "it is stopped already");
		return refuse(problem, 409, 1, "Not running");
	}
	*ret_run = service_free_run(s);
	if (!*ret_run)
		return refuse_busy(service_run(s), problem);
	run_begin(*ret_run, s, "stop", NULL, s->current);
	return 0;
}

static const struct order_entry {
	const char *name;
	int (*begin)(struct service *s, const json_t *body, struct run **ret_run,
		     struct api_problem *problem);
} orders[] = {
	{"restart", order_restart}, {"upgrade", order_upgrade}, {"rollback", order_rollback},
	{"start", order_start},     {"stop", order_stop},
};

int service_order(struct service *s, const char *order, const json_t *body, struct run **ret_run,
		  struct api_problem *problem)
{
	struct run *busy = service_undecided_run(s);

	/* A rollback, or a first start's stop, of what is still undecided is simply its end. */
	if (busy && strcmp(order, busy->old ? "rollback" : "stop") == 0) {
		*ret_run = busy;
		run_abort(busy, busy->old ? "rolled back by request" : "stopped by request");
		return 0;
	}
	if (!busy)
		busy = service_stopping_run(s);
	for (size_t k = 0; k < sizeof(orders) / sizeof(orders[0]); k++) {
		if (strcmp(order, orders[k].name) != 0)
			continue;
		if (s->shutting_down) {
			error_text(&problem->detail, -ESHUTDOWN, "batond is shutting down");
			return refuse(problem, 503, 1, "Shutting down");
		}
		if (busy)
			return refuse_busy(busy, problem);
		return orders[k].begin(s, body, ret_run, problem);
	}
	error_text(&problem->detail, -EINVAL,
		   "unknown order \"%s\" (restart, upgrade, rollback, start, stop)", order);
	return refuse(problem, 404, 2, "No such order");
}
