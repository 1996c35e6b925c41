/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config_internal.h"

#include <ctype.h>
#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "common/vector.h"

/* Where a key of a check is stored. */
#define CHECK(member_) .offset = offsetof(struct config_check, member_)

#define HTTP_PATH_MAX    1024
#define HTTP_HOST_MAX    255
#define HTTP_METHOD_MAX  16
#define HTTP_HEADERS_MAX 16
#define HTTP_HEADER_MAX  500
#define HTTP_BODY_MAX    1024
#define GRPC_SERVICE_MAX 255

/* ---- requests ------------------------------------------------------------------------------- */

/* One of "http", "https", "http2". */
static int read_path(struct config_reading *reading, const char *path, json_t *value,
		     const struct config_key *key, void *object)
{
	struct config_check *draft = object;
	char **field = &draft->health.path;
	const char *text;
	int r;

	if (*field) {
		config_mistake(reading, path, "another kind of check is there already: leave one");
		return 0;
	}
	r = config_read_text(reading, path, value, key, object);
	text = *field;
	if (r < 0 || !text)
		return r;
	draft->question = key->name;
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

/* true, or the name of a service. */
static int read_grpc(struct config_reading *reading, const char *path, json_t *value,
		     const struct config_key *key, void *object)
{
	struct config_check *draft = object;
	struct health_config *health = &draft->health;
	const char *service = json_string_value(value);

	if (health->path) {
		config_mistake(reading, path, "another kind of check is there already: leave one");
		return 0;
	}
	if (!service && !json_is_true(value)) {
		config_wrong_type(reading, path, "true, or the name of a gRPC service", value);
		return 0;
	}
	if (service &&
	    (!service[0] || !config_is_plain(service) || strlen(service) > GRPC_SERVICE_MAX)) {
		config_mistake(reading, path, "\"%s\" is not the name of a gRPC service", service);
		return 0;
	}
	draft->question = key->name;
	health->path = strdup("/grpc.health.v1.Health/Check");
	health->grpc_service = strdup(service ? service : "");
	return health->path && health->grpc_service ? 0 : -ENOMEM;
}

static int read_host(struct config_reading *reading, const char *path, json_t *value,
		     const struct config_key *key, void *object)
{
	const struct config_check *draft = object;
	int r = config_read_text(reading, path, value, key, object);
	const char *text = draft->health.host;

	if (r < 0 || !text)
		return r;
	if (!config_is_plain(text) || strchr(text, '/'))
		config_mistake(reading, path, "\"%s\" is not a host name", text);
	else if (strlen(text) > HTTP_HOST_MAX)
		config_mistake(reading, path, "longer than %d bytes", HTTP_HOST_MAX);
	return 0;
}

static int read_method(struct config_reading *reading, const char *path, json_t *value,
		       const struct config_key *key, void *object)
{
	const struct config_check *draft = object;
	int r = config_read_text(reading, path, value, key, object);
	const char *text = draft->health.method;

	if (r < 0 || !text)
		return r;
	if (strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != strlen(text) ||
	    strlen(text) > HTTP_METHOD_MAX || strcmp(text, "CONNECT") == 0)
		config_mistake(reading, path, "\"%s\" is not a method (such as \"GET\", \"HEAD\")",
			       text);
	return 0;
}

/* RFC 9110, 5.6.2. */
static bool is_token(const char *text)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; text[i]; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr(others, text[i]))
			return false;
	return text[0] != '\0';
}

/* Those that the check makes itself, or that the answer's end depends on. */
static bool is_taken(const char *name)
{
	static const char *const names[] = {"Connection", "Content-Length", "Transfer-Encoding",
					    "Upgrade", "Expect"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcasecmp(name, names[i]) == 0)
			return true;
	return false;
}

static int read_header(struct config_reading *reading, const char *path, const char *name,
		       const json_t *value, char ***headers)
{
	const char *text = json_string_value(value);
	char *line;

	if (!text) {
		config_wrong_type(reading, path, "a string", value);
	} else if (!is_token(name)) {
		config_mistake(reading, path, "this is not the name of a header");
	} else if (strcasecmp(name, "Host") == 0) {
		config_mistake(reading, path, "write it as \"host\"");
	} else if (is_taken(name)) {
		config_mistake(reading, path, "a check says that itself: leave it out");
	} else if (strpbrk(text, "\r\n") || !text[0]) {
		config_mistake(reading, path, "is empty, or has a line end in it");
	} else if (strlen(name) + strlen(text) > HTTP_HEADER_MAX) {
		config_mistake(reading, path, "longer than %d bytes", HTTP_HEADER_MAX);
	} else {
		if (asprintf(&line, "%s: %s", name, text) < 0)
			return -ENOMEM;
		return vector_append(headers, line);
	}
	return 0;
}

static int read_headers(struct config_reading *reading, const char *path, json_t *value,
			const struct config_key *key, void *object)
{
	struct health_config *health = &((struct config_check *)object)->health;
	char item_path[CONFIG_JSON_PATH_MAX];
	const char *name;
	json_t *item;
	int r = 0;

	(void)key;
	if (!json_is_object(value)) {
		config_wrong_type(reading, path, "an object", value);
		return 0;
	}
	if (json_object_size(value) > HTTP_HEADERS_MAX) {
		config_mistake(reading, path, "more than %d entries", HTTP_HEADERS_MAX);
		return 0;
	}
	json_object_foreach (value, name, item) {
		config_path(path, name, item_path);
		r = read_header(reading, item_path, name, item, &health->headers);
		if (r < 0)
			break;
	}
	return r;
}

static int read_body(struct config_reading *reading, const char *path, json_t *value,
		     const struct config_key *key, void *object)
{
	const struct config_check *draft = object;
	int r = config_read_text(reading, path, value, key, object);
	const char *text = draft->health.body;
	char why[128];
	regex_t regex;

	if (r < 0 || !text)
		return r;
	if (strlen(text) > HTTP_BODY_MAX) {
		config_mistake(reading, path, "longer than %d bytes", HTTP_BODY_MAX);
		return 0;
	}
	/* What they would cost grows with more than the body's size. */
	for (const char *c = strchr(text, '\\'); c; c = strchr(c + 1 + (c[1] != '\0'), '\\'))
		if (c[1] >= '1' && c[1] <= '9') {
			config_mistake(reading, path, "has a reference back (\\%c) in it", c[1]);
			return 0;
		}
	r = regcomp(&regex, text, REG_EXTENDED | REG_NOSUB);
	if (r == 0) {
		regfree(&regex);
		return 0;
	}
	regerror(r, &regex, why, sizeof(why));
	config_mistake(reading, path, "\"%s\" is not an extended regular expression: %s", text,
		       why);
	return 0;
}

/* ---- TLS ------------------------------------------------------------------------------------ */

static int read_tls(struct config_reading *reading, const char *path, json_t *value,
		    const struct config_key *key, void *object)
{
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "name", .read = config_read_text, CHECK(health.tls_name)},
		{.name = "ca", .read = config_read_text, CHECK(health.tls_ca)},
		{.name = "verify", .read = config_read_bool, CHECK(tls_verify)},
	};
	/* clang-format on */
	static const struct config_table table = CONFIG_TABLE(keys);
	struct config_check *draft = object;
	struct health_config *health = &draft->health;
	int r;

	(void)key;
	draft->tls_given = true;
	if (json_is_boolean(value)) {
		health->tls = json_is_true(value);
		return 0;
	}
	health->tls = draft->tls_verify = true;
	r = config_read_object(reading, path, value, &table, object);
	health->tls_unverified = !draft->tls_verify;
	if (health->tls_unverified && health->tls_ca)
		config_mistake(reading, path, "\"ca\" is not used when \"verify\" is false");
	if (health->tls_name &&
	    (!config_is_plain(health->tls_name) || strpbrk(health->tls_name, "/:@?#") ||
	     strlen(health->tls_name) > HTTP_HOST_MAX))
		config_mistake(reading, path, "\"name\" is not a host name");
	if (health->tls_ca && health->tls_ca[0] != '/')
		config_mistake(reading, path, "\"ca\" is not an absolute path");
	return r;
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
	struct health_config *health = &((struct config_check *)object)->health;

	(void)key;
	config_read_statuses(reading, path, value, health->statuses, &health->n_statuses);
	return 0;
}

/* What only a request has. */
static void check_request(struct config_reading *reading, const char *path,
			  const struct config_check *draft)
{
	const struct health_config *health = &draft->health;
	const struct {
		const char *key;
		bool given;
	} keys[] = {
		{"host", health->host},     {"status", health->n_statuses > 0},
		{"method", health->method}, {"headers", health->headers},
		{"body", health->body},     {"follow", health->follow},
	};

	for (size_t i = 0; !health->path && i < sizeof(keys) / sizeof(keys[0]); i++)
		if (keys[i].given)
			config_mistake(reading, path, "\"%s\" needs \"http\"", keys[i].key);
	if (!health->path && draft->tls_given)
		config_mistake(reading, path, "\"tls\" needs \"https\", \"http2\" or \"grpc\"");
	if (health->body && health->method && strcmp(health->method, "HEAD") == 0)
		config_mistake(reading, path,
			       "an answer to \"HEAD\" has no body to match \"body\"");
	if (draft->notify && health->proxy_protocol)
		config_mistake(reading, path,
			       "\"proxy_protocol\" and \"notify\" exclude each other");
}

/* The word that asks says whether there is TLS, and which version of HTTP. */
static void check_kind(struct config_reading *reading, const char *path, struct config_check *draft)
{
	struct health_config *health = &draft->health;
	const char *question = draft->question ? draft->question : "";

	health->http2 = strcmp(question, "http2") == 0 || health->grpc_service;
	if (health->grpc_service &&
	    (health->method || health->body || health->n_statuses > 0 || health->follow))
		config_mistake(reading, path,
			       "\"grpc\" says itself what is asked and what is good: leave "
			       "\"method\", \"status\", \"body\" and \"follow\" out");
	if (strcmp(question, "http") == 0 && health->tls)
		config_mistake(reading, path, "\"http\" has no \"tls\": write \"https\"");
	if (strcmp(question, "https") == 0) {
		if (draft->tls_given && !health->tls)
			config_mistake(reading, path, "\"https\" without \"tls\": write \"http\"");
		health->tls = true;
	}
}

/* A check alone; what the others of its service have to do with it is for config_checks.c. */
static void check_health(struct config_reading *reading, const char *path,
			 struct config_check *draft)
{
	struct health_config *health = &draft->health;

	config_check_health_exec(reading, path, draft);
	if (health->path && draft->notify)
		config_mistake(reading, path, "\"%s\" and \"notify\" exclude each other",
			       draft->question);
	if (health->listen.length > 0 && draft->notify)
		config_mistake(reading, path,
			       "\"listen\" and \"notify\" exclude each other: no address is asked");
	check_request(reading, path, draft);
	check_kind(reading, path, draft);
	health->kind = draft->notify  ? HEALTH_KIND_NOTIFY
		       : health->exec ? HEALTH_KIND_EXEC
		       : health->path ? HEALTH_KIND_HTTP
				      : HEALTH_KIND_CONNECT;
	if (health->path)
		config_default_statuses(health->statuses, &health->n_statuses);
}

/* Whether the service has it is known when all of the service has been read. */
static int read_listen(struct config_reading *reading, const char *path, json_t *value,
		       const struct config_key *key, void *object)
{
	struct config_check *draft = object;
	struct error err;

	(void)key;
	if (!json_is_string(value))
		config_wrong_type(reading, path, "one of the service's addresses, as a string",
				  value);
	else if (address_parse(json_string_value(value), &draft->health.listen, &err) < 0)
		config_mistake(reading, path, "%s", err.text);
	return 0;
}

int config_read_check(struct config_reading *reading, const char *path, json_t *value,
		      struct config_check *draft)
{
	/* clang-format off */
	static const struct config_key keys[] = {
		{.name = "http", .read = read_path, CHECK(health.path)},
		{.name = "https", .read = read_path, CHECK(health.path)},
		{.name = "http2", .read = read_path, CHECK(health.path)},
		{.name = "grpc", .read = read_grpc},
		{.name = "tls", .read = read_tls},
		{.name = "host", .read = read_host, CHECK(health.host)},
		{.name = "method", .read = read_method, CHECK(health.method)},
		{.name = "headers", .read = read_headers},
		{.name = "body", .read = read_body, CHECK(health.body)},
		{.name = "follow", .read = config_read_bool, CHECK(health.follow)},
		{.name = "proxy_protocol", .read = config_read_count,
		 CHECK(health.proxy_protocol), .min = 1, .max = 2},
		{.name = "status", .read = read_health_status},
		{.name = "interval", .read = config_read_duration,
		 CHECK(health.interval_ms),
		 .min = 10, .max = CONFIG_HOUR_MS},
		{.name = "timeout", .read = config_read_duration, CHECK(health.timeout_ms),
		 .min = 1, .max = CONFIG_HOUR_MS},
		{.name = "healthy", .read = config_read_count, CHECK(health.healthy),
		 .min = 1, .max = 1000},
		{.name = "unhealthy", .read = config_read_count, CHECK(health.unhealthy),
		 .min = 1, .max = 1000},
		{.name = "start_timeout", .read = config_read_duration,
		 CHECK(start_timeout_ms), .min = 1, .max = CONFIG_DAY_MS},
		{.name = "notify", .read = config_read_bool, CHECK(notify)},
		{.name = "listen", .read = read_listen},
		{.name = "exec", .read = config_read_command, CHECK(health.exec)},
	};
	/* clang-format on */
	static const struct config_table table = CONFIG_TABLE(keys);
	size_t before = reading->mistakes->total;
	int r = config_read_object(reading, path, value, &table, draft);

	/* What contradicts a value that was not understood would only confuse. */
	if (r == 0 && reading->mistakes->total == before)
		check_health(reading, path, draft);
	return r;
}
