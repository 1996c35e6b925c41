/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config_internal.h"

#include <stdio.h>
#include <string.h>

#define HTTP_PATH_MAX 1024
#define HTTP_HOST_MAX 255

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

int config_read_health(struct config_reading *reading, const char *path, json_t *value,
		       const struct config_key *key, void *object)
{
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "http", .read = read_http, DRAFT(service.health.path)},
		{.name = "host", .read = read_host, DRAFT(service.health.host)},
		{.name = "status", .read = read_status},
		{.name = "interval", .read = config_read_duration,
		 DRAFT(service.health.interval_ms),
		 .min = 10, .max = CONFIG_HOUR_MS},
		{.name = "timeout", .read = config_read_duration, DRAFT(service.health.timeout_ms),
		 .min = 1, .max = CONFIG_HOUR_MS},
		{.name = "healthy", .read = config_read_count, DRAFT(service.health.healthy),
		 .min = 1, .max = 1000},
		{.name = "unhealthy", .read = config_read_count, DRAFT(service.health.unhealthy),
		 .min = 1, .max = 1000},
		{.name = "start_timeout", .read = config_read_duration,
		 DRAFT(service.health.start_timeout_ms), .min = 1, .max = CONFIG_DAY_MS},
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

int config_read_rollout(struct config_reading *reading, const char *path, json_t *value,
			const struct config_key *key, void *object)
{
	static const struct config_word strategies[] = {
		{"blue-green", 0, NULL},
		{"canary", 0, "blue-green"},
		{"rolling", 0, "blue-green"},
		{NULL, 0, NULL},
	};
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "strategy", .read = config_read_ignored_word, .words = strategies},
		{.name = "bake", .read = config_read_duration, DRAFT(service.rollout.bake_ms),
		 .max = 7 * CONFIG_DAY_MS},
		{.name = "settle_timeout", .read = config_read_duration,
		 DRAFT(service.rollout.settle_timeout_ms), .max = CONFIG_HOUR_MS},
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
	if (!number || unfit)
		return 0;
	draft->service.drain.signal = number;
	draft->drain_signal_given = true;
	return 0;
}

int config_read_drain(struct config_reading *reading, const char *path, json_t *value,
		      const struct config_key *key, void *object)
{
	static const struct config_word waits[] = {
		{"exit", DRAIN_WAIT_EXIT, NULL},
		{"connections", DRAIN_WAIT_CONNECTIONS, NULL},
		{NULL, 0, NULL},
	};
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "wait", .read = config_read_word, .words = waits,
		 DRAFT(service.drain.wait)},
		{.name = "idle_timeout", .read = config_read_duration,
		 DRAFT(service.drain.idle_timeout_ms), .max = 30 * CONFIG_DAY_MS},
		{.name = "signal", .read = read_signal},
		{.name = "timeout", .read = config_read_duration, DRAFT(service.drain.timeout_ms),
		 .max = 30 * CONFIG_DAY_MS},
		{.name = "kill_timeout", .read = config_read_duration,
		 DRAFT(service.drain.kill_timeout_ms), .max = CONFIG_DAY_MS},
		{.name = "leave_timeout", .read = config_read_duration,
		 DRAFT(service.drain.leave_timeout_ms), .max = CONFIG_HOUR_MS},
	};
	/* clang-format on */
	static const struct config_table table = CONFIG_TABLE(keys);
	const struct config_draft *draft = object;
	char signal_path[CONFIG_JSON_PATH_MAX];
	int r;

	(void)key;
	r = config_read_object(reading, path, value, &table, object);
	if (r < 0 || !draft->drain_signal_given || draft->service.drain.wait == DRAIN_WAIT_EXIT)
		return r;
	config_path(path, "signal", signal_path);
	config_mistake(reading, signal_path,
		       "is not sent where \"wait\" is \"connections\": leave it out, or set "
		       "\"wait\" to \"exit\"");
	return 0;
}
