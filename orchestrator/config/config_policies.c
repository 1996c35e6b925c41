/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/duration.h"
#include "common/expand.h"
#include "common/vector.h"
#include "orchestrator/host/watch.h"

#define RESTARTS_MAX      64
#define GENERATIONS_LEAST 2
#define GENERATIONS_MOST  8
#define WEIGHT_FULL       100

/* ---- rollout -------------------------------------------------------------------------------- */

static const struct config_word strategies[] = {
	{"blue-green", ROLLOUT_BLUE_GREEN},
	{"rolling", ROLLOUT_ROLLING},
	{"canary", ROLLOUT_CANARY},
	{"stop-first", ROLLOUT_STOP_FIRST},
	{NULL, 0},
};

const char *config_strategy_name(enum rollout_strategy strategy)
{
	return config_word_of(strategies, strategy);
}

/* @weight_before is that of the step before; 0: there is none, or it was not understood. */
static int read_step(struct config_reading *reading, const char *path, json_t *value,
		     uint32_t weight_before, struct rollout_weight *step)
{
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "weight", .read = config_read_count,
		 .offset = offsetof(struct rollout_weight, weight),
		 .min = 1, .max = WEIGHT_FULL, .required = true},
		{.name = "hold", .read = config_read_duration,
		 .offset = offsetof(struct rollout_weight, dwell_ms), .max = 7 * CONFIG_DAY_MS},
	};
	/* clang-format on */
	static const struct config_table table = CONFIG_TABLE(keys);
	bool hold = json_object_get(value, "hold") != NULL;
	char key_path[CONFIG_JSON_PATH_MAX];
	int r = config_read_object(reading, path, value, &table, step);

	if (r < 0 || !step->weight)
		return r;
	step->manual = !hold && step->weight < WEIGHT_FULL;
	if (step->weight <= weight_before) {
		config_path(path, "weight", key_path);
		config_mistake(reading, key_path,
			       "%u is not more than the %u of the step before: weights must grow",
			       step->weight, weight_before);
	} else if (step->weight == WEIGHT_FULL && hold) {
		config_path(path, "hold", key_path);
		config_mistake(reading, key_path,
			       "is not for the step of 100: leave it out, and use \"bake\" of "
			       "\"rollout\" to keep the old generation ready after it");
	}
	return 0;
}

static int read_steps(struct config_reading *reading, const char *path, json_t *value,
		      const struct config_key *key, void *object)
{
	struct rollout_config *rollout = &((struct config_draft *)object)->service.rollout;
	size_t n = json_array_size(value), before = reading->mistakes->total;
	char item_path[CONFIG_JSON_PATH_MAX];
	uint32_t weight = 0;
	json_t *item;
	size_t i;

	(void)key;
	if (!json_is_array(value))
		config_wrong_type(reading, path, "an array of steps such as {\"weight\": 10}",
				  value);
	else if (!n)
		config_mistake(reading, path, "is empty: at least one step is needed");
	else if (n > ROLLOUT_STEPS_MAX)
		config_mistake(reading, path, "%zu steps: at most %d are possible", n,
			       ROLLOUT_STEPS_MAX);
	if (reading->mistakes->total > before)
		return 0;
	json_array_foreach (value, i, item) {
		int r;

		config_path_index(path, i, item_path);
		r = read_step(reading, item_path, item, weight, &rollout->steps[i]);
		if (r < 0)
			return r;
		weight = rollout->steps[i].weight;
	}
	rollout->n_steps = n;
	if (reading->mistakes->total > before || weight == WEIGHT_FULL)
		return 0;
	if (n == ROLLOUT_STEPS_MAX)
		config_mistake(reading, path,
			       "%zu steps before the one of 100, which comes last: at most %d are "
			       "possible",
			       n, ROLLOUT_STEPS_MAX - 1);
	else
		rollout->steps[rollout->n_steps++].weight = WEIGHT_FULL;
	return 0;
}

/* A key that another strategy would not look at. */
static void check_belongs(struct config_reading *reading, const char *path, const json_t *value,
			  const char *name, enum rollout_strategy to,
			  enum rollout_strategy strategy)
{
	char key_path[CONFIG_JSON_PATH_MAX];

	if (strategy == to || !json_object_get(value, name))
		return;
	config_path(path, name, key_path);
	config_mistake(reading, key_path,
		       "is for \"strategy\" \"%s\", but this one is \"%s\": leave one of them out",
		       config_strategy_name(to), config_strategy_name(strategy));
}

static void check_rollout(struct config_reading *reading, const char *path, const json_t *value,
			  const struct rollout_config *rollout)
{
	enum rollout_strategy strategy = rollout->strategy;
	char key_path[CONFIG_JSON_PATH_MAX];

	check_belongs(reading, path, value, "steps", ROLLOUT_CANARY, strategy);
	check_belongs(reading, path, value, "max_surge", ROLLOUT_ROLLING, strategy);
	check_belongs(reading, path, value, "max_unavailable", ROLLOUT_ROLLING, strategy);
	check_belongs(reading, path, value, "gap", ROLLOUT_STOP_FIRST, strategy);
	if (strategy == ROLLOUT_STOP_FIRST && rollout->bake_ms) {
		config_path(path, "bake", key_path);
		config_mistake(reading, key_path,
			       "is for an old generation that stands by, but with \"strategy\" "
			       "\"stop-first\" it has ended by then: leave it out");
	}
	if (strategy == ROLLOUT_CANARY && !rollout->n_steps) {
		config_path(path, "steps", key_path);
		config_mistake(
			reading, key_path,
			"missing: a canary needs them ([{\"weight\": 10, \"hold\": \"5m\"}])");
	}
	if (strategy == ROLLOUT_ROLLING && !rollout->max_surge && !rollout->max_unavailable)
		config_mistake(reading, path,
			       "\"max_surge\" and \"max_unavailable\" are both 0: no instance "
			       "could be added, none taken away");
}

int config_read_rollout(struct config_reading *reading, const char *path, json_t *value,
			const struct config_key *key, void *object)
{
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "strategy", .read = config_read_word, .words = strategies,
		 DRAFT(service.rollout.strategy)},
		{.name = "max_surge", .read = config_read_count,
		 DRAFT(service.rollout.max_surge), .max = CONFIG_INSTANCES_MAX},
		{.name = "max_unavailable", .read = config_read_count,
		 DRAFT(service.rollout.max_unavailable), .max = CONFIG_INSTANCES_MAX},
		{.name = "steps", .read = read_steps},
		{.name = "promote_timeout", .read = config_read_duration,
		 DRAFT(service.rollout.promote_timeout_ms), .min = 1, .max = 30 * CONFIG_DAY_MS},
		{.name = "bake", .read = config_read_duration, DRAFT(service.rollout.bake_ms),
		 .max = 7 * CONFIG_DAY_MS},
		{.name = "settle_timeout", .read = config_read_duration,
		 DRAFT(service.rollout.settle_timeout_ms), .max = CONFIG_HOUR_MS},
		{.name = "gap", .read = config_read_bool, DRAFT(service.rollout.gap)},
	};
	/* clang-format on */
	static const struct config_table table = CONFIG_TABLE(keys);
	size_t before = reading->mistakes->total;
	struct config_draft *draft = object;
	int r;

	(void)key;
	r = config_read_object(reading, path, value, &table, object);
	if (r == 0 && reading->mistakes->total == before)
		check_rollout(reading, path, value, &draft->service.rollout);
	draft->rollout_bad = reading->mistakes->total > before;
	return r;
}

/* ---- drain ---------------------------------------------------------------------------------- */

static int read_signal(struct config_reading *reading, const char *path, json_t *value,
		       const struct config_key *key, void *object)
{
	struct config_draft *draft = object;
	const char *text = json_string_value(value);
	const char *unfit;
	int number;

	(void)key;
	if (!text) {
		config_wrong_type(reading, path, "the name of a signal (\"SIGTERM\")", value);
		return 0;
	}
	number = config_signal_parse(text);
	unfit = number ? config_signal_unfit(number) : NULL;
	if (!number)
		config_mistake(reading, path,
			       "\"%s\" is not a signal (expected a name: \"SIGTERM\", \"QUIT\")",
			       text);
	else if (unfit)
		config_mistake(reading, path, "\"%s\" %s", text, unfit);
	if (!number || unfit)
		return 0;
	draft->service.drain.signal = number;
	draft->drain_signal_given = true;
	return 0;
}

static int read_delay(struct config_reading *reading, const char *path, json_t *value,
		      const struct config_key *key, void *object)
{
	static const struct config_key duration = {DRAFT(service.drain.delay_ms),
						   .max = CONFIG_HOUR_MS};
	struct config_draft *draft = object;
	const char *text = json_string_value(value);
	uint64_t ms;

	(void)key;
	draft->service.drain.delay_auto = text && strcmp(text, "auto") == 0;
	if (draft->service.drain.delay_auto)
		return 0;
	draft->drain_delay_given = true;
	if (!text && !json_is_number(value)) {
		config_wrong_type(reading, path, "\"auto\" or a duration (a string such as \"2s\")",
				  value);
		return 0;
	}
	if (text && duration_parse(text, &ms) == -EINVAL) {
		config_mistake(reading, path,
			       "\"%s\" is neither \"auto\" nor a duration (a number with a unit: "
			       "500ms, 2s)",
			       text);
		return 0;
	}
	return config_read_duration(reading, path, value, &duration, object);
}

/* Neither means anything if nothing is sent. */
static void check_unsent(struct config_reading *reading, const char *path,
			 const struct config_draft *draft)
{
	const struct drain_config *drain = &draft->service.drain;
	char key_path[CONFIG_JSON_PATH_MAX];

	if (drain->wait == DRAIN_WAIT_EXIT)
		return;
	config_path(path, "signal", key_path);
	if (draft->drain_signal_given)
		config_mistake(
			reading, key_path,
			"is not sent where \"wait\" is \"connections\": leave it out, or set "
			"\"wait\" to \"exit\"");
	config_path(path, "delay", key_path);
	if (draft->drain_delay_given && drain->delay_ms > 0)
		config_mistake(reading, key_path,
			       "comes before a signal that is not sent where \"wait\" is "
			       "\"connections\": leave it out, or set \"wait\" to \"exit\"");
}

int config_read_drain(struct config_reading *reading, const char *path, json_t *value,
		      const struct config_key *key, void *object)
{
	static const struct config_word waits[] = {
		{"exit", DRAIN_WAIT_EXIT},
		{"connections", DRAIN_WAIT_CONNECTIONS},
		{NULL, 0},
	};
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "wait", .read = config_read_word, .words = waits,
		 DRAFT(service.drain.wait)},
		{.name = "idle_timeout", .read = config_read_duration,
		 DRAFT(service.drain.idle_timeout_ms), .max = 30 * CONFIG_DAY_MS},
		{.name = "signal", .read = read_signal},
		{.name = "delay", .read = read_delay},
		{.name = "delay_max", .read = config_read_duration,
		 DRAFT(service.drain.delay_max_ms), .max = CONFIG_HOUR_MS},
		{.name = "timeout", .read = config_read_duration, DRAFT(service.drain.timeout_ms),
		 .max = 30 * CONFIG_DAY_MS},
		{.name = "shutdown_timeout", .read = config_read_duration,
		 DRAFT(service.drain.shutdown_timeout_ms), .max = 30 * CONFIG_DAY_MS},
		{.name = "force", .read = config_read_bool, DRAFT(service.drain.force)},
		{.name = "expect_cut", .read = config_read_bool, DRAFT(service.drain.expect_cut)},
		{.name = "generations_max", .read = config_read_count,
		 DRAFT(service.drain.generations_max),
		 .min = GENERATIONS_LEAST, .max = GENERATIONS_MOST},
		{.name = "kill_timeout", .read = config_read_duration,
		 DRAFT(service.drain.kill_timeout_ms), .max = CONFIG_DAY_MS},
		{.name = "leave_timeout", .read = config_read_duration,
		 DRAFT(service.drain.leave_timeout_ms), .max = CONFIG_HOUR_MS},
	};
	/* clang-format on */
	static const struct config_table table = CONFIG_TABLE(keys);
	struct config_draft *draft = object;
	int r;

	(void)key;
	r = config_read_object(reading, path, value, &table, object);
	if (!json_object_get(value, "shutdown_timeout"))
		draft->service.drain.shutdown_timeout_ms = draft->service.drain.timeout_ms;
	if (r == 0)
		check_unsent(reading, path, draft);
	return r;
}

/* ---- restart, watch ------------------------------------------------------------------------- */

int config_read_restart(struct config_reading *reading, const char *path, json_t *value,
			const struct config_key *key, void *object)
{
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "max", .read = config_read_count, DRAFT(service.restart.max),
		 .max = RESTARTS_MAX},
		{.name = "window", .read = config_read_duration,
		 DRAFT(service.restart.window_ms), .min = 1, .max = CONFIG_DAY_MS},
		{.name = "delay", .read = config_read_duration, DRAFT(service.restart.delay_ms),
		 .max = CONFIG_HOUR_MS},
	};
	/* clang-format on */
	static const struct config_table table = CONFIG_TABLE(keys);

	(void)key;
	return config_read_object(reading, path, value, &table, object);
}

static int read_watched(struct config_reading *reading, const char *path, const char *text,
			void *object)
{
	struct config_draft *draft = object;
	char *copy;

	if (text[0] != '/') {
		config_mistake(reading, path, "\"%s\" does not start with \"/\"", text);
		return 0;
	}
	if (strlen(text) >= PATH_MAX) {
		config_mistake(reading, path, "longer than %d bytes", PATH_MAX - 1);
		return 0;
	}
	if (expand_find(text, EXPAND_GENERATION | EXPAND_INSTANCE)) {
		config_mistake(reading, path,
			       "\"%s\": what is watched is the same for all generations and "
			       "instances, so {generation} and {instance} stand for nothing here",
			       text);
		return 0;
	}
	copy = strdup(text);
	return copy ? vector_append(&draft->service.watch, copy) : -ENOMEM;
}

static int read_paths(struct config_reading *reading, const char *path, json_t *value,
		      const struct config_key *key, void *object)
{
	(void)key;
	return config_read_strings(reading, path, value, CONFIG_ONE_OR_MORE, CONFIG_WATCH_MAX,
				   read_watched, object);
}

/* The paths alone; or an object, where there is more to say. */
int config_read_watch(struct config_reading *reading, const char *path, json_t *value,
		      const struct config_key *key, void *object)
{
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "paths", .read = read_paths, .required = true},
		{.name = "settle", .read = config_read_duration, DRAFT(service.watch_settle_ms),
		 .min = 1, .max = WATCH_SETTLE_MAX_MS},
	};
	/* clang-format on */
	static const struct config_table table = CONFIG_TABLE(keys);

	if (json_is_object(value))
		return config_read_object(reading, path, value, &table, object);
	return read_paths(reading, path, value, key, object);
}
