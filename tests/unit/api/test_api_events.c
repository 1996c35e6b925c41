/* SPDX-License-Identifier: BSD-2-Clause */
/* Events over HTTP: at once, followed, as server-sent events. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/api/api_fixture.h"

/* ---- events --------------------------------------------------------------------------------- */

/* All events of an answer that ends, in their order: "1 2 3 ". */
static void check_seqs(const char *target, const char *expected)
{
	struct client *client;
	char seqs[256] = "";

	assert_int_equal(ask("GET", target, "", NULL, 0, &client), 200);
	assert_non_null(strstr(client->input, "Content-Type: application/x-ndjson\r\n"));
	for (const char *p = client->input; (p = strstr(p, "{\"seq\":")); p++)
		snprintf(seqs + strlen(seqs), sizeof(seqs) - strlen(seqs), "%d ", atoi(p + 7));
	if (strstr(client->input, "\"event\":\"dropped\""))
		strcat(seqs, "dropped");
	assert_string_equal(seqs, expected);
	client_free(client);
}

static void add(const char *service, const char *name)
{
	assert_int_not_equal(events_add(events, 0, service, name, NULL), 0);
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
	check_seqs("/v1/events?since=99", "0 1 2 3 dropped");
	check_seqs("/v1/events?since=18446744073709551615", "0 1 2 3 dropped");
}

static void test_api_events_of_another_epoch_are_told_from_this_one(void **state)
{
	char target[128];

	(void)state;
	add("web", "a");
	add("web", "b");
	snprintf(target, sizeof(target), "/v1/events?since=%s:1", events_epoch(events));
	check_seqs(target, "2 ");
	snprintf(target, sizeof(target), "/v1/events?since=1&epoch=%s", events_epoch(events));
	check_seqs(target, "2 ");
	check_seqs("/v1/events?since=0123456789abcdef:1", "0 1 2 dropped");
	check_seqs("/v1/events?since=1&epoch=0123456789abcdef", "0 1 2 dropped");
	check_problem("GET", "/v1/events?since=1&epoch=x", NULL, 0, 400, 2, "epoch");
	check_problem("GET", "/v1/events?since=x:1", NULL, 0, 400, 2, "since");
}

static void test_api_events_old_clients_get_the_plain_lines(void **state)
{
	struct client *client = client_new();

	(void)state;
	add("web", "a");
	client_say(client, "GET /v1/events?since=0 HTTP/1.0\r\n\r\n");
	client_expect(client, NULL); /* closed: that is how its end is told */
	assert_memory_equal(body_of(client), "{\"seq\":1,\"epoch\":\"", 18);
	assert_string_equal(strstr(body_of(client), ",\"time\""),
			    ",\"time\":\"1970-01-01T00:00:00.000Z\",\"service\":\"web\",\"event\":"
			    "\"a\"}\n");
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

static void test_api_events_follow_delivers_at_once(void **state)
{
	struct client *client = follow("", "");
	int late = 0;
	char name[32];

	(void)state;
	for (int i = 0; i < 20; i++) {
		uint64_t start = clock_monotonic_ms();

		snprintf(name, sizeof(name), "event-%d", i);
		add("web", name);
		client_expect(client, name);
		late += clock_monotonic_ms() - start >= 500;
	}
	/* A busy machine may keep this process waiting, but not each time. */
	assert_in_range(late, 0, 5);
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
	char headers[128];

	(void)state;
	add("web", "one");
	add("web", "two");
	client = follow("", "Accept: text/event-stream\r\nLast-Event-ID: 1\r\n");
	assert_non_null(strstr(client->input, "Content-Type: text/event-stream\r\n"));
	client_expect(client, ":2\ndata: {\"seq\":2,");
	assert_null(strstr(client->input, ":1\ndata"));
	add("web", "three");
	client_expect(client, ":3\ndata: {\"seq\":3,");
	client_free(client);
	/* The ids are good for it. */
	snprintf(headers, sizeof(headers), "Accept: text/event-stream\r\nLast-Event-ID: %s:2\r\n",
		 events_epoch(events));
	client = follow("", headers);
	client_expect(client, ":3\ndata: {\"seq\":3,");
	assert_null(strstr(client->input, ":2\ndata"));
	client_free(client);
	client = follow("", "Accept: text/event-stream\r\nLast-Event-ID: 0123456789abcdef:2\r\n");
	client_expect(client, "\"event\":\"dropped\"");
	client_expect(client, ":1\ndata: {\"seq\":1,");
	client_free(client);
	/* What is asked for in the query comes before. */
	client = follow("&since=0", "Accept: text/event-stream\r\nLast-Event-ID: 2\r\n");
	client_expect(client, ":1\n");
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

/* Nobody has to look for them: the kernel says that they have gone. */
static void test_api_events_readers_gone_make_room_for_others(void **state)
{
	struct client *clients[API_STREAMS_OWNERS_MAX], *client;

	(void)state;
	for (int k = 0; k < 3; k++) {
		for (int i = 0; i < API_STREAMS_OWNERS_MAX; i++) {
			clients[i] = follow("", "");
			assert_non_null(strstr(clients[i]->input, "HTTP/1.1 200 OK"));
		}
		check_problem("GET", "/v1/events?follow=1", NULL, 0, 503, 6,
			      "too many follow the events (32 of root and its owner may");
		check_seqs("/v1/events?since=0", ""); /* reading what is kept is not following */
		for (int i = 0; i < API_STREAMS_OWNERS_MAX; i++)
			client_free(clients[i]);
		run_for(20);
	}
	client = follow("", "");
	add("web", "hello");
	client_expect(client, "hello");
	client_free(client);
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

/* Of those who are of use none has to go. */
static void test_api_events_all_places_in_use_is_503(void **state)
{
	static struct client *clients[API_OWNERS_MAX];
	struct client *client;

	(void)state;
	for (int i = 0; i < 8; i++)
		add_large(i, 100 * 1024); /* together more than a socket holds */
	for (int i = 0; i < API_OWNERS_MAX; i++) {
		clients[i] = client_new();
		client_say(clients[i],
			   i % 2 ? "GET /v1/events?since=0 HTTP/1.1\r\nHost: x\r\n\r\n"
				 : "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n");
		client_receive(clients[i]);
	}
	run_for(20);
	check_problem("GET", "/healthz", NULL, 0, 503, 6,
		      "all 64 connections of root and its owner are in use");
	client = client_new();
	client_expect(client, "\r\nRetry-After: 1\r\n");
	client_free(client);
	client_free(clients[0]);
	run_for(20);
	check_ok("GET", "/healthz", NULL, 200, "ok\n");
	for (int i = 1; i < API_OWNERS_MAX; i++)
		client_free(clients[i]);
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
	/* It has missed some, and was told so, but not the newest. */
	client_expect(slow, "\"last\"");
	assert_non_null(strstr(slow->input, "dropped: this reader was too slow"));
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
		TEST(test_api_events_gives_what_is_kept),
		TEST(test_api_events_of_another_epoch_are_told_from_this_one),
		TEST(test_api_events_old_clients_get_the_plain_lines),
		TEST(test_api_events_bad_queries_are_400),
		TEST(test_api_events_follow_delivers_at_once),
		TEST(test_api_events_follow_sends_the_kept_ones_first),
		TEST(test_api_events_of_an_order_reach_the_followers),
		TEST(test_api_events_sse_has_ids_and_goes_on_from_the_last),
		TEST(test_api_events_silent_streams_get_heartbeats),
		TEST(test_api_events_idle_streams_cost_nothing),
		TEST(test_api_events_readers_gone_make_room_for_others),
		TEST(test_api_events_all_places_in_use_is_503),
		TEST(test_api_events_slow_reader_holds_up_nobody),
		TEST(test_api_free_ends_streams_with_their_last_event),
		TEST(test_api_free_while_requests_are_under_way_is_safe),
	};
#undef TEST

	return cmocka_run_group_tests_name("api events", tests, NULL, NULL);
}
