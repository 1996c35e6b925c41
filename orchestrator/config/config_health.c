/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config_internal.h"

#include <stdio.h>
#include <string.h>

#include "common/duration.h"

#define HTTP_PATH_MAX 1024
#define HTTP_HOST_MAX 255

/* ---- requests ------------------------------------------------------------------------------- */

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
	else if (!config_is_plain(text))
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
	if (!config_is_plain(text) || strchr(text, '/'))
		config_mistake(reading, path, "\"%s\" is not a host name", text);
	else if (strlen(text) > HTTP_HOST_MAX)
		config_mistake(reading, path, "longer than %d bytes", HTTP_HOST_MAX);
	return 0;
}

/* ---- statuses ------------------------------------------------------------------------------- */

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

static void read_status(struct config_reading *reading, const char *path, const json_t *value,
			struct status_range *ranges, size_t *n)
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
	ranges[(*n)++] = (struct status_range){(uint16_t)first, (uint16_t)last};
}

void config_read_statuses(struct config_reading *reading, const char *path, json_t *value,
			  struct status_range ranges[static CONFIG_STATUSES_MAX], size_t *n)
{
	char item_path[CONFIG_JSON_PATH_MAX];
	const json_t *item;
	size_t i;

	if (!json_is_array(value)) {
		read_status(reading, path, value, ranges, n);
	} else if (!json_array_size(value)) {
		config_mistake(reading, path, "is empty: no answer would be good");
	} else if (json_array_size(value) > CONFIG_STATUSES_MAX) {
		config_mistake(reading, path, "more than %d entries", CONFIG_STATUSES_MAX);
	} else {
		json_array_foreach (value, i, item) {
			config_path_index(path, i, item_path);
			read_status(reading, item_path, item, ranges, n);
		}
	}
}

void config_default_statuses(struct status_range ranges[static CONFIG_STATUSES_MAX], size_t *n)
{
	if (!*n)
		ranges[(*n)++] = (struct status_range){200, 299};
}

/* ---- health --------------------------------------------------------------------------------- */

static int read_health_status(struct config_reading *reading, const char *path, json_t *value,
			      const struct config_key *key, void *object)
{
	struct health_config *health = &((struct config_draft *)object)->service.health;

	(void)key;
	config_read_statuses(reading, path, value, health->statuses, &health->n_statuses);
	return 0;
}

static void check_health(struct config_reading *reading, const char *path,
			 struct config_draft *draft)
{
	struct health_config *health = &draft->service.health;
	char start[DURATION_TEXT_MAX], other[DURATION_TEXT_MAX];
	uint64_t least_ms = (health->healthy - 1) * health->interval_ms;

	if (health->path && draft->notify)
		config_mistake(reading, path, "\"http\" and \"notify\" exclude each other");
	if (health->host && !health->path)
		config_mistake(reading, path, "\"host\" needs \"http\"");
	if (health->n_statuses && !health->path)
		config_mistake(reading, path, "\"status\" needs \"http\"");
	duration_format(health->start_timeout_ms, start);
	if (health->timeout_ms > health->start_timeout_ms)
		config_mistake(reading, path,
			       "\"timeout\" (%s) is longer than \"start_timeout\" (%s)",
			       duration_format(health->timeout_ms, other), start);
	if (!draft->notify && least_ms >= health->start_timeout_ms)
		config_mistake(reading, path,
			       "%u checks every \"interval\" take %s at least, but "
			       "\"start_timeout\" is %s",
			       health->healthy, duration_format(least_ms, other), start);

	health->kind = draft->notify  ? HEALTH_KIND_NOTIFY
		       : health->path ? HEALTH_KIND_HTTP
				      : HEALTH_KIND_CONNECT;
	if (health->path)
		config_default_statuses(health->statuses, &health->n_statuses);
}

int config_read_health(struct config_reading *reading, const char *path, json_t *value,
		       const struct config_key *key, void *object)
{
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "http", .read = read_http, DRAFT(service.health.path)},
		{.name = "host", .read = read_host, DRAFT(service.health.host)},
		{.name = "status", .read = read_health_status},
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
		check_health(reading, path, object);
	return r;
}
