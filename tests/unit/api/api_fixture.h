/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_fixture: the API over a real unix socket, with a backend that only notes what it is asked.
 * Clients are plain sockets; all waiting is done by running the event loop.
 */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/clock.h"
#include "orchestrator/api/api.h"
#include "tests/unit/fakes/count_fds.h"

#define DEADLINE_MS 10000
#define INPUT_MAX   (4 * 1024 * 1024)

static sd_event *event;
static struct events *events;
static struct api *api;
static struct error err;
static char folder[64], path[96];
static size_t fds_before;

/* ---- the backend ---------------------------------------------------------------------------- */

static struct {
	int orders;
	int gets;
	char service[64], order[64];
	char *body; /* as JSON text */
	bool list_fails;
	size_t limit;
	size_t made; /* how many connections there are */
	int reloads;
	int leaves, left;             /* asked for, and answered */
	bool mistaken;                /* the configuration is */
	struct api_reply *replies[8]; /* that "slow" has promised */
	size_t n_replies;
} seen;

static inline json_t *backend_list(void *userdata)
{
	assert_ptr_equal(userdata, &seen);
	return seen.list_fails ? NULL : json_pack("{s:[{s:s}]}", "services", "service", "web");
}

static inline json_t *backend_get(void *userdata, const char *service, struct api_problem *problem)
{
	(void)userdata;
	seen.gets++;
	snprintf(seen.service, sizeof(seen.service), "%s", service);
	if (strcmp(service, "web") == 0)
		return json_pack("{s:s}", "service", service);
	problem->status = 404;
	error_text(&problem->detail, 0, "no service \"%s\"", service);
	return NULL;
}

struct made {
	char service[64];
	size_t n, told;
	bool begun, ended;
};

static inline char *next_made(void *userdata)
{
	struct made *made = userdata;
	char *text = calloc(1, 8192);
	size_t length = 0;

	assert_non_null(text);
	if (made->ended)
		return text;
	if (!made->begun)
		length += (size_t)snprintf(text, 8192, "{\"service\":\"%s\",\"connections\":[",
					   made->service);
	made->begun = true;
	for (int k = 0; k < 100 && made->told < made->n; k++, made->told++)
		length += (size_t)snprintf(text + length, 8192 - length, "%s%s",
					   made->told ? "," : "", "{\"peer\":\"127.0.0.1:50123\"}");
	made->ended = made->told == made->n;
	if (made->ended)
		snprintf(text + length, 8192 - length, "]}\n");
	return text;
}

static inline int backend_connections(void *userdata, const char *service, size_t limit,
				      struct api_text *ret, struct api_problem *problem)
{
	struct made *made;

	(void)userdata;
	seen.limit = limit;
	if (strcmp(service, "web") != 0) {
		problem->status = 404;
		error_text(&problem->detail, 0, "no service \"%s\"", service);
		return -ENOENT;
	}
	made = calloc(1, sizeof(*made));
	assert_non_null(made);
	snprintf(made->service, sizeof(made->service), "%s", service);
	made->n = seen.made < limit ? seen.made : limit;
	*ret = (struct api_text){.next = next_made, .free = free, .userdata = made};
	return 0;
}

static inline json_t *backend_order(void *userdata, const char *service, const char *order,
				    const json_t *body, struct api_reply *reply,
				    struct api_problem *problem)
{
	(void)userdata;
	seen.orders++;
	snprintf(seen.service, sizeof(seen.service), "%s", service);
	snprintf(seen.order, sizeof(seen.order), "%s", order);
	free(seen.body);
	seen.body = json_dumps(body, JSON_COMPACT);
	if (strcmp(service, "busy") == 0) {
		problem->status = 409;
		problem->code = 6;
		problem->title = "Rollout in progress";
		error_text(&problem->detail, 0, "rollout 5 is at step verify");
		return NULL;
	}
	if (strcmp(service, "silent") == 0)
		return NULL;
	if (strcmp(service, "slow") == 0) {
		assert_true(seen.n_replies < 8);
		seen.replies[seen.n_replies++] = reply;
		api_reply_wait(reply);
		return NULL;
	}
	if (strcmp(order, "pause") == 0 || strcmp(order, "resume") == 0)
		return json_pack("{s:s, s:b}", "service", service, "paused",
				 strcmp(order, "pause") == 0);
	if (strcmp(service, "same") == 0)
		return json_pack("{s:s, s:b}", "service", service, "unchanged", 1);
	events_add(events, 0, service, "start", NULL); /* as a rollout does */
	return json_pack("{s:s, s:s, s:i}", "service", service, "order", order, "rollout", 1);
}

static inline json_t *backend_reload(void *userdata, struct api_reply *reply,
				     struct api_problem *problem)
{
	(void)userdata;
	(void)reply;
	seen.reloads++;
	problem->mistakes = json_pack("[s, s]", "one", "two \"2\"");
	if (!seen.mistaken) /* then they are not told, and not leaked */
		return json_pack("{s:[s]}", "changed", "web");
	problem->status = 422;
	error_text(&problem->detail, 0, "one");
	return NULL;
}

static inline json_t *backend_leave(void *userdata, struct api_problem *problem)
{
	(void)userdata;
	if (seen.leaves++ > 0) {
		problem->status = 503;
		error_text(&problem->detail, 0, "everything is being stopped");
		return NULL;
	}
	return json_pack("{s:i}", "pid", 5);
}

static inline void backend_leave_answered(void *userdata)
{
	assert_ptr_equal(userdata, &seen);
	seen.left++;
}

static inline json_t *backend_version(void *userdata)
{
	(void)userdata;
	return json_pack("{s:s}", "version", BATON_VERSION);
}

static const struct api_backend backend = {
	.list = backend_list,
	.get = backend_get,
	.connections = backend_connections,
	.order = backend_order,
	.reload = backend_reload,
	.leave = backend_leave,
	.leave_answered = backend_leave_answered,
	.version = backend_version,
};

/* ---- clients -------------------------------------------------------------------------------- */

struct client {
	int fd;
	bool ended;
	size_t length;
	char input[INPUT_MAX + 1];
};

static inline struct client *client_new(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct client *client = calloc(1, sizeof(*client));

	assert_non_null(client);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(client->fd >= 0);
	assert_int_equal(connect(client->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return client;
}

static inline void client_free(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	free(client);
}

static inline void turn(void)
{
	assert_true(sd_event_run(event, 1000) >= 0);
}

static inline void run_for(uint64_t ms)
{
	uint64_t end = clock_monotonic_ms() + ms;

	while (clock_monotonic_ms() < end)
		turn();
}

static inline void client_send(struct client *client, const char *data, size_t length)
{
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	while (length > 0 && clock_monotonic_ms() < end) {
		ssize_t n = send(client->fd, data, length, MSG_NOSIGNAL);

		/* The API may have answered and closed without reading all. */
		if (n < 0 && errno != EAGAIN)
			return;
		if (n > 0) {
			data += n;
			length -= (size_t)n;
		}
		turn();
	}
	assert_int_equal(length, 0);
}

static inline void client_say(struct client *client, const char *text)
{
	client_send(client, text, strlen(text));
}

static inline void client_receive(struct client *client)
{
	ssize_t n = recv(client->fd, client->input + client->length, INPUT_MAX - client->length, 0);

	if (n > 0)
		client->length += (size_t)n;
	else if (n == 0 || errno != EAGAIN)
		client->ended = true;
	client->input[client->length] = '\0';
}

/* Until @text has come (NULL: until the other side has closed). */
static inline void client_expect(struct client *client, const char *text)
{
	uint64_t end = clock_monotonic_ms() + DEADLINE_MS;

	while (!(text ? strstr(client->input, text) != NULL : client->ended) &&
	       clock_monotonic_ms() < end) {
		turn();
		client_receive(client);
		if (client->ended && text && !strstr(client->input, text))
			break;
	}
	if (text && !strstr(client->input, text))
		fail_msg("\"%s\" did not come, but \"%.1000s\"", text, client->input);
	if (!text)
		assert_true(client->ended);
}

static inline void client_forget(struct client *client)
{
	client->length = 0;
	client->input[0] = '\0';
}

static inline char *body_of(struct client *client)
{
	char *end = strstr(client->input, "\r\n\r\n");

	assert_non_null(end);
	return end + 4;
}

/* What came in chunks, as one (RFC 9112, 7.1). */
static inline void join_chunks(struct client *client)
{
	char *from, *to;
	size_t n;

	if (!strstr(client->input, "Transfer-Encoding: chunked\r\n"))
		return;
	from = to = body_of(client);
	while ((n = strtoul(from, &from, 16)) > 0) {
		from += 2;
		memmove(to, from, n);
		to += n;
		from += n + 2;
	}
	*to = '\0';
}

/* One request on a connection of its own; returns the status. Free *ret with client_free(). */
static inline int ask(const char *method, const char *target, const char *headers, const char *body,
		      size_t length, struct client **ret)
{
	struct client *client = client_new();
	char head[1024];
	int status = 0;

	snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s", method,
		 target, headers);
	client_say(client, head);
	if (body) {
		snprintf(head, sizeof(head), "Content-Length: %zu\r\n", length);
		client_say(client, head);
	}
	client_say(client, "\r\n");
	if (body)
		client_send(client, body, length);
	client_expect(client, NULL);
	assert_int_equal(sscanf(client->input, "HTTP/1.1 %d", &status), 1);
	join_chunks(client);
	*ret = client;
	return status;
}

static inline void check_ok(const char *method, const char *target, const char *body, int status,
			    const char *expected)
{
	struct client *client;

	assert_int_equal(ask(method, target, "", body, body ? strlen(body) : 0, &client), status);
	assert_string_equal(body_of(client), expected);
	client_free(client);
}

/* A problem document with @status, @code and a detail that contains @detail. */
static inline void check_problem(const char *method, const char *target, const char *body,
				 size_t length, int status, int code, const char *detail)
{
	struct client *client;
	json_t *json;

	assert_int_equal(ask(method, target, "", body, length, &client), status);
	assert_non_null(strstr(client->input, "Content-Type: application/problem+json\r\n"));
	json = json_loads(body_of(client), 0, NULL);
	assert_non_null(json);
	assert_int_equal(json_integer_value(json_object_get(json, "status")), status);
	assert_int_equal(json_integer_value(json_object_get(json, "code")), code);
	assert_non_null(json_string_value(json_object_get(json, "title")));
	if (!strstr(json_string_value(json_object_get(json, "detail")), detail))
		fail_msg("no \"%s\" in %s", detail, body_of(client));
	json_decref(json);
	client_free(client);
}

static inline int setup(void **state)
{
	(void)state;
	fds_before = count_fds();
	snprintf(folder, sizeof(folder), "/tmp/test_api.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/api.sock", folder);
	memset(&seen, 0, sizeof(seen));
	if (sd_event_new(&event) < 0 || events_new(&events) < 0)
		return -1;
	return api_open(event, path, (gid_t)-1, events, &backend, &seen, &api, &err);
}

static inline int teardown(void **state)
{
	(void)state;
	api_free(api);
	api = NULL;
	events_free(events);
	event = sd_event_unref(event);
	free(seen.body);
	assert_int_equal(rmdir(folder), 0); /* the socket file is gone */
	assert_int_equal(count_fds(), fds_before);
	return 0;
}
