/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests and answers, and who may ask. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <limits.h>
#include <time.h>

#include "tests/unit/api/api_fixture.h"

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

/* Others are served meanwhile; the connection goes on afterwards. */
static void test_api_answer_that_comes_later_is_waited_for(void **state)
{
	struct client *client = client_new(), *other = client_new();
	struct api_problem problem = {.status = 500, .code = 1};

	(void)state;
	client_say(client, "POST /v1/services/slow/reopen HTTP/1.1\r\nHost: x\r\n"
			   "Content-Length: 2\r\n\r\n{}");
	client_say(other, "POST /v1/services/slow/reopen HTTP/1.1\r\nHost: x\r\n\r\n");
	while (seen.n_replies < 2)
		turn();
	check_ok("GET", "/healthz", NULL, 200, "ok\n");
	api_reply_send(seen.replies[0], json_pack("{s:i}", "files", 2), &problem);
	client_expect(client, "{\"files\":2}\n");
	assert_non_null(strstr(client->input, "HTTP/1.1 200"));
	client_receive(other);
	assert_int_equal(other->length, 0);
	problem.mistakes = json_pack("[s]", "one");
	api_reply_send(seen.replies[1], NULL, &problem);
	client_expect(other, "\"mistakes\":[\"one\"]");
	assert_non_null(strstr(other->input, "HTTP/1.1 500"));
	client_forget(client);
	client_say(client, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(client, "ok\n");
	assert_int_equal(seen.orders, 2);
	client_free(client);
	client_free(other);
}

/* A client that has gone away harms nobody. */
static void test_api_answer_for_a_client_that_is_gone_is_dropped(void **state)
{
	struct client *client = client_new();
	struct api_problem problem = {};

	(void)state;
	client_say(client, "POST /v1/services/slow/reopen HTTP/1.1\r\nHost: x\r\n\r\n");
	while (seen.n_replies < 1)
		turn();
	client_free(client);
	run_for(20);
	api_reply_send(seen.replies[0], json_pack("{}"), &problem);
	run_for(20);
	check_ok("GET", "/healthz", NULL, 200, "ok\n");
}

static void test_api_end_answers_those_who_wait(void **state)
{
	struct client *client = client_new();

	(void)state;
	client_say(client, "POST /v1/services/slow/reopen HTTP/1.1\r\nHost: x\r\n\r\n");
	while (seen.n_replies < 1)
		turn();
	api_free(api);
	api = NULL;
	client_receive(client);
	assert_non_null(strstr(client->input, "HTTP/1.1 503"));
	assert_non_null(strstr(client->input, "batond ended before it was known how that went"));
	client_free(client);
}

static void test_api_reload_reaches_the_backend(void **state)
{
	(void)state;
	check_ok("POST", "/v1/reload", NULL, 200, "{\"changed\":[\"web\"]}\n");
	check_ok("POST", "/v1/reload", "{}", 200, "{\"changed\":[\"web\"]}\n");
	assert_int_equal(seen.reloads, 2);
	check_problem("GET", "/v1/reload", NULL, 0, 405, 2,
		      "GET /v1/reload: only POST can be asked of it");
	check_problem("POST", "/v1/reload", "{\"a\":1}", 7, 400, 2, "reload takes nothing");
	check_problem("POST", "/v1/reload", "[]", 2, 400, 2, "not a JSON object");
	check_problem("POST", "/v1/reload/", "", 0, 404, 2, "");
	assert_int_equal(seen.reloads, 2);
	assert_int_equal(seen.orders, 0);
}

/* Only when the answer is out may the daemon end; if it refuses it does not. */
static void test_api_leave_is_answered_before_it_is_done(void **state)
{
	(void)state;
	check_problem("POST", "/v1/leave", "{\"a\":1}", 7, 400, 2, "leave takes nothing");
	run_for(20);
	assert_int_equal(seen.leaves + seen.left, 0);
	check_ok("POST", "/v1/leave", NULL, 200, "{\"pid\":5}\n");
	run_for(20);
	assert_int_equal(seen.left, 1);
	check_problem("POST", "/v1/leave", NULL, 0, 503, 1, "everything is being stopped");
	run_for(20);
	assert_int_equal(seen.leaves, 2);
	assert_int_equal(seen.left, 1);
}

/* Whoever has asked may not stay for the answer. */
static void test_api_leave_is_done_for_a_client_that_is_gone(void **state)
{
	struct client *client = client_new();

	(void)state;
	client_say(client, "POST /v1/leave HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
	client_free(client);
	run_for(20);
	assert_int_equal(seen.left, seen.leaves);
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
	check_problem("POST", "/v1/events", "{}", 2, 405, 2,
		      "POST /v1/events: only GET, HEAD can be asked of it");
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

/* However many say nothing: each new one is heard. */
static void test_api_silent_connections_keep_nobody_out(void **state)
{
	static struct client *clients[2 * API_OWNERS_MAX + 4];
	const int n = sizeof(clients) / sizeof(clients[0]);

	(void)state;
	for (int i = 0; i < n; i++) {
		clients[i] = client_new();
		if (i % 2)
			client_say(clients[i], "GET /v1/serv");
		turn();
	}
	check_ok("GET", "/healthz", NULL, 200, "ok\n");
	/* The oldest had to go, and have been told so. */
	client_expect(clients[1], NULL);
	assert_non_null(strstr(clients[1]->input, "HTTP/1.1 503 "));
	assert_non_null(strstr(clients[1]->input, "\r\nRetry-After: 1\r\n"));
	assert_non_null(strstr(clients[1]->input, "make room"));
	client_say(clients[n - 1], "ices HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(clients[n - 1], "\"web\"");
	for (int i = 0; i < n; i++)
		client_free(clients[i]);
	run_for(20);
	check_ok("GET", "/healthz", NULL, 200, "ok\n");
}

/* From the request to the last byte. */
static void test_api_lists_of_connections_are_few_at_once(void **state)
{
	static const char request[] = "GET /v1/services/web/connections?limit=100000 HTTP/1.1\r\n"
				      "Host: x\r\n\r\n";
	struct client *clients[API_LISTS_OWNERS_MAX], *client;

	(void)state;
	seen.made = 30000; /* more than a socket holds */
	for (int i = 0; i < API_LISTS_OWNERS_MAX; i++) {
		clients[i] = client_new();
		client_say(clients[i], request);
	}
	check_problem("GET", "/v1/services/web/connections", NULL, 0, 503, 6,
		      "as many lists of connections as it does at once (8 for root and its owner");
	assert_int_equal(ask("GET", "/v1/services/web/connections", "", NULL, 0, &client), 503);
	assert_non_null(strstr(client->input, "\r\nRetry-After: 1\r\n"));
	client_free(client);
	check_ok("GET", "/v1/services/web", NULL, 200, "{\"service\":\"web\"}\n");
	client_free(clients[0]);
	run_for(20);
	seen.made = 0;
	check_ok("GET", "/v1/services/web/connections", NULL, 200,
		 "{\"service\":\"web\",\"connections\":[]}\n");
	for (int i = 1; i < API_LISTS_OWNERS_MAX; i++)
		client_free(clients[i]);
}

/* In between the loop has its turns, and so have other questions. */
static void test_api_one_answer_is_made_in_a_turn(void **state)
{
	struct client *clients[API_LISTS_OWNERS_MAX];
	int made_most = 0;

	(void)state;
	for (int i = 0; i < API_LISTS_OWNERS_MAX; i++) {
		clients[i] = client_new();
		client_say(clients[i], "GET /v1/services/web HTTP/1.1\r\nHost: x\r\n");
	}
	run_for(20);
	for (int i = 0; i < API_LISTS_OWNERS_MAX; i++)
		assert_int_equal(send(clients[i]->fd, "\r\n", 2, MSG_NOSIGNAL), 2);
	for (int left = API_LISTS_OWNERS_MAX; left > 0;) {
		int before = seen.gets;

		turn();
		if (seen.gets - before > made_most)
			made_most = seen.gets - before;
		left = API_LISTS_OWNERS_MAX - seen.gets;
	}
	assert_int_equal(made_most, 1);
	for (int i = 0; i < API_LISTS_OWNERS_MAX; i++) {
		client_expect(clients[i], "\"web\"");
		client_free(clients[i]);
	}
}

/* Work that waits for the loop all the time, as when many services start. */
#define WORKS   50
#define WORK_US 300
#define TRIES   50

static unsigned worked;

static int on_work(sd_event_source *source, void *userdata)
{
	struct timespec begin, now;

	(void)userdata;
	/* Behind all others that wait. */
	assert_true(sd_event_source_set_enabled(source, SD_EVENT_ONESHOT) >= 0);
	worked++;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - begin.tv_sec) * 1000000 + (now.tv_nsec - begin.tv_nsec) / 1000 <
		 WORK_US);
	return 0;
}

static void begin_work(sd_event_source *works[static WORKS])
{
	worked = 0;
	for (int k = 0; k < WORKS; k++) {
		assert_true(sd_event_add_defer(event, &works[k], on_work, NULL) >= 0);
	}
}

static void end_work(sd_event_source *works[static WORKS])
{
	for (int k = 0; k < WORKS; k++)
		works[k] = sd_event_source_disable_unref(works[k]);
}

/*
 * To be let in, to be read and to be answered are turns of their own; in each all else would come
 * first. On a busy machine the API itself may now and then take so long that it has to wait.
 */
static void test_api_who_asks_does_not_wait_for_work(void **state)
{
	sd_event_source *works[WORKS];
	unsigned least = UINT_MAX;

	(void)state;
	begin_work(works);
	for (int n = 0; n < TRIES && least >= WORKS; n++) {
		struct client *client;

		worked = 0;
		assert_int_equal(ask("POST", "/v1/services/web/restart", "", "{}", 2, &client),
				 202);
		client_free(client);
		if (worked < least)
			least = worked;
	}
	end_work(works);
	assert_true(least < WORKS);
}

/* Whoever never stops asking gets answers, and all else goes on. */
static void test_api_work_does_not_wait_for_those_who_ask(void **state)
{
	sd_event_source *works[WORKS];
	struct client *client = client_new();

	(void)state;
	begin_work(works);
	for (int n = 0; n < TRIES || worked < 2 * WORKS; n++) {
		client_say(client, "GET /v1/services HTTP/1.1\r\nHost: x\r\n\r\n");
		client_receive(client);
		client_forget(client);
		assert_true(n < 100000);
	}
	end_work(works);
	client_free(client);
}

/* A client that goes away while it waits for its turn leaves nothing behind. */
static void test_api_clients_may_go_while_they_wait(void **state)
{
	struct client *clients[API_LISTS_OWNERS_MAX];

	(void)state;
	seen.made = 20000; /* the lane rests after each */
	for (int i = 0; i < API_LISTS_OWNERS_MAX; i++) {
		clients[i] = client_new();
		client_say(clients[i], "GET /v1/services/web/connections?limit=100000 HTTP/1.1\r\n"
				       "Host: x\r\n\r\n");
	}
	for (int i = 0; i < API_LISTS_OWNERS_MAX; i++)
		client_free(clients[i]);
	run_for(20);
	seen.made = 0;
	check_ok("GET", "/v1/services/web/connections", NULL, 200,
		 "{\"service\":\"web\",\"connections\":[]}\n");
}

static void test_api_end_answers_those_who_wait_for_their_turn(void **state)
{
	struct client *clients[4];

	(void)state;
	seen.made = 20000;
	for (int i = 0; i < 4; i++) {
		clients[i] = client_new();
		client_say(clients[i], "GET /v1/services/web/connections?limit=100000 HTTP/1.1\r\n"
				       "Host: x\r\n\r\n");
	}
	api_free(api);
	api = NULL;
	client_receive(clients[3]);
	assert_non_null(strstr(clients[3]->input, "HTTP/1.1 503"));
	assert_non_null(strstr(clients[3]->input, "batond is ending"));
	for (int i = 0; i < 4; i++)
		client_free(clients[i]);
}

/* ---- access --------------------------------------------------------------------------------- */

static struct client *client_as(uid_t uid, gid_t gid)
{
	struct client *client;

	assert_int_equal(chmod(folder, 0755), 0);
	assert_int_equal(setegid(gid), 0);
	assert_int_equal(seteuid(uid), 0);
	client = client_new();
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(setegid(0), 0);
	return client;
}

static void skip_unless_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("skipped: needs root\n");
	skip();
}

static void test_api_strangers_may_read_but_not_change(void **state)
{
	struct client *client, *second, *reader;

	(void)state;
	skip_unless_root();
	/* SO_PEERCRED: who it was at connect(2). The group lets it in. */
	assert_int_equal(api_set_group(api, 65534, &err), 0);
	client = client_as(65534, 65534);
	second = client_as(65534, 65534);
	reader = client_as(65534, 65534);
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

/* Also one whom the file let in, as somebody has changed its mode. */
static void test_api_without_a_group_strangers_are_refused(void **state)
{
	struct client *client;
	struct stat st;

	(void)state;
	skip_unless_root();
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
	assert_int_equal(chmod(path, 0666), 0);
	client = client_as(65534, 65534);
	client_say(client, "GET /v1/services HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(client, "HTTP/1.1 403 ");
	client_expect(client, "only root, the daemon's own user and members of its group");
	client_free(client);
}

static void test_api_change_of_the_group_takes_effect_at_once(void **state)
{
	struct client *follower, *waiting, *silent, *owner = client_new();
	struct stat st;

	(void)state;
	skip_unless_root();
	assert_int_equal(api_set_group(api, 65534, &err), 0);
	follower = client_as(65534, 65534);
	waiting = client_as(65533, 65534);
	silent = client_as(65534, 65534);
	client_say(follower, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(follower, "\r\n\r\n");
	client_say(owner, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(owner, "\r\n\r\n");
	client_say(waiting, "GET /v1/serv");
	/* The same group again harms nobody. */
	assert_int_equal(api_set_group(api, 65534, &err), 0);
	client_say(waiting, "ices HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(waiting, "\"web\"");

	assert_int_equal(api_set_group(api, 65533, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0660);
	assert_int_equal(st.st_gid, 65533);
	events_add(events, 0, "web", "secret", NULL);
	client_expect(follower, NULL);
	client_expect(waiting, NULL);
	client_expect(silent, NULL);
	assert_null(strstr(follower->input, "secret"));
	client_expect(owner, "secret");
	client_free(follower);
	client_free(waiting);
	client_free(silent);
	client_free(owner);

	assert_int_equal(api_set_group(api, (gid_t)-1, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
	assert_int_equal(st.st_gid, getegid());
}

static void test_api_one_account_cannot_take_all_places(void **state)
{
	struct client *followers[API_STREAMS_READER_MAX], *slow[API_READER_MAX], *client;
	const int n_slow = API_READER_MAX - API_STREAMS_READER_MAX;

	(void)state;
	skip_unless_root();
	assert_int_equal(api_set_group(api, 65534, &err), 0);
	for (int i = 0; i < API_STREAMS_READER_MAX; i++) {
		followers[i] = client_as(65534, 65534);
		client_say(followers[i], "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n");
		client_expect(followers[i], "\r\n\r\n");
	}
	client = client_as(65534, 65534);
	client_say(client, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(client, "HTTP/1.1 503 ");
	client_expect(client, "8 of one account");
	client_free(client);
	for (int i = 0; i < n_slow; i++)
		slow[i] = client_as(65534, 65534);
	run_for(20);
	/* A further one takes the place of its own oldest. */
	client = client_as(65534, 65534);
	client_say(client, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(client, "ok\n");
	client_free(client);
	client_expect(slow[0], NULL);
	assert_false(followers[0]->ended);
	/* Another account, and the owner, have theirs. */
	client = client_as(65533, 65534);
	client_say(client, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(client, "HTTP/1.1 200 ");
	client_free(client);
	check_ok("GET", "/healthz", NULL, 200, "ok\n");
	for (int i = 0; i < API_STREAMS_READER_MAX; i++)
		client_free(followers[i]);
	for (int i = 0; i < n_slow; i++)
		client_free(slow[i]);
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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_api_get_routes_answer),
		TEST(test_api_connections_limit_is_checked),
		TEST(test_api_answer_of_megabytes_arrives_whole),
		TEST(test_api_head_is_get_without_body),
		TEST(test_api_connection_is_kept_alive),
		TEST(test_api_pause_and_resume_are_done_when_answered),
		TEST(test_api_orders_without_a_rollout_are_200),
		TEST(test_api_answer_that_comes_later_is_waited_for),
		TEST(test_api_answer_for_a_client_that_is_gone_is_dropped),
		TEST(test_api_end_answers_those_who_wait),
		TEST(test_api_reload_reaches_the_backend),
		TEST(test_api_leave_is_answered_before_it_is_done),
		TEST(test_api_leave_is_done_for_a_client_that_is_gone),
		TEST(test_api_problem_may_carry_mistakes),
		TEST(test_api_order_reaches_the_backend),
		TEST(test_api_backends_refusals_are_passed_on),
		TEST(test_api_unknown_paths_are_404),
		TEST(test_api_wrong_methods_are_405_with_allow),
		TEST(test_api_bad_bodies_are_400_with_the_place),
		TEST(test_api_body_size_is_bounded),
		TEST(test_api_huge_bodies_are_refused_unread),
		TEST(test_api_chunked_body_is_read),
		TEST(test_api_garbage_hurts_nobody),
		TEST(test_api_silent_connections_keep_nobody_out),
		TEST(test_api_lists_of_connections_are_few_at_once),
		TEST(test_api_one_answer_is_made_in_a_turn),
		TEST(test_api_who_asks_does_not_wait_for_work),
		TEST(test_api_work_does_not_wait_for_those_who_ask),
		TEST(test_api_clients_may_go_while_they_wait),
		TEST(test_api_end_answers_those_who_wait_for_their_turn),
		TEST(test_api_without_a_group_strangers_are_refused),
		TEST(test_api_change_of_the_group_takes_effect_at_once),
		TEST(test_api_one_account_cannot_take_all_places),
		TEST(test_api_strangers_may_read_but_not_change),
		TEST(test_api_open_where_another_answers_is_eaddrinuse),
	};
#undef TEST

	return cmocka_run_group_tests_name("api", tests, NULL, NULL);
}
