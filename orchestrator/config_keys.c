/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/paths.h"
#include "orchestrator/account.h"
#include "orchestrator/environment.h"
#include "orchestrator/vector.h"

#define SECOND_MS 1000ULL
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)

#define HTTP_PATH_MAX 1024
#define HTTP_HOST_MAX 255

/* ---- command, environment ------------------------------------------------------------------- */

static int read_command(struct config_reading *reading, const char *path, json_t *value,
			const struct config_key *key, void *object)
{
	struct config_draft *draft = object;
	size_t before = reading->mistakes->total;
	char item_path[CONFIG_JSON_PATH_MAX];
	const json_t *item;
	size_t i;

	(void)key;
	if (!json_is_array(value))
		config_wrong_type(reading, path, "an array of strings", value);
	else if (!json_array_size(value))
		config_mistake(reading, path, "is empty: the program to run is missing");
	else if (json_array_size(value) > CONFIG_ARGUMENTS_MAX)
		config_mistake(reading, path, "more than %d arguments", CONFIG_ARGUMENTS_MAX);
	json_array_foreach (value, i, item) {
		char *text;

		config_path_index(path, i, item_path);
		if (i >= CONFIG_ARGUMENTS_MAX)
			break;
		if (!json_is_string(item)) {
			config_wrong_type(reading, item_path, "a string", item);
			continue;
		}
		if (i == 0 && !json_string_length(item))
			config_mistake(reading, item_path,
				       "is empty: the program to run is missing");
		text = strdup(json_string_value(item));
		if (!text || vector_append(&draft->service.command, text) < 0)
			return -ENOMEM;
	}
	draft->command_bad = reading->mistakes->total > before;
	return 0;
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
	char item_path[CONFIG_JSON_PATH_MAX];
	const json_t *item;
	size_t i;

	(void)key;
	if (json_is_string(value)) {
		draft->listen_is_text = true;
		read_endpoint(reading, path, value, 0, draft);
	} else if (!json_is_array(value)) {
		config_wrong_type(reading, path, "a string or an array of strings", value);
	} else if (!json_array_size(value)) {
		config_mistake(reading, path, "is empty: at least one address is needed");
	} else if (json_array_size(value) > CONFIG_LISTEN_MAX) {
		config_mistake(reading, path, "more than %d addresses", CONFIG_LISTEN_MAX);
	} else {
		json_array_foreach (value, i, item) {
			config_path_index(path, i, item_path);
			read_endpoint(reading, item_path, item, i, draft);
		}
	}
	return 0;
}

/* ---- health --------------------------------------------------------------------------------- */

/* Nothing that could end a line of a request or hide in it. */
static bool is_plain(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text <= ' ' || *text == 0x7f)
			return false;
	return true;
}

static int read_http(struct config_reading *reading, const char *path, json_t *value,
		     const struct config_key *key, void *object)
{
	const struct config_draft *draft = object;
	int r = config_read_text(reading, path, value, key, object);
	const char *text = draft->service.health.path;

	if (r < 0 || !text)
		return r;
	if (text[0] != '/')
		config_mistake(reading, path,
			       "\"%s\" does not start with \"/\" (it is a path: \"/healthz\")",
			       text);
	else if (!is_plain(text))
		config_mistake(reading, path,
			       "\"%s\" has a blank or control character in it; write it as %%20",
			       text);
	else if (strlen(text) > HTTP_PATH_MAX)
		config_mistake(reading, path, "longer than %d bytes", HTTP_PATH_MAX);
	return 0;
}

static int read_host(struct config_reading *reading, const char *path, json_t *value,
		     const struct config_key *key, void *object)
{
	const struct config_draft *draft = object;
	int r = config_read_text(reading, path, value, key, object);
	const char *text = draft->service.health.host;

	if (r < 0 || !text)
		return r;
	if (!is_plain(text) || strchr(text, '/'))
		config_mistake(reading, path, "\"%s\" is not a host name", text);
	else if (strlen(text) > HTTP_HOST_MAX)
		config_mistake(reading, path, "longer than %d bytes", HTTP_HOST_MAX);
	return 0;
}

/* "200" or "200-399": three digits each, nothing else. */
static bool parse_statuses(const char *text, unsigned *ret_first, unsigned *ret_last)
{
	unsigned first, last;
	int n = 0;

	if (strspn(text, "0123456789-") != strlen(text) || text[0] == '-')
		return false;
	if (sscanf(text, "%3u%n", &first, &n) == 1 && n == 3 && !text[3])
		last = first;
	else if (sscanf(text, "%3u-%3u%n", &first, &last, &n) != 2 || n != 7 || text[7])
		return false;
	*ret_first = first;
	*ret_last = last;
	return true;
}

static void read_status_item(struct config_reading *reading, const char *path, json_t *value,
			     struct health_config *health)
{
	unsigned first = 0, last = 0;
	bool good;

	if (json_is_integer(value)) {
		json_int_t number = json_integer_value(value);

		good = number >= 100 && number <= 599;
		first = last = good ? (unsigned)number : 0;
	} else if (json_is_string(value)) {
		good = parse_statuses(json_string_value(value), &first, &last) && first >= 100 &&
		       last <= 599 && first <= last;
	} else {
		config_wrong_type(reading, path, "a status such as 200 or \"200-399\"", value);
		return;
	}
	if (!good) {
		config_mistake(reading, path,
			       "not an HTTP status (expected 100 to 599, or a range: \"200-399\")");
		return;
	}
	health->statuses[health->n_statuses].first = (uint16_t)first;
	health->statuses[health->n_statuses].last = (uint16_t)last;
	health->n_statuses++;
}

static int read_status(struct config_reading *reading, const char *path, json_t *value,
		       const struct config_key *key, void *object)
{
	struct config_draft *draft = object;
	char item_path[CONFIG_JSON_PATH_MAX];
	json_t *item;
	size_t i;

	(void)key;
	if (!json_is_array(value)) {
		read_status_item(reading, path, value, &draft->service.health);
	} else if (!json_array_size(value)) {
		config_mistake(reading, path, "is empty: no answer would be good");
	} else if (json_array_size(value) > CONFIG_STATUSES_MAX) {
		config_mistake(reading, path, "more than %d entries", CONFIG_STATUSES_MAX);
	} else {
		json_array_foreach (value, i, item) {
			config_path_index(path, i, item_path);
			read_status_item(reading, item_path, item, &draft->service.health);
		}
	}
	return 0;
}

#define DRAFT(member_) .offset = offsetof(struct config_draft, member_)

static int read_health(struct config_reading *reading, const char *path, json_t *value,
		       const struct config_key *key, void *object)
{
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "http", .read = read_http, DRAFT(service.health.path)},
		{.name = "host", .read = read_host, DRAFT(service.health.host)},
		{.name = "status", .read = read_status},
		{.name = "interval", .read = config_read_duration,
		 DRAFT(service.health.interval_ms),
		 .min = 10, .max = HOUR_MS},
		{.name = "timeout", .read = config_read_duration, DRAFT(service.health.timeout_ms),
		 .min = 1, .max = HOUR_MS},
		{.name = "healthy", .read = config_read_count, DRAFT(service.health.healthy),
		 .min = 1, .max = 1000},
		{.name = "unhealthy", .read = config_read_count, DRAFT(service.health.unhealthy),
		 .min = 1, .max = 1000},
		{.name = "start_timeout", .read = config_read_duration,
		 DRAFT(service.health.start_timeout_ms), .min = 1, .max = DAY_MS},
		{.name = "notify", .read = config_read_bool, DRAFT(notify)},
	};
	/* clang-format on */
	static const struct config_table table = CONFIG_TABLE(keys);
	size_t before = reading->mistakes->total;
	int r;

	(void)key;
	r = config_read_object(reading, path, value, &table, object);
	/* What contradicts a value that was not understood would only confuse. */
	if (r == 0 && reading->mistakes->total == before)
		config_check_health(reading, path, object);
	return r;
}

/* ---- rollout, drain ------------------------------------------------------------------------- */

static int read_rollout(struct config_reading *reading, const char *path, json_t *value,
			const struct config_key *key, void *object)
{
	static const struct config_word strategies[] = {
		{"blue-green", NULL},
		{"canary", "blue-green"},
		{"rolling", "blue-green"},
		{NULL, NULL},
	};
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "strategy", .read = config_read_word, .words = strategies},
		{.name = "bake", .read = config_read_duration, DRAFT(service.rollout.bake_ms),
		 .max = 7 * DAY_MS},
		{.name = "settle_timeout", .read = config_read_duration,
		 DRAFT(service.rollout.settle_timeout_ms), .max = HOUR_MS},
	};
	/* clang-format on */
	static const struct config_table table = CONFIG_TABLE(keys);

	(void)key;
	return config_read_object(reading, path, value, &table, object);
}

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
	else
		draft->service.drain.signal = number;
	return 0;
}

static int read_drain(struct config_reading *reading, const char *path, json_t *value,
		      const struct config_key *key, void *object)
{
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "signal", .read = read_signal},
		{.name = "timeout", .read = config_read_duration, DRAFT(service.drain.timeout_ms),
		 .max = 30 * DAY_MS},
		{.name = "kill_timeout", .read = config_read_duration,
		 DRAFT(service.drain.kill_timeout_ms), .max = DAY_MS},
		{.name = "leave_timeout", .read = config_read_duration,
		 DRAFT(service.drain.leave_timeout_ms), .max = HOUR_MS},
	};
	/* clang-format on */
	static const struct config_table table = CONFIG_TABLE(keys);

	(void)key;
	return config_read_object(reading, path, value, &table, object);
}

/* ---- services ------------------------------------------------------------------------------- */

static const struct config_word modes[] = {
	{"auto", NULL}, {"inherit", NULL}, {"native", "inherit"}, {"transparent", "inherit"},
	{NULL, NULL},
};

static const struct config_word tiers[] = {
	{"auto", NULL}, {"ebpf", NULL}, {"cbpf", "ebpf"}, {"hash", "ebpf"}, {NULL, NULL},
};

/* clang-format off */
static const struct config_key service_keys[] = {
	{.name = "command", .read = read_command, .required = true},
	{.name = "listen", .read = read_listen, .required = true},
	{.name = "mode", .read = config_read_word, .words = modes},
	{.name = "steering", .read = config_read_word, .words = tiers},
	{.name = "instances", .read = config_read_count, DRAFT(service.instances),
	 .min = 1, .max = CONFIG_INSTANCES_MAX},
	{.name = "backlog", .read = config_read_count,
	 DRAFT(service.backlog), .min = 1, .max = 65535},
	{.name = "nonblocking", .read = config_read_bool, DRAFT(service.nonblocking)},
	{.name = "user", .read = config_read_text, DRAFT(service.user)},
	{.name = "group", .read = config_read_text, DRAFT(service.group)},
	{.name = "directory", .read = read_directory, DRAFT(service.directory)},
	{.name = "environment", .read = read_environment},
	{.name = "environment_inherit", .read = config_read_bool,
	 DRAFT(service.environment_inherit)},
	{.name = "environment_file", .read = read_environment_file,
	 DRAFT(service.environment_file)},
	{.name = "health", .read = read_health},
	{.name = "rollout", .read = read_rollout},
	{.name = "drain", .read = read_drain},
};
/* clang-format on */

static const struct config_table service_table = CONFIG_TABLE(service_keys);

/* config_read_count stores 32 bits. */
_Static_assert(sizeof(((struct service_config *)NULL)->backlog) == sizeof(uint32_t), "backlog");

struct config_draft *config_draft_new(const char *name, const char *source)
{
	cleanup(config_draft_free) struct config_draft *draft = calloc(1, sizeof(*draft));

	if (!draft)
		return NULL;
	draft->source = strdup(source);
	draft->service = (struct service_config){
		.name = strdup(name),
		.backlog = 4096,
		.instances = 1,
		.health = {.interval_ms = SECOND_MS,
			   .timeout_ms = 2 * SECOND_MS,
			   .healthy = 2,
			   .unhealthy = 3,
			   .start_timeout_ms = MINUTE_MS},
		.rollout = {.settle_timeout_ms = 2 * SECOND_MS},
		.drain = {.signal = SIGTERM,
			  .timeout_ms = 30 * SECOND_MS,
			  .kill_timeout_ms = 5 * SECOND_MS,
			  .leave_timeout_ms = SECOND_MS},
	};
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
		check_name(reading, item_path, name);
		draft = config_draft_new(name, reading->source);
		if (!draft)
			return -ENOMEM;
		r = config_read_object(reading, item_path, item, &service_table, draft);
		if (r == 0 && json_is_object(item))
			r = config_check_service(reading, item_path, draft);
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

int config_read_root(struct config_reading *reading, json_t *root)
{
	static const struct config_key keys[] = {
		{.name = "$schema", .read = config_read_ignored_text},
		{.name = "source", .read = config_read_ignored_text},
		{.name = "api", .read = read_api},
		{.name = "services", .read = read_services},
	};
	static const struct config_table table = CONFIG_TABLE(keys);

	return config_read_object(reading, "", root, &table, reading->config);
}
