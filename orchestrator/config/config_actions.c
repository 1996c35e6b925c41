/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/vector.h"

#define GATE_NAME_MAX         63
#define GATE_URL_MAX          2048
#define MIN_CONNECTIONS_LIMIT 1000000000
#define GATES_EVERYWHERE      (ROLLOUT_GATE_SHIFT | ROLLOUT_GATE_STEP | ROLLOUT_GATE_LEAVE)

/* ---- one gate ------------------------------------------------------------------------------- */

static int read_name(struct config_reading *reading, const char *path, json_t *value,
		     const struct config_key *key, void *object)
{
	struct gate_config *gate = object;
	int r = config_read_text(reading, path, value, key, object);

	if (r < 0 || !gate->name)
		return r;
	if (strlen(gate->name) > GATE_NAME_MAX)
		config_mistake(reading, path, "longer than %d bytes", GATE_NAME_MAX);
	for (const char *c = gate->name; *c; c++) {
		if ((unsigned char)*c >= ' ' && *c != 0x7f)
			continue;
		config_mistake(reading, path, "\"%s\" has a control character in it", gate->name);
		break;
	}
	return 0;
}

static int read_point(struct config_reading *reading, const char *path, const char *text,
		      void *object)
{
	static const struct config_word points[] = {
		{"shift", ROLLOUT_GATE_SHIFT},
		{"step", ROLLOUT_GATE_STEP},
		{"leave", ROLLOUT_GATE_LEAVE},
		{NULL, 0},
	};
	const struct config_word *word = config_find_word(reading, path, text, points);
	struct gate_config *gate = object;

	if (word)
		gate->at |= word->value;
	return 0;
}

static int read_at(struct config_reading *reading, const char *path, json_t *value,
		   const struct config_key *key, void *object)
{
	(void)key;
	if (json_is_array(value) && !json_array_size(value))
		config_mistake(reading, path, "is empty: the gate would never be asked");
	return config_read_strings(reading, path, value, CONFIG_ONE_OR_MORE, 3, read_point, object);
}

/* "http://host/path"; whether the host exists is known when the gate is asked. */
static bool is_url(const char *text)
{
	static const char *const schemes[] = {"http://", "https://"};

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t n = strlen(schemes[i]);

		if (strncmp(text, schemes[i], n) == 0)
			return text[n] && !strchr("/:?#@", text[n]);
	}
	return false;
}

static int read_url(struct config_reading *reading, const char *path, json_t *value,
		    const struct config_key *key, void *object)
{
	struct gate_config *gate = object;
	int r = config_read_text(reading, path, value, key, object);

	if (r < 0 || !gate->http)
		return r;
	if (strlen(gate->http) > GATE_URL_MAX)
		config_mistake(reading, path, "longer than %d bytes", GATE_URL_MAX);
	else if (!config_is_plain(gate->http))
		config_mistake(reading, path,
			       "\"%s\" has a blank or control character in it; write it as %%20",
			       gate->http);
	else if (!is_url(gate->http))
		config_mistake(reading, path,
			       "\"%s\" is not a URL (expected \"http://HOST/PATH\" or "
			       "\"https://HOST/PATH\")",
			       gate->http);
	return 0;
}

static int read_gate_status(struct config_reading *reading, const char *path, json_t *value,
			    const struct config_key *key, void *object)
{
	struct gate_config *gate = object;

	(void)key;
	config_read_statuses(reading, path, value, gate->statuses, &gate->n_statuses);
	return 0;
}

static void check_gate(struct config_reading *reading, const char *path, const json_t *value)
{
	bool exec = json_object_get(value, "exec"), http = json_object_get(value, "http");

	if (exec && http)
		config_mistake(reading, path, "\"exec\" and \"http\" exclude each other");
	else if (!exec && !http)
		config_mistake(reading, path,
			       "needs \"exec\" or \"http\": there is nothing to ask");
	if (!http && json_object_get(value, "status"))
		config_mistake(reading, path, "\"status\" needs \"http\"");
}

/* What was left out. */
static int complete_gate(struct gate_config *gate)
{
	const char *name = gate->http;

	if (gate->exec) {
		const char *slash = strrchr(gate->exec[0], '/');

		name = slash ? slash + 1 : gate->exec[0];
	}
	if (!gate->name && name) {
		gate->name = strdup(name);
		if (!gate->name)
			return -ENOMEM;
	}
	if (!gate->at)
		gate->at = GATES_EVERYWHERE;
	if (gate->http)
		config_default_statuses(gate->statuses, &gate->n_statuses);
	return 0;
}

static int read_gate(struct config_reading *reading, const char *path, json_t *value,
		     struct gate_config *gate)
{
#define GATE(member_) .offset = offsetof(struct gate_config, member_)
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "name", .read = read_name, GATE(name)},
		{.name = "at", .read = read_at},
		{.name = "exec", .read = config_read_command, GATE(exec)},
		{.name = "http", .read = read_url, GATE(http)},
		{.name = "status", .read = read_gate_status},
		{.name = "timeout", .read = config_read_duration, GATE(timeout_ms),
		 .min = 1, .max = CONFIG_DAY_MS},
		{.name = "min_connections", .read = config_read_count, GATE(min_connections),
		 .max = MIN_CONNECTIONS_LIMIT},
	};
	/* clang-format on */
#undef GATE
	static const struct config_table table = CONFIG_TABLE(keys);
	size_t before = reading->mistakes->total;
	int r;

	gate->timeout_ms = 30 * CONFIG_SECOND_MS;
	gate->min_connections = 1;
	r = config_read_object(reading, path, value, &table, gate);
	if (r == 0 && reading->mistakes->total == before)
		check_gate(reading, path, value);
	return r < 0 ? r : complete_gate(gate);
}

/* ---- gates, hooks --------------------------------------------------------------------------- */

int config_read_gates(struct config_reading *reading, const char *path, json_t *value,
		      const struct config_key *key, void *object)
{
	struct service_config *service = &((struct config_draft *)object)->service;
	char item_path[CONFIG_JSON_PATH_MAX];
	json_t *item;
	size_t i;
	int r = 0;

	(void)key;
	if (!json_is_array(value)) {
		config_wrong_type(reading, path, "an array of gates", value);
		return 0;
	}
	if (json_array_size(value) > CONFIG_GATES_MAX) {
		config_mistake(reading, path, "%zu gates: at most %d are possible",
			       json_array_size(value), CONFIG_GATES_MAX);
		return 0;
	}
	if (json_array_size(value) == 0)
		return 0;
	service->gates = calloc(json_array_size(value), sizeof(*service->gates));
	if (!service->gates)
		return -ENOMEM;
	json_array_foreach (value, i, item) {
		config_path_index(path, i, item_path);
		if (r == 0)
			r = read_gate(reading, item_path, item,
				      &service->gates[service->n_gates++]);
	}
	return r;
}

int config_read_hooks(struct config_reading *reading, const char *path, json_t *value,
		      const struct config_key *key, void *object)
{
#define HOOK(hook_) .read = config_read_command, DRAFT(service.hooks.command[hook_])
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "before_start", HOOK(HOOK_BEFORE_START)},
		{.name = "after_shift", HOOK(HOOK_AFTER_SHIFT)},
		{.name = "after_drain", HOOK(HOOK_AFTER_DRAIN)},
		{.name = "on_rollback", HOOK(HOOK_ON_ROLLBACK)},
		{.name = "on_failure", HOOK(HOOK_ON_FAILURE)},
		{.name = "timeout", .read = config_read_duration,
		 DRAFT(service.hooks.timeout_ms), .min = 1, .max = CONFIG_DAY_MS},
	};
	/* clang-format on */
#undef HOOK
	static const struct config_table table = CONFIG_TABLE(keys);

	(void)key;
	return config_read_object(reading, path, value, &table, object);
}
