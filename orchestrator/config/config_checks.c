/* SPDX-License-Identifier: BSD-2-Clause */
/* "health": one check or several, and what they have to do with each other. */
#include "orchestrator/config/config_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/duration.h"

#define START_TIMEOUT_MS CONFIG_MINUTE_MS

static struct config_check default_check(void)
{
	return (struct config_check){.health = {.interval_ms = CONFIG_SECOND_MS,
						.timeout_ms = 2 * CONFIG_SECOND_MS,
						.healthy = 2,
						.unhealthy = 3}};
}

/* ---- kinds ---------------------------------------------------------------------------------- */

/* Each kind of check: what people call it, and whether it asks at an address of the service. */
static const struct {
	const char *name;
	bool asks;
} kinds[] = {
	[HEALTH_KIND_CONNECT] = {"connect", true},
	[HEALTH_KIND_HTTP] = {"http", true},
	[HEALTH_KIND_EXEC] = {"exec", true},
	[HEALTH_KIND_NOTIFY] = {"notify", false},
};

bool health_config_asks(const struct health_config *check)
{
	return kinds[check->kind].asks;
}

const char *health_config_name(const struct health_config *check)
{
	if (check->grpc_service)
		return "grpc";
	if (check->http2)
		return "http2";
	return check->tls ? "https" : kinds[check->kind].name;
}

size_t service_config_asked(const struct service_config *service, const struct health_config *check)
{
	if (!health_config_asks(check))
		return service->n_listen;
	for (size_t k = 0; check->listen.length > 0; k++)
		if (k == service->n_listen || address_equal(&service->listen[k], &check->listen))
			return k;
	return 0;
}

/* ---- reading -------------------------------------------------------------------------------- */

void config_check_path(const char *path, const struct config_draft *draft, size_t k,
		       char ret[static CONFIG_JSON_PATH_MAX])
{
	if (draft->health_is_array)
		config_path_index(path, k, ret);
	else
		snprintf(ret, CONFIG_JSON_PATH_MAX, "%s", path);
}

/* Can the check @k be good within the time that all of them have? */
static void check_times(struct config_reading *reading, const char *path,
			const struct config_draft *draft, size_t k)
{
	const struct health_config *check = &draft->service.health.list[k];
	uint64_t limit_ms = draft->service.health.start_timeout_ms;
	uint64_t least_ms = (check->healthy - 1) * check->interval_ms;
	char start[DURATION_TEXT_MAX], other[DURATION_TEXT_MAX];
	char item_path[CONFIG_JSON_PATH_MAX];

	config_check_path(path, draft, k, item_path);
	duration_format(limit_ms, start);
	if (check->timeout_ms > limit_ms)
		config_mistake(reading, item_path,
			       "\"timeout\" (%s) is longer than \"start_timeout\" (%s)",
			       duration_format(check->timeout_ms, other), start);
	if (check->kind != HEALTH_KIND_NOTIFY && least_ms >= limit_ms)
		config_mistake(reading, item_path,
			       "%u checks every \"interval\" take %s at least, but "
			       "\"start_timeout\" is %s",
			       check->healthy, duration_format(least_ms, other), start);
}

/* One server says that it is ready, once. */
static void check_notify(struct config_reading *reading, const char *path,
			 const struct config_draft *draft)
{
	char first[CONFIG_JSON_PATH_MAX], item_path[CONFIG_JSON_PATH_MAX];
	const struct checks_config *health = &draft->service.health;
	bool found = false;

	for (size_t k = 0; k < health->n; k++) {
		if (health->list[k].kind != HEALTH_KIND_NOTIFY)
			continue;
		config_check_path(path, draft, k, item_path);
		if (found)
			config_mistake(reading, item_path, "\"notify\" is in %s already", first);
		else
			memcpy(first, item_path, sizeof(first));
		found = true;
	}
}

/* @value is one check; it becomes the last of the draft, which has room for it. */
static int read_one(struct config_reading *reading, const char *path, json_t *value,
		    struct config_draft *draft)
{
	struct checks_config *health = &draft->service.health;
	struct config_check check = default_check();
	int r = config_read_check(reading, path, value, &check);

	health->list[health->n++] = check.health;
	if (check.start_timeout_ms > health->start_timeout_ms)
		health->start_timeout_ms = check.start_timeout_ms;
	return r;
}

static int read_each(struct config_reading *reading, const char *path, json_t *value,
		     struct config_draft *draft)
{
	char item_path[CONFIG_JSON_PATH_MAX];
	json_t *item;
	size_t i;
	int r = 0;

	if (!draft->health_is_array)
		return read_one(reading, path, value, draft);
	json_array_foreach (value, i, item) {
		config_path_index(path, i, item_path);
		if (r == 0)
			r = read_one(reading, item_path, item, draft);
	}
	return r;
}

int config_read_health(struct config_reading *reading, const char *path, json_t *value,
		       const struct config_key *key, void *object)
{
	struct config_draft *draft = object;
	struct checks_config *health = &draft->service.health;
	size_t before = reading->mistakes->total,
	       n = json_is_array(value) ? json_array_size(value) : 1;
	int r;

	(void)key;
	draft->health_is_array = json_is_array(value);
	if (!json_is_object(value) && !json_is_array(value))
		config_wrong_type(reading, path, "an object or an array of objects", value);
	else if (n == 0)
		config_mistake(reading, path,
			       "is empty: leave it out, and each address is asked for a "
			       "connection");
	else if (n > CONFIG_CHECKS_MAX)
		config_mistake(reading, path, "%zu checks: at most %d are possible", n,
			       CONFIG_CHECKS_MAX);
	if (reading->mistakes->total > before)
		return 0;
	health->list = calloc(n, sizeof(*health->list));
	if (!health->list)
		return -ENOMEM;
	r = read_each(reading, path, value, draft);
	if (health->start_timeout_ms == 0)
		health->start_timeout_ms = START_TIMEOUT_MS;
	/* What contradicts a value that was not understood would only confuse. */
	if (r < 0 || reading->mistakes->total > before)
		return r;
	for (size_t k = 0; k < health->n; k++)
		check_times(reading, path, draft, k);
	check_notify(reading, path, draft);
	return 0;
}

/* ---- the service as a whole ----------------------------------------------------------------- */

/* "A", "B" or "C" */
static void list_addresses(const struct service_config *service, char *ret, size_t size)
{
	size_t n = 0;

	ret[0] = '\0';
	for (size_t k = 0; k < service->n_listen && n < size; k++) {
		size_t left = service->n_listen - k - 1;

		n += (size_t)snprintf(ret + n, size - n, "\"%s\"%s", service->listen[k].text,
				      left > 1    ? ", "
				      : left == 1 ? " or "
						  : "");
	}
}

static int put_default(struct checks_config *health)
{
	health->list = calloc(1, sizeof(*health->list));
	if (!health->list)
		return -ENOMEM;
	health->list[health->n++] = default_check().health;
	health->start_timeout_ms = START_TIMEOUT_MS;
	return 0;
}

int config_check_checks(struct config_reading *reading, const char *path,
			struct config_draft *draft)
{
	const struct service_config *service = &draft->service;
	char health[CONFIG_JSON_PATH_MAX], item_path[CONFIG_JSON_PATH_MAX];
	char listen_path[CONFIG_JSON_PATH_MAX], expected[768];

	if (service->health.n == 0)
		return put_default(&draft->service.health);
	/* Which addresses there are is not known if some were not understood. */
	if (draft->listen_bad || service->n_listen == 0)
		return 0;
	config_path(path, "health", health);
	list_addresses(service, expected, sizeof(expected));
	for (size_t k = 0; k < service->health.n; k++) {
		const struct health_config *check = &service->health.list[k];

		if (!health_config_asks(check) ||
		    service_config_asked(service, check) < service->n_listen)
			continue;
		config_check_path(health, draft, k, item_path);
		config_path(item_path, "listen", listen_path);
		config_mistake(reading, listen_path,
			       "\"%s\" is no address of this service (expected %s)",
			       check->listen.text, expected);
	}
	return 0;
}
