/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "orchestrator/api/event_stream.h"

#define LINE(seq, service, event)                                                                  \
	"{\"seq\":" #seq ",\"time\":\"1970-01-01T00:00:00.000Z\",\"service\":\"" service           \
	"\",\"event\":\"" event "\"}"

static struct events *events;
static struct event_stream *stream;
static char buffer[4096];

static int setup(void **state)
{
	(void)state;
	return events_new(&events);
}

static int teardown(void **state)
{
	(void)state;
	event_stream_free(stream);
	stream = NULL;
	events_free(events);
	return 0;
}

static void add(const char *service, const char *event)
{
	assert_int_not_equal(events_add(events, 0, service, event, NULL), 0);
}

static void open_stream(const char *service, uint64_t since, bool follow, enum event_format format)
{
	assert_int_equal(event_stream_new(events, service, since, follow, format, &stream), 0);
}

static void expect(const char *text)
{
	ssize_t n = event_stream_read(stream, buffer, sizeof(buffer));

	assert_int_equal(n, strlen(text));
	assert_memory_equal(buffer, text, strlen(text));
}

static void expect_nothing(void)
{
	assert_false(event_stream_ready(stream));
	assert_int_equal(event_stream_read(stream, buffer, sizeof(buffer)), 0);
}

static void expect_end(void)
{
	assert_true(event_stream_ready(stream));
	assert_int_equal(event_stream_read(stream, buffer, sizeof(buffer)), EVENT_STREAM_END);
	assert_int_equal(event_stream_read(stream, buffer, sizeof(buffer)), EVENT_STREAM_END);
}

static void test_event_stream_unfollowed_ends_with_what_was_there(void **state)
{
	(void)state;
	add("web", "a");
	add("db", "b");
	add("web", "c");
	open_stream(NULL, 1, false, EVENT_FORMAT_LINES);
	add("web", "later");
	expect(LINE(2, "db", "b") "\n" LINE(3, "web", "c") "\n");
	expect_end();
}

static void test_event_stream_unfollowed_empty_ends_at_once(void **state)
{
	(void)state;
	open_stream(NULL, 0, false, EVENT_FORMAT_LINES);
	expect_end();
	event_stream_finish(stream);
	expect_end();
	event_stream_free(NULL);
}

static void test_event_stream_followed_waits_and_goes_on(void **state)
{
	(void)state;
	add("web", "a");
	open_stream(NULL, 1, true, EVENT_FORMAT_LINES);
	expect_nothing();
	add("web", "b");
	assert_true(event_stream_ready(stream));
	expect(LINE(2, "web", "b") "\n");
	expect_nothing();
}

static void test_event_stream_of_a_service_is_woken_by_its_own_only(void **state)
{
	(void)state;
	open_stream("web", 0, true, EVENT_FORMAT_LINES);
	add("db", "a");
	expect_nothing();
	add("web", "b");
	expect(LINE(2, "web", "b") "\n");
	expect_nothing();
}

static void test_event_stream_sse_has_ids(void **state)
{
	(void)state;
	open_stream(NULL, 0, true, EVENT_FORMAT_SSE);
	add("web", "a");
	add("web", "b");
	expect("id: 1\ndata: " LINE(1, "web", "a") "\n\nid: 2\ndata: " LINE(2, "web", "b") "\n\n");
}

static void test_event_stream_beat_is_sent_in_silence_only(void **state)
{
	(void)state;
	open_stream(NULL, 0, true, EVENT_FORMAT_LINES);
	event_stream_beat(stream);
	assert_true(event_stream_ready(stream));
	expect("\n");
	expect_nothing();
	event_stream_beat(stream);
	add("web", "a");
	expect(LINE(1, "web", "a") "\n");
	expect_nothing();
	event_stream_free(stream);
	open_stream(NULL, 1, true, EVENT_FORMAT_SSE);
	event_stream_beat(stream);
	expect(": \n\n");
}

static void test_event_stream_byte_by_byte_is_the_same(void **state)
{
	static const char expected[] = LINE(1, "web", "a") "\n" LINE(2, "web", "b") "\n";

	(void)state;
	add("web", "a");
	add("web", "b");
	open_stream(NULL, 0, false, EVENT_FORMAT_LINES);
	for (size_t i = 0; i < strlen(expected); i++) {
		assert_int_equal(event_stream_read(stream, buffer, 1), 1);
		assert_int_equal(buffer[0], expected[i]);
	}
	expect_end();
}

static void test_event_stream_slow_reader_keeps_its_event_and_misses_the_oldest(void **state)
{
	char expected[64];
	ssize_t n;

	(void)state;
	add("web", "first");
	open_stream(NULL, 0, true, EVENT_FORMAT_LINES);
	assert_int_equal(event_stream_read(stream, buffer, 10), 10);
	for (int i = 0; i < EVENTS_MAX + 5; i++)
		add("web", "x");
	n = event_stream_read(stream, buffer + 10, strlen(LINE(1, "web", "first") "\n") - 10);
	assert_int_equal(n + 10, strlen(LINE(1, "web", "first") "\n"));
	assert_memory_equal(buffer, LINE(1, "web", "first") "\n", (size_t)n + 10);
	/* 1 + EVENTS_MAX + 5 were added: 7 is the oldest that is left. */
	snprintf(expected, sizeof(expected), "{\"seq\":7,");
	assert_true(event_stream_read(stream, buffer, 200) > 0);
	assert_memory_equal(buffer, expected, strlen(expected));
}

static void test_event_stream_finish_sends_the_rest_and_ends(void **state)
{
	(void)state;
	open_stream(NULL, 0, true, EVENT_FORMAT_LINES);
	add("web", "a");
	event_stream_finish(stream);
	add("web", "too late");
	expect(LINE(1, "web", "a") "\n");
	expect_end();
}

static void test_event_stream_number_from_the_future_means_from_now_on(void **state)
{
	(void)state;
	add("web", "a");
	open_stream(NULL, UINT64_MAX, true, EVENT_FORMAT_LINES);
	expect_nothing();
	add("web", "b");
	expect(LINE(2, "web", "b") "\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_event_stream_unfollowed_ends_with_what_was_there),
		TEST(test_event_stream_unfollowed_empty_ends_at_once),
		TEST(test_event_stream_followed_waits_and_goes_on),
		TEST(test_event_stream_of_a_service_is_woken_by_its_own_only),
		TEST(test_event_stream_sse_has_ids),
		TEST(test_event_stream_beat_is_sent_in_silence_only),
		TEST(test_event_stream_byte_by_byte_is_the_same),
		TEST(test_event_stream_slow_reader_keeps_its_event_and_misses_the_oldest),
		TEST(test_event_stream_finish_sends_the_rest_and_ends),
		TEST(test_event_stream_number_from_the_future_means_from_now_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
