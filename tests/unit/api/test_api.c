/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The API over a real unix socket, with a backend that only notes what it is asked. Clients are
 * plain sockets; all waiting is done by running the event loop.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/clock.h"
#include "orchestrator/api/api.h"

#define DEADLINE_MS 10000
#define INPUT_MAX   (4 * 1024 * 1024)

static sd_event *event;
static struct events *events;
static struct api *api;
static struct error err;
static char folder[64], path[96];
static int fds_before;

/* ---- the backend ---------------------------------------------------------------------------- */

static struct {
	int orders;
	char service[64], order[64];
	char *body; /* as JSON text */
	bool list_fails;
	size_t limit;
	size_t made; /* how many connections there are */
	int reloads;
	bool mistaken; /* the configuration is */
} seen;

static json_t *backend_list(void *userdata)
{
	assert_ptr_equal(userdata, &seen);
	return seen.list_fails ? NULL : json_pack("{s:[{s:s}]}", "services", "service", "web");
}

static json_t *backend_get(void *userdata, const char *service, struct api_problem *problem)
{
	(void)userdata;
	snprintf(seen.service, sizeof(seen.service), "%s", service);
	if (strcmp(service, "web") == 0)
		return json_pack("{s:s}", "service", service);
	problem->status = 404;
	error_text(&problem->detail, 0, "no service \"%s\"", service);
	return NULL;
}

static json_t *backend_connections(void *userdata, const char *service, size_t limit,
				   struct api_problem *problem)
{
	json_t *list = json_array();

	(void)userdata;
	seen.limit = limit;
	if (strcmp(service, "web") != 0) {
		json_decref(list);
		problem->status = 404;
		error_text(&problem->detail, 0, "no service \"%s\"", service);
		return NULL;
	}
	for (size_t i = 0; i < seen.made && i < limit; i++)
		json_array_append_new(list, json_pack("{s:s}", "peer", "127.0.0.1:50123"));
	return json_pack("{s:s, s:o}", "service", service, "connections", list);
}

static json_t *backend_order(void *userdata, const char *service, const char *order,
			     const json_t *body, struct api_problem *problem)
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
	if (strcmp(order, "pause") == 0 || strcmp(order, "resume") == 0)
		return json_pack("{s:s, s:b}", "service", service, "paused",
				 strcmp(order, "pause") == 0);
	if (strcmp(service, "same") == 0)
		return json_pack("{s:s, s:b}", "service", service, "unchanged", 1);
	events_add(events, 0, service, "start", NULL); /* as a rollout does */
	return json_pack("{s:s, s:s, s:i}", "service", service, "order", order, "rollout", 1);
}

static json_t *backend_reload(void *userdata, struct api_problem *problem)
{
	(void)userdata;
	seen.reloads++;
	problem->mistakes = json_pack("[s, s]", "one", "two \"2\"");
	if (!seen.mistaken) /* then they are not told, and not leaked */
		return json_pack("{s:[s]}", "changed", "web");
	problem->status = 422;
	error_text(&problem->detail, 0, "one");
	return NULL;
}

static json_t *backend_version(void *userdata)
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
	.version = backend_version,
};

/* ---- clients -------------------------------------------------------------------------------- */

struct client {
	int fd;
	bool ended;
	size_t length;
	char input[INPUT_MAX + 1];
};

static struct client *client_new(void)
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

static void client_free(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	free(client);
}

static void turn(void)
{
	assert_true(sd_event_run(event, 1000) >= 0);
}

static void run_for(uint64_t ms)
{
	uint64_t end = clock_monotonic_ms() + ms;

	while (clock_monotonic_ms() < end)
		turn();
}

static void client_send(struct client *client, const char *data, size_t length)
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

static void client_say(struct client *client, const char *text)
{
	client_send(client, text, strlen(text));
}

static void client_receive(struct client *client)
{
	ssize_t n = recv(client->fd, client->input + client->length, INPUT_MAX - client->length, 0);

	if (n > 0)
		client->length += (size_t)n;
	else if (n == 0 || errno != EAGAIN)
		client->ended = true;
	client->input[client->length] = '\0';
}

/* Until @text has come (NULL: until the other side has closed). */
static void client_expect(struct client *client, const char *text)
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

static void client_forget(struct client *client)
{
	client->length = 0;
	client->input[0] = '\0';
}

static char *body_of(struct client *client)
{
	char *end = strstr(client->input, "\r\n\r\n");

	assert_non_null(end);
	return end + 4;
}

/* One request on a connection of its own; returns the status. Free *ret with client_free(). */
static int ask(const char *method, const char *target, const char *headers, const char *body,
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
	*ret = client;
	return status;
}

static void check_ok(const char *method, const char *target, const char *body, int status,
		     const char *expected)
{
	struct client *client;

	assert_int_equal(ask(method, target, "", body, body ? strlen(body) : 0, &client), status);
	assert_string_equal(body_of(client), expected);
	client_free(client);
}

/* A problem document with @status, @code and a detail that contains @detail. */
static void check_problem(const char *method, const char *target, const char *body, size_t length,
			  int status, int code, const char *detail)
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

static int count_fds(void)
{
	DIR *list = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(list);
	while (readdir(list))
		n++;
	closedir(list);
	return n;
}

static int setup(void **state)
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

static int teardown(void **state)
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

/* ---- plain requests ------------------------------------------------------------------------- */

static void test_api_get_routes_answer(void **state)
{
	(void)state;
	check_ok("GET", "/v1/services", NULL, 200, "{\"services\":[{\"service\":\"web\"}]}\n");
	check_ok("GET", "/v1/services/web", NULL, 200, "{\"service\":\"web\"}\n");
	check_ok("GET", "/v1/version", NULL, 200, "{\"version\":\"" BATON_VERSION "\"}\n");
	check_ok("GET", "/healthz", NULL, 200, "ok\n");
	check_ok("GET", "/v1/services?x=y", NULL, 200, "{\"services\":[{\"service\":\"web\"}]}\n");
}

static void test_api_connections_limit_is_checked(void **state)
{
	static const char *const bad[] = {"",   "-1", "+1",     "x",
					  "1x", " 1", "100001", "99999999999999999999999"};
	char target[100];

	(void)state;
	seen.made = 2;
	check_ok("GET", "/v1/services/web/connections", NULL, 200,
		 "{\"service\":\"web\",\"connections\":[{\"peer\":\"127.0.0.1:50123\"},"
		 "{\"peer\":\"127.0.0.1:50123\"}]}\n");
	assert_int_equal(seen.limit, 1000);
	check_ok("GET", "/v1/services/web/connections?limit=0", NULL, 200,
		 "{\"service\":\"web\",\"connections\":[]}\n");
	assert_int_equal(seen.limit, 0);
	seen.made = 0;
	check_ok("GET", "/v1/services/web/connections?limit=100000", NULL, 200,
		 "{\"service\":\"web\",\"connections\":[]}\n");
	assert_int_equal(seen.limit, 100000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(target, sizeof(target), "/v1/services/web/connections?limit=%s",
			 strcmp(bad[i], " 1") == 0   ? "%201"
			 : strcmp(bad[i], "+1") == 0 ? "%2B1"
						     : bad[i]);
		check_problem("GET", target, NULL, 0, 400, 2,
			      "limit: not a number from 0 to 100000");
	}
	check_problem("GET", "/v1/services/nosuch/connections", NULL, 0, 404, 1,
		      "no service \"nosuch\"");
	check_problem("POST", "/v1/services/web/connections", "{}", 2, 405, 2, "only GET, HEAD");
}

static void test_api_answer_of_megabytes_arrives_whole(void **state)
{
	struct client *client;
	json_t *json;

	(void)state;
	seen.made = 100000;
	assert_int_equal(
		ask("GET", "/v1/services/web/connections?limit=100000", "", NULL, 0, &client), 200);
	json = json_loads(body_of(client), 0, NULL);
	assert_non_null(json);
	assert_int_equal(json_array_size(json_object_get(json, "connections")), 100000);
	json_decref(json);
	client_free(client);
}

static void test_api_head_is_get_without_body(void **state)
{
	static const char *const targets[] = {"/healthz", "/v1/services", "/v1/events?follow=1"};
	struct client *client;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(ask("HEAD", targets[i], "", NULL, 0, &client), 200);
		assert_string_equal(body_of(client), "");
		client_free(client);
	}
}

static void test_api_connection_is_kept_alive(void **state)
{
	struct client *client = client_new();

	(void)state;
	for (int i = 0; i < 3; i++) {
		client_say(client, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
		client_expect(client, "\r\n\r\nok\n");
		client_forget(client);
	}
	assert_false(client->ended);
	client_free(client);
}

static void test_api_pause_and_resume_are_done_when_answered(void **state)
{
	(void)state;
	check_ok("POST", "/v1/services/web/pause", NULL, 200,
		 "{\"service\":\"web\",\"paused\":true}\n");
	assert_string_equal(seen.order, "pause");
	check_ok("POST", "/v1/services/web/resume", "{}", 200,
		 "{\"service\":\"web\",\"paused\":false}\n");
	assert_string_equal(seen.order, "resume");
	check_problem("POST", "/v1/services/busy/pause", NULL, 0, 409, 6, "verify");
	check_problem("GET", "/v1/services/web/pause", NULL, 0, 405, 2, "only POST");
}

static void test_api_orders_without_a_rollout_are_200(void **state)
{
	static const char *const orders[] = {"upgrade", "scale", "restart", "reopen", "promote"};
	char target[64];

	(void)state;
	for (int i = 0; i < 5; i++) {
		snprintf(target, sizeof(target), "/v1/services/same/%s", orders[i]);
		check_ok("POST", target, "{}", 200, "{\"service\":\"same\",\"unchanged\":true}\n");
		assert_string_equal(seen.order, orders[i]);
	}
}

static void test_api_reload_reaches_the_backend(void **state)
{
	(void)state;
	check_ok("POST", "/v1/reload", NULL, 200, "{\"changed\":[\"web\"]}\n");
	check_ok("POST", "/v1/reload", "{}", 200, "{\"changed\":[\"web\"]}\n");
	assert_int_equal(seen.reloads, 2);
	check_problem("GET", "/v1/reload", NULL, 0, 405, 2, "GET /v1/reload: only POST");
	check_problem("POST", "/v1/reload", "{\"a\":1}", 7, 400, 2, "reload takes nothing");
	check_problem("POST", "/v1/reload", "[]", 2, 400, 2, "not a JSON object");
	check_problem("POST", "/v1/reload/", "", 0, 404, 2, "");
	assert_int_equal(seen.reloads, 2);
	assert_int_equal(seen.orders, 0);
}

static void test_api_problem_may_carry_mistakes(void **state)
{
	struct client *client;
	json_t *json;

	(void)state;
	seen.mistaken = true;
	check_problem("POST", "/v1/reload", NULL, 0, 422, 1, "one");
	assert_int_equal(ask("POST", "/v1/reload", "", "", 0, &client), 422);
	json = json_loads(body_of(client), 0, NULL);
	assert_string_equal(json_string_value(json_object_get(json, "title")),
			    "Unprocessable content");
	assert_int_equal(json_array_size(json_object_get(json, "mistakes")), 2);
	assert_string_equal(json_string_value(json_array_get(json_object_get(json, "mistakes"), 1)),
			    "two \"2\"");
	json_decref(json);
	client_free(client);
	/* Nobody else's problem has any. */
	assert_int_equal(ask("GET", "/v1/services/nope", "", NULL, 0, &client), 404);
	assert_null(strstr(client->input, "mistakes"));
	client_free(client);
}

static void test_api_order_reaches_the_backend(void **state)
{
	static const char *const orders[] = {"restart", "upgrade", "rollback", "start",
					     "stop",    "scale",   "promote",  "abort"};
	char target[64], expected[128];

	(void)state;
	for (int i = 0; i < 8; i++) {
		snprintf(target, sizeof(target), "/v1/services/web/%s", orders[i]);
		snprintf(expected, sizeof(expected),
			 "{\"service\":\"web\",\"order\":\"%s\",\"rollout\":1}\n", orders[i]);
		check_ok("POST", target, NULL, 202, expected);
		assert_int_equal(seen.orders, i + 1);
		assert_string_equal(seen.service, "web");
		assert_string_equal(seen.order, orders[i]);
		assert_string_equal(seen.body, "{}");
	}
	check_ok("POST", "/v1/services/web/upgrade", "{\"command\": [\"a\", \"b\"]}", 202,
		 "{\"service\":\"web\",\"order\":\"upgrade\",\"rollout\":1}\n");
	assert_string_equal(seen.body, "{\"command\":[\"a\",\"b\"]}");
	check_ok("POST", "/v1/services/web/stop", "", 202,
		 "{\"service\":\"web\",\"order\":\"stop\",\"rollout\":1}\n");
}

static void test_api_backends_refusals_are_passed_on(void **state)
{
	(void)state;
	check_problem("GET", "/v1/services/nope", NULL, 0, 404, 1, "no service \"nope\"");
	check_problem("POST", "/v1/services/busy/restart", NULL, 0, 409, 6, "at step verify");
	check_problem("POST", "/v1/services/silent/restart", NULL, 0, 500, 1, "");
	seen.list_fails = true;
	check_problem("GET", "/v1/services", NULL, 0, 500, 1, "could not be made");
}

static void test_api_unknown_paths_are_404(void **state)
{
	char longer[128] = "/v1/services/";

	(void)state;
	memset(longer + 13, 'x', 64);
	check_problem("GET", "/", NULL, 0, 404, 2, "there is no /");
	check_problem("GET", "/v1", NULL, 0, 404, 2, "there is no /v1");
	check_problem("GET", "/v1/services/", NULL, 0, 404, 2, "");
	check_problem("GET", "/v1/servicesx", NULL, 0, 404, 2, "");
	check_problem("GET", "/v1/services/web/", NULL, 0, 404, 2, "");
	check_problem("POST", "/v1/services/web/explode", NULL, 0, 404, 2, "");
	check_problem("POST", "/v1/services//restart", NULL, 0, 404, 2, "");
	check_problem("GET", "/healthz/x", NULL, 0, 404, 2, "");
	check_problem("GET", longer, NULL, 0, 404, 2, "");
	check_problem("GET", "/%ff%22%0a", NULL, 0, 404, 2, "there is no /?\"\n");
	longer[13 + 63] = '\0'; /* the longest name there can be */
	check_problem("GET", longer, NULL, 0, 404, 1, "no service");
	assert_int_equal(seen.orders, 0);
}

static void test_api_wrong_methods_are_405_with_allow(void **state)
{
	struct client *client;

	(void)state;
	assert_int_equal(ask("GET", "/v1/services/web/restart", "", NULL, 0, &client), 405);
	assert_non_null(strstr(client->input, "\r\nAllow: POST\r\n"));
	client_free(client);
	assert_int_equal(ask("DELETE", "/v1/services/web", "", NULL, 0, &client), 405);
	assert_non_null(strstr(client->input, "\r\nAllow: GET, HEAD\r\n"));
	client_free(client);
	check_problem("POST", "/v1/events", "{}", 2, 405, 2, "POST /v1/events: only GET, HEAD");
	check_problem("HEAD2", "/healthz", NULL, 0, 405, 2, "");
}

static void test_api_bad_bodies_are_400_with_the_place(void **state)
{
	static const char nul[] = "{\"a\":\"\0\"}";

	(void)state;
	check_problem("POST", "/v1/services/web/upgrade", "{\n  \"a\": 1,\n  b\n}", 17, 400, 2,
		      "body: line 3, column 3: ");
	check_problem("POST", "/v1/services/web/upgrade", "{\"a\":1,\"a\":2}", 13, 400, 2,
		      "duplicate");
	check_problem("POST", "/v1/services/web/upgrade", "[1]", 3, 400, 2, "not a JSON object");
	check_problem("POST", "/v1/services/web/upgrade", " ", 1, 400, 2, "body: line 1");
	check_problem("POST", "/v1/services/web/upgrade", "{} x", 4, 400, 2, "body: line 1");
	check_problem("POST", "/v1/services/web/upgrade", "{\"a\":\"\xff\"}", 9, 400, 2, "body: ");
	check_problem("POST", "/v1/services/web/upgrade", nul, sizeof(nul) - 1, 400, 2, "body: ");
	assert_int_equal(seen.orders, 0);
}

static void test_api_body_size_is_bounded(void **state)
{
	static char body[2 * 1024 * 1024];

	(void)state;
	memset(body, ' ', sizeof(body));
	memcpy(body, "{}", 2);
	check_ok("POST", "/v1/services/web/start", "{}", 202,
		 "{\"service\":\"web\",\"order\":\"start\",\"rollout\":1}\n");
	assert_int_equal(seen.orders, 1);
	check_problem("POST", "/v1/services/web/start", body, API_BODY_MAX + 1, 413, 2,
		      "longer than 131072 bytes");
	check_problem("POST", "/v1/services/web/start", body, 1024 * 1024, 413, 2, "longer than");
	assert_int_equal(seen.orders, 1);
	body[API_BODY_MAX] = '\0';
	check_ok("POST", "/v1/services/web/start", body, 202,
		 "{\"service\":\"web\",\"order\":\"start\",\"rollout\":1}\n");
	assert_int_equal(seen.orders, 2);
}

static void test_api_huge_bodies_are_refused_unread(void **state)
{
	struct client *client = client_new();

	(void)state;
	client_say(client, "POST /v1/services/web/start HTTP/1.1\r\nHost: x\r\n"
			   "Expect: 100-continue\r\nContent-Length: 1048577\r\n\r\n");
	client_expect(client, "HTTP/1.1 413 ");
	client_expect(client, NULL);
	client_free(client);
	/* Without a length told beforehand it is cut off. */
	client = client_new();
	client_say(client, "POST /v1/services/web/start HTTP/1.1\r\nHost: x\r\n"
			   "Transfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 5000 && !client->ended; i++) {
		char chunk[1024 + 8] = "400\r\n";

		memset(chunk + 5, 'x', 1024);
		memcpy(chunk + 5 + 1024, "\r\n", 2);
		client_send(client, chunk, 5 + 1024 + 2);
		client_receive(client);
	}
	assert_true(client->ended);
	client_free(client);
	assert_int_equal(seen.orders, 0);
}

static void test_api_chunked_body_is_read(void **state)
{
	struct client *client = client_new();

	(void)state;
	client_say(client, "POST /v1/services/web/upgrade HTTP/1.1\r\nHost: x\r\n"
			   "Transfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n");
	run_for(20);
	client_say(client, "4\r\n\":1}\r\n0\r\n\r\n");
	client_expect(client, "HTTP/1.1 202 ");
	assert_string_equal(seen.body, "{\"a\":1}");
	client_free(client);
}

static void test_api_garbage_hurts_nobody(void **state)
{
	struct client *garbage = client_new(), *half = client_new(), *gone = client_new();

	(void)state;
	client_say(garbage, "\x16\x03\x01 what is this\r\n\r\n");
	client_say(half, "GET /v1/serv");
	client_say(gone,
		   "POST /v1/services/web/restart HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
		   "\r\n{");
	run_for(20);
	client_free(gone);
	client_free(garbage);
	run_for(20);
	check_ok("GET", "/healthz", NULL, 200, "ok\n");
	client_say(half, "ices HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(half, "\"web\"");
	client_free(half);
	assert_int_equal(seen.orders, 0);
}

static void test_api_more_connections_than_allowed_wait(void **state)
{
	static struct client *clients[API_CONNECTIONS_MAX + 4];

	(void)state;
	for (int i = 0; i < API_CONNECTIONS_MAX + 4; i++) {
		clients[i] = client_new();
		turn();
	}
	run_for(20);
	for (int i = 0; i < 8; i++)
		client_free(clients[i]);
	for (int i = 8; i < API_CONNECTIONS_MAX + 4; i++) {
		client_say(clients[i], "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
		client_expect(clients[i], "\r\n\r\nok\n");
		client_free(clients[i]);
	}
}

/* ---- access --------------------------------------------------------------------------------- */

static void test_api_strangers_may_read_but_not_change(void **state)
{
	struct client *client, *second, *reader;

	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: needs root\n");
		skip();
	}
	/* SO_PEERCRED: who it was at connect(2). The group lets it in. */
	api_free(api);
	assert_int_equal(api_open(event, path, 65534, events, &backend, &seen, &api, &err), 0);
	assert_int_equal(chmod(folder, 0755), 0);
	assert_int_equal(setegid(65534), 0);
	assert_int_equal(seteuid(65534), 0);
	client = client_new();
	second = client_new();
	reader = client_new();
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(setegid(0), 0);
	client_say(client, "POST /v1/services/web/stop HTTP/1.1\r\nHost: x\r\n"
			   "Content-Length: 0\r\nConnection: close\r\n\r\n");
	client_expect(client, "HTTP/1.1 403 ");
	client_expect(client, "only root and the daemon's own user");
	client_say(second, "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
	client_expect(second, "HTTP/1.1 403 ");
	client_free(second);
	assert_int_equal(seen.orders, 0);
	assert_int_equal(seen.reloads, 0);
	client_say(reader, "GET /v1/services HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(reader, "\"web\"");
	client_free(client);
	client_free(reader);
	check_ok("POST", "/v1/services/web/stop", NULL, 202,
		 "{\"service\":\"web\",\"order\":\"stop\",\"rollout\":1}\n");
}

static void test_api_open_where_another_answers_is_eaddrinuse(void **state)
{
	struct api *second = NULL;
	struct client *client = client_new();

	(void)state;
	assert_int_equal(api_open(event, path, (gid_t)-1, events, &backend, &seen, &second, &err),
			 -EADDRINUSE);
	assert_null(second);
	/* The first goes on, and is still told of events. */
	client_say(client, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(client, "\r\n\r\n");
	events_add(events, 0, "web", "still", NULL);
	client_expect(client, "still");
	client_free(client);
	api_free(NULL);
}

/* ---- events --------------------------------------------------------------------------------- */

/* A client that follows, past the headers of the answer. */
static struct client *follow(const char *query, const char *headers)
{
	struct client *client = client_new();
	char head[512];

	snprintf(head, sizeof(head), "GET /v1/events?follow=1%s HTTP/1.1\r\nHost: x\r\n%s\r\n",
		 query, headers);
	client_say(client, head);
	client_expect(client, "\r\n\r\n");
	return client;
}

static void add(const char *service, const char *name)
{
	assert_int_not_equal(events_add(events, 0, service, name, NULL), 0);
}

/* All events of an answer that ends, in their order: "1 2 3 ". */
static void check_seqs(const char *target, const char *expected)
{
	struct client *client;
	char seqs[256] = "";

	assert_int_equal(ask("GET", target, "", NULL, 0, &client), 200);
	assert_non_null(strstr(client->input, "Content-Type: application/x-ndjson\r\n"));
	for (const char *p = client->input; (p = strstr(p, "{\"seq\":")); p++)
		snprintf(seqs + strlen(seqs), sizeof(seqs) - strlen(seqs), "%d ", atoi(p + 7));
	assert_string_equal(seqs, expected);
	client_free(client);
}

static void test_api_events_gives_what_is_kept(void **state)
{
	(void)state;
	check_seqs("/v1/events?since=0", "");
	add("web", "a");
	add("db", "b");
	add("web", "c");
	check_seqs("/v1/events", "");
	check_seqs("/v1/events?since=0", "1 2 3 ");
	check_seqs("/v1/events?since=1&follow=0", "2 3 ");
	check_seqs("/v1/events?since=0&service=web", "1 3 ");
	check_seqs("/v1/events?since=99", "");
	check_seqs("/v1/events?since=18446744073709551615", "");
}

static void test_api_events_old_clients_get_the_plain_lines(void **state)
{
	struct client *client = client_new();

	(void)state;
	add("web", "a");
	client_say(client, "GET /v1/events?since=0 HTTP/1.0\r\n\r\n");
	client_expect(client, NULL); /* closed: that is how its end is told */
	assert_string_equal(body_of(client), "{\"seq\":1,\"time\":\"1970-01-01T00:00:00.000Z\","
					     "\"service\":\"web\",\"event\":\"a\"}\n");
	client_free(client);
}

static void test_api_events_bad_queries_are_400(void **state)
{
	(void)state;
	check_problem("GET", "/v1/events?since=x", NULL, 0, 400, 2, "since");
	check_problem("GET", "/v1/events?since=-1", NULL, 0, 400, 2, "since");
	check_problem("GET", "/v1/events?since=%201", NULL, 0, 400, 2, "since");
	check_problem("GET", "/v1/events?since=", NULL, 0, 400, 2, "since");
	check_problem("GET", "/v1/events?since=18446744073709551616", NULL, 0, 400, 2, "since");
	check_problem("GET", "/v1/events?follow=yes", NULL, 0, 400, 2, "follow");
}

static void test_api_events_follow_delivers_at_once(void **state)
{
	struct client *client = follow("", "");
	char name[32];

	(void)state;
	for (int i = 0; i < 20; i++) {
		uint64_t start = clock_monotonic_ms();

		snprintf(name, sizeof(name), "event-%d", i);
		add("web", name);
		client_expect(client, name);
		assert_true(clock_monotonic_ms() - start < 500);
	}
	client_free(client);
}

static void test_api_events_follow_sends_the_kept_ones_first(void **state)
{
	struct client *client;

	(void)state;
	add("web", "one");
	add("db", "two");
	add("web", "three");
	client = follow("&since=1&service=web", "");
	client_expect(client, "three");
	assert_null(strstr(client->input, "two"));
	assert_null(strstr(client->input, "one"));
	add("db", "four");
	add("web", "five");
	client_expect(client, "five");
	assert_null(strstr(client->input, "four"));
	client_free(client);
}

static void test_api_events_of_an_order_reach_the_followers(void **state)
{
	struct client *clients[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		clients[i] = follow("", "");
	check_ok("POST", "/v1/services/web/restart", NULL, 202,
		 "{\"service\":\"web\",\"order\":\"restart\",\"rollout\":1}\n");
	for (int i = 0; i < 3; i++) {
		client_expect(clients[i], "\"event\":\"start\"");
		client_free(clients[i]);
	}
}

static void test_api_events_sse_has_ids_and_goes_on_from_the_last(void **state)
{
	struct client *client;

	(void)state;
	add("web", "one");
	add("web", "two");
	client = follow("", "Accept: text/event-stream\r\nLast-Event-ID: 1\r\n");
	assert_non_null(strstr(client->input, "Content-Type: text/event-stream\r\n"));
	client_expect(client, "id: 2\ndata: {\"seq\":2,");
	assert_null(strstr(client->input, "id: 1"));
	add("web", "three");
	client_expect(client, "id: 3\ndata: {\"seq\":3,");
	client_free(client);
	/* What is asked for in the query comes before. */
	client = follow("&since=0", "Accept: text/event-stream\r\nLast-Event-ID: 2\r\n");
	client_expect(client, "id: 1\n");
	client_free(client);
}

static void test_api_events_silent_streams_get_heartbeats(void **state)
{
	struct client *lines = follow("", ""), *sse = follow("", "Accept: text/event-stream\r\n");

	(void)state;
	client_forget(lines);
	client_forget(sse);
	run_for(50);
	client_receive(lines);
	assert_int_equal(lines->length, 0);
	api_set_heartbeat(api, 20);
	for (int i = 0; i < 3; i++) {
		client_expect(lines, "1\r\n\n\r\n");
		client_expect(sse, "4\r\n: \n\n\r\n");
		client_forget(lines);
		client_forget(sse);
	}
	client_free(lines);
	client_free(sse);
}

/* How often the loop wakes within @ms, when nobody does anything. */
static int count_turns(uint64_t ms)
{
	uint64_t end = clock_monotonic_ms() + ms;
	int turns = 0;

	while (clock_monotonic_ms() < end) {
		assert_true(sd_event_run(event, 50000) >= 0);
		turns++;
	}
	return turns;
}

static void test_api_events_idle_streams_cost_nothing(void **state)
{
	struct client *client = follow("", "");

	(void)state;
	run_for(20);
	assert_true(count_turns(200) < 20);
	client_free(client);
}

static void test_api_events_readers_gone_make_room_for_others(void **state)
{
	struct client *clients[API_STREAMS_MAX], *client;

	(void)state;
	for (int i = 0; i < API_STREAMS_MAX; i++)
		clients[i] = follow("", "");
	check_problem("GET", "/v1/events?follow=1", NULL, 0, 503, 1, "readers follow");
	check_seqs("/v1/events?since=0", ""); /* reading what is kept is not following */
	for (int i = 0; i < API_STREAMS_MAX; i++)
		client_free(clients[i]);
	api_set_heartbeat(api, 20);
	run_for(100);
	for (int i = 0; i < API_STREAMS_MAX; i++) {
		clients[i] = follow("", "");
		assert_non_null(strstr(clients[i]->input, "HTTP/1.1 200 OK"));
	}
	client = clients[API_STREAMS_MAX - 1];
	add("web", "hello");
	client_expect(client, "hello");
	for (int i = 0; i < API_STREAMS_MAX; i++)
		client_free(clients[i]);
}

static void add_large(int seq, size_t size)
{
	char *text = malloc(size + 1);

	assert_non_null(text);
	memset(text, 'x', size);
	text[size] = '\0';
	assert_int_not_equal(events_add(events, 0, "web", seq < 0 ? "last" : "large",
					json_pack("{s:s}", "tail", text)),
			     0);
	free(text);
}

static void test_api_events_slow_reader_holds_up_nobody(void **state)
{
	struct client *slow = follow("", ""), *quick = follow("", "");
	uint64_t worst_ms = 0;

	(void)state;
	/* 3 MiB: far more than the socket's buffers hold. */
	for (int i = 0; i < 3 * EVENTS_MAX; i++) {
		uint64_t start = clock_monotonic_ms();

		add_large(i, 1024);
		turn();
		client_receive(quick);
		if (quick->length > INPUT_MAX / 2)
			client_forget(quick);
		if (clock_monotonic_ms() - start > worst_ms)
			worst_ms = clock_monotonic_ms() - start;
	}
	assert_true(worst_ms < 1000);
	assert_true(count_turns(200) < 20); /* no turning while it takes nothing */
	check_ok("GET", "/healthz", NULL, 200, "ok\n");
	client_forget(quick);
	add_large(-1, 10);
	client_expect(quick, "\"last\"");
	/* It has missed some, but not the newest. */
	client_expect(slow, "\"last\"");
	assert_true(slow->length < 3 * EVENTS_MAX * 1024);
	assert_non_null(strstr(slow->input, "{\"seq\":1,"));
	client_free(slow);
	client_free(quick);
}

static void test_api_free_ends_streams_with_their_last_event(void **state)
{
	struct client *waiting = follow("", ""), *busy = follow("", ""), *stuck = follow("", "");
	struct stat st;

	(void)state;
	for (int i = 0; i < 600; i++) {
		add_large(i, 1024);
		turn();
		client_receive(waiting);
		client_receive(busy);
	}
	add("web", "good-bye"); /* and no turn of the loop: api_free() must send it itself */
	api_free(api);
	api = NULL;
	assert_int_equal(stat(path, &st), -1);
	while (!waiting->ended)
		client_receive(waiting);
	assert_non_null(strstr(waiting->input, "good-bye"));
	assert_string_equal(waiting->input + waiting->length - 7, "\r\n0\r\n\r\n");
	while (!busy->ended)
		client_receive(busy);
	assert_string_equal(busy->input + busy->length - 7, "\r\n0\r\n\r\n");
	client_free(waiting);
	client_free(busy);
	client_free(stuck);
	/* Events can go on without the API. */
	add("web", "alone");
}

static void test_api_free_while_requests_are_under_way_is_safe(void **state)
{
	struct client *half = client_new(), *fresh, *body = client_new();

	(void)state;
	client_say(half, "GET /heal");
	client_say(body,
		   "POST /v1/services/web/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{");
	run_for(20);
	fresh = client_new();
	api_free(api);
	api = NULL;
	client_receive(half);
	assert_true(half->ended);
	client_free(half);
	client_free(fresh);
	client_free(body);
	assert_int_equal(seen.orders, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_api_get_routes_answer),
		TEST(test_api_connections_limit_is_checked),
		TEST(test_api_answer_of_megabytes_arrives_whole),
		TEST(test_api_head_is_get_without_body),
		TEST(test_api_connection_is_kept_alive),
		TEST(test_api_order_reaches_the_backend),
		TEST(test_api_orders_without_a_rollout_are_200),
		TEST(test_api_reload_reaches_the_backend),
		TEST(test_api_problem_may_carry_mistakes),
		TEST(test_api_pause_and_resume_are_done_when_answered),
		TEST(test_api_backends_refusals_are_passed_on),
		TEST(test_api_unknown_paths_are_404),
		TEST(test_api_wrong_methods_are_405_with_allow),
		TEST(test_api_bad_bodies_are_400_with_the_place),
		TEST(test_api_body_size_is_bounded),
		TEST(test_api_huge_bodies_are_refused_unread),
		TEST(test_api_chunked_body_is_read),
		TEST(test_api_garbage_hurts_nobody),
		TEST(test_api_more_connections_than_allowed_wait),
		TEST(test_api_strangers_may_read_but_not_change),
		TEST(test_api_open_where_another_answers_is_eaddrinuse),
		TEST(test_api_events_gives_what_is_kept),
		TEST(test_api_events_old_clients_get_the_plain_lines),
		TEST(test_api_events_bad_queries_are_400),
		TEST(test_api_events_follow_delivers_at_once),
		TEST(test_api_events_follow_sends_the_kept_ones_first),
		TEST(test_api_events_of_an_order_reach_the_followers),
		TEST(test_api_events_sse_has_ids_and_goes_on_from_the_last),
		TEST(test_api_events_silent_streams_get_heartbeats),
		TEST(test_api_events_idle_streams_cost_nothing),
		TEST(test_api_events_readers_gone_make_room_for_others),
		TEST(test_api_events_slow_reader_holds_up_nobody),
		TEST(test_api_free_ends_streams_with_their_last_event),
		TEST(test_api_free_while_requests_are_under_way_is_safe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
