/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/paths.h"
#include "common/vector.h"
#include "orchestrator/host/account.h"
#include "orchestrator/host/environment.h"
#include "orchestrator/host/watch.h"

#define HOLD_MAX_MS (10 * CONFIG_MINUTE_MS)

/* ---- command, environment ------------------------------------------------------------------- */

static int read_command(struct config_reading *reading, const char *path, json_t *value,
			const struct config_key *key, void *object)
{
	struct config_draft *draft = object;
	int r = config_read_command(reading, path, value, key, object);

	draft->command_bad = !draft->service.command;
	return r;
}

static int read_environment(struct config_reading *reading, const char *path, json_t *value,
			    const struct config_key *key, void *object)
{
	struct config_draft *draft = object;
	size_t before = reading->mistakes->total;
	char item_path[CONFIG_JSON_PATH_MAX];
	struct error err;
	const char *name;
	json_t *item;

	(void)key;
	if (!json_is_object(value))
		config_wrong_type(reading, path, "an object of strings", value);
	else if (json_object_size(value) > CONFIG_VARIABLES_MAX)
		config_mistake(reading, path, "more than %d variables", CONFIG_VARIABLES_MAX);
	draft->environment_bad = reading->mistakes->total > before;
	if (draft->environment_bad)
		return 0;
	json_object_foreach (value, name, item) {
		config_path(path, name, item_path);
		if (environment_check_name(name, &err) < 0)
			config_mistake(reading, item_path, "%s", err.text);
		else if (!json_is_string(item))
			config_wrong_type(reading, item_path, "a string", item);
		else if (environment_set(&draft->service.environment, name,
					 json_string_value(item)) < 0)
			return -ENOMEM;
	}
	environment_sort(draft->service.environment);
	draft->environment_bad = reading->mistakes->total > before;
	return 0;
}

static int read_directory(struct config_reading *reading, const char *path, json_t *value,
			  const struct config_key *key, void *object)
{
	struct config_draft *draft = object;
	size_t before = reading->mistakes->total;
	int r = config_read_text(reading, path, value, key, object);

	if (r == 0 && draft->service.directory && draft->service.directory[0] != '/')
		config_mistake(reading, path, "\"%s\" does not start with \"/\"",
			       draft->service.directory);
	draft->directory_bad = reading->mistakes->total > before;
	return r;
}

static int read_environment_file(struct config_reading *reading, const char *path, json_t *value,
				 const struct config_key *key, void *object)
{
	struct config_draft *draft = object;
	char **file = &draft->service.environment_file;
	int r = config_read_text(reading, path, value, key, object);

	if (r == 0 && *file && (*file)[0] != '/') {
		config_mistake(reading, path, "\"%s\" does not start with \"/\"", *file);
		free(*file);
		*file = NULL; /* so that it is not looked for */
		draft->environment_bad = true;
	}
	return r;
}

/* ---- listen --------------------------------------------------------------------------------- */

static void read_endpoint(struct config_reading *reading, const char *path, const json_t *value,
			  size_t index, struct config_draft *draft)
{
	struct service_config *service = &draft->service;
	struct error err;

	if (!json_is_string(value)) {
		config_wrong_type(reading, path, "a string such as \"127.0.0.1:8080\"", value);
		return;
	}
	if (address_parse(json_string_value(value), &service->listen[service->n_listen], &err) < 0)
		config_mistake(reading, path, "%s", err.text);
	else
		draft->listen_index[service->n_listen++] = (uint8_t)index;
}

static int read_listen(struct config_reading *reading, const char *path, json_t *value,
		       const struct config_key *key, void *object)
{
	struct config_draft *draft = object;
	size_t before = reading->mistakes->total, i;
	char item_path[CONFIG_JSON_PATH_MAX];
	const json_t *item;

	(void)key;
	if (json_is_string(value)) {
		draft->listen_is_text = true;
		read_endpoint(reading, path, value, 0, draft);
	} else if (!json_is_array(value)) {
		config_wrong_type(reading, path, "a string or an array of strings", value);
	} else if (!json_array_size(value)) {
		config_mistake(reading, path, "is empty: at least one address is needed");
	} else if (json_array_size(value) > CONFIG_LISTEN_MAX) {
		config_mistake(reading, path, "%zu addresses: at most %d are possible",
			       json_array_size(value), CONFIG_LISTEN_MAX);
	} else {
		json_array_foreach (value, i, item) {
			config_path_index(path, i, item_path);
			read_endpoint(reading, item_path, item, i, draft);
		}
	}
	draft->listen_bad = reading->mistakes->total > before;
	return 0;
}

/* ---- services ------------------------------------------------------------------------------- */

static int read_instances(struct config_reading *reading, const char *path, json_t *value,
			  const struct config_key *key, void *object)
{
	size_t before = reading->mistakes->total;
	struct config_draft *draft = object;
	int r = config_read_count(reading, path, value, key, object);

	draft->instances_bad = reading->mistakes->total > before;
	return r;
}

static int read_backlog(struct config_reading *reading, const char *path, json_t *value,
			const struct config_key *key, void *object)
{
	struct config_draft *draft = object;

	draft->service.backlog_set = true;
	return config_read_count(reading, path, value, key, object);
}

static int read_hold(struct config_reading *reading, const char *path, json_t *value,
		     const struct config_key *key, void *object)
{
	struct config_draft *draft = object;

	draft->hold_given = true;
	return config_read_duration(reading, path, value, key, object);
}

static const struct config_word modes[] = {
	{"auto", SOCKETS_AUTO},
	{"inherit", SOCKETS_INHERIT},
	{"native", SOCKETS_NATIVE},
	{"transparent", SOCKETS_TRANSPARENT},
	{NULL, 0},
};

static const struct config_word tiers[] = {
	{"auto", STEERING_AUTO},
	{"ebpf", STEERING_EBPF},
	{"cbpf", STEERING_CBPF},
	{"hash", STEERING_HASH},
	{NULL, 0},
};

static const struct config_word drifts[] = {
	{"repair", DRIFT_REPAIR},
	{"report", DRIFT_REPORT},
	{NULL, 0},
};

static const struct config_word agent_losts[] = {
	{"adopt", AGENT_LOST_ADOPT},
	{"replace", AGENT_LOST_REPLACE},
	{NULL, 0},
};

/* clang-format off */
static const struct config_key service_keys[] = {
	{.name = "command", .read = read_command, DRAFT(service.command), .required = true},
	{.name = "listen", .read = read_listen, .required = true},
	{.name = "mode", .read = config_read_word, .words = modes, DRAFT(service.mode)},
	{.name = "steering", .read = config_read_word, .words = tiers, DRAFT(service.steering)},
	{.name = "sticky", .read = config_read_bool, DRAFT(service.sticky)},
	{.name = "hold", .read = read_hold, DRAFT(service.hold_ms), .max = HOLD_MAX_MS},
	{.name = "drift", .read = config_read_word, .words = drifts, DRAFT(service.drift)},
	{.name = "agent_lost", .read = config_read_word, .words = agent_losts,
	 DRAFT(service.agent_lost)},
	{.name = "instances", .read = read_instances, DRAFT(service.instances),
	 .min = 1, .max = CONFIG_INSTANCES_MAX},
	{.name = "backlog", .read = read_backlog,
	 DRAFT(service.backlog), .min = 1, .max = 65535},
	{.name = "nonblocking", .read = config_read_bool, DRAFT(service.nonblocking)},
	{.name = "user", .read = config_read_account, DRAFT(service.user)},
	{.name = "group", .read = config_read_account, DRAFT(service.group)},
	{.name = "supplementary_groups", .read = config_read_supplementary_groups},
	{.name = "directory", .read = read_directory, DRAFT(service.directory)},
	{.name = "environment", .read = read_environment},
	{.name = "environment_inherit", .read = config_read_bool,
	 DRAFT(service.environment_inherit)},
	{.name = "environment_file", .read = read_environment_file,
	 DRAFT(service.environment_file)},
	{.name = "limits", .read = config_read_limits},
	{.name = "umask", .read = config_read_umask},
	{.name = "nice", .read = config_read_nice},
	{.name = "no_new_privileges", .read = config_read_bool,
	 DRAFT(service.process.no_new_privileges)},
	{.name = "capabilities", .read = config_read_capabilities},
	{.name = "oom_score_adj", .read = config_read_oom_score_adjust},
	{.name = "stdout", .read = config_read_stdout},
	{.name = "stderr", .read = config_read_stderr},
	{.name = "resources", .read = config_read_resources},
	{.name = "health", .read = config_read_health},
	{.name = "rollout", .read = config_read_rollout},
	{.name = "gates", .read = config_read_gates},
	{.name = "hooks", .read = config_read_hooks},
	{.name = "restart", .read = config_read_restart},
	{.name = "watch", .read = config_read_watch},
	{.name = "drain", .read = config_read_drain},
};
/* clang-format on */

static const struct config_table service_table = CONFIG_TABLE(service_keys);

/* config_read_count stores 32 bits, config_read_word an unsigned. */
_Static_assert(sizeof(((struct service_config *)NULL)->backlog) == sizeof(uint32_t), "backlog");
_Static_assert(sizeof(enum socket_mode) == sizeof(unsigned), "mode");
_Static_assert(sizeof(enum steering_choice) == sizeof(unsigned), "steering");
_Static_assert(sizeof(enum drift_choice) == sizeof(unsigned), "drift");
_Static_assert(sizeof(enum agent_lost_choice) == sizeof(unsigned), "agent_lost");
_Static_assert(sizeof(enum rollout_strategy) == sizeof(unsigned), "rollout.strategy");
_Static_assert(sizeof(enum drain_wait) == sizeof(unsigned), "drain.wait");

static struct config_draft *draft_new(const char *name, const char *source)
{
	cleanup(config_draft_free) struct config_draft *draft = calloc(1, sizeof(*draft));

	if (!draft)
		return NULL;
	draft->source = strdup(source);
	draft->service = (struct service_config){
		.name = strdup(name),
		.backlog = 4096,
		.instances = 1,
		.rollout = {.strategy = ROLLOUT_BLUE_GREEN,
			    .max_surge = 1,
			    .promote_timeout_ms = CONFIG_DAY_MS,
			    .settle_timeout_ms = 2 * CONFIG_SECOND_MS},
		.hooks = {.timeout_ms = 30 * CONFIG_SECOND_MS},
		.watch_settle_ms = WATCH_SETTLE_MS,
		.restart = {.max = 5, .window_ms = CONFIG_MINUTE_MS, .delay_ms = 100},
		.drain = {.signal = SIGTERM,
			  .delay_auto = true,
			  .delay_max_ms = 2 * CONFIG_SECOND_MS,
			  .timeout_ms = 30 * CONFIG_SECOND_MS,
			  .shutdown_timeout_ms = 30 * CONFIG_SECOND_MS,
			  .generations_max = 4,
			  .kill_timeout_ms = 5 * CONFIG_SECOND_MS,
			  .leave_timeout_ms = CONFIG_SECOND_MS},
	};
	process_settings_init(&draft->service.process);
	if (!draft->source || !draft->service.name ||
	    vector_copy(NULL, &draft->service.environment) < 0)
		return NULL;
	return TAKE_PTR(draft);
}

void config_draft_free(struct config_draft *draft)
{
	if (!draft)
		return;
	service_config_done(&draft->service);
	vector_free(draft->complaints.texts);
	free(draft->source);
	free(draft);
}

static void check_name(struct config_reading *reading, const char *path, const char *name)
{
	struct error err;

	if (paths_check_name(name, &err) < 0)
		config_mistake(reading, path, "%s", err.text);
	for (size_t i = 0; i < reading->n_drafts; i++)
		if (strcmp(reading->drafts[i]->service.name, name) == 0)
			config_mistake(reading, path, "is defined in %s already",
				       reading->drafts[i]->source);
}

static int read_services(struct config_reading *reading, const char *path, json_t *value,
			 const struct config_key *key, void *object)
{
	char item_path[CONFIG_JSON_PATH_MAX];
	const char *name;
	json_t *item;

	(void)key;
	(void)object;
	if (!json_is_object(value)) {
		config_wrong_type(reading, path, "an object of services by name", value);
		return 0;
	}
	json_object_foreach (value, name, item) {
		cleanup(config_draft_free) struct config_draft *draft = NULL;
		int r;

		config_path(path, name, item_path);
		if (reading->n_drafts == CONFIG_SERVICES_MAX) {
			config_mistake(reading, item_path, "more than %d services",
				       CONFIG_SERVICES_MAX);
			break;
		}
		draft = draft_new(name, reading->source);
		if (!draft)
			return -ENOMEM;
		reading->draft = draft;
		check_name(reading, item_path, name);
		r = config_read_object(reading, item_path, item, &service_table, draft);
		if (r == 0 && json_is_object(item))
			r = config_check_service(reading, item_path, draft);
		reading->draft = NULL;
		if (r < 0)
			return r;
		reading->drafts[reading->n_drafts++] = TAKE_PTR(draft);
	}
	return 0;
}

/* ---- the rest of the top level -------------------------------------------------------------- */

static int read_api_group(struct config_reading *reading, const char *path, json_t *value,
			  const struct config_key *key, void *object)
{
	struct config *config = object;
	int r;

	if (config->api_group) {
		config_mistake(reading, path, "is set in %s already", reading->api_source);
		return 0;
	}
	r = config_read_text(reading, path, value, key, object);
	if (r < 0 || !config->api_group)
		return r;
	reading->api_source = strdup(reading->source);
	if (!reading->api_source)
		return -ENOMEM;
	r = account_group(config->api_group, &config->api_gid);
	if (r == -ENOENT)
		config_mistake(reading, path, "there is no group \"%s\"", config->api_group);
	else if (r < 0)
		config_mistake(reading, path, "group \"%s\": %s", config->api_group, strerror(-r));
	return r == -ENOMEM ? r : 0;
}

static int read_api(struct config_reading *reading, const char *path, json_t *value,
		    const struct config_key *key, void *object)
{
	static const struct config_key keys[] = {
		{.name = "group",
		 .read = read_api_group,
		 .offset = offsetof(struct config, api_group)},
	};
	static const struct config_table table = CONFIG_TABLE(keys);

	(void)key;
	return config_read_object(reading, path, value, &table, object);
}

static int read_rollouts_max(struct config_reading *reading, const char *path, json_t *value,
			     const struct config_key *key, void *object)
{
	if (reading->rollouts_source) {
		config_mistake(reading, path, "is set in %s already", reading->rollouts_source);
		return 0;
	}
	reading->rollouts_source = strdup(reading->source);
	if (!reading->rollouts_source)
		return -ENOMEM;
	return config_read_count(reading, path, value, key, object);
}

int config_read_root(struct config_reading *reading, json_t *root)
{
	static const struct config_key keys[] = {
		{.name = "$schema", .read = config_read_ignored_text},
		{.name = "source", .read = config_read_ignored_text},
		{.name = "api", .read = read_api},
		{.name = "rollouts_max",
		 .read = read_rollouts_max,
		 .offset = offsetof(struct config, rollouts_max),
		 .max = CONFIG_ROLLOUTS_MAX},
		{.name = "services", .read = read_services},
	};
	static const struct config_table table = CONFIG_TABLE(keys);

	return config_read_object(reading, "", root, &table, reading->config);
}
