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
	"{\"seq\":" #seq                                                                           \
	",\"epoch\":\"EPOCH\",\"time\":\"1970-01-01T00:00:00.000Z\",\"service\":\"" service        \
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

static void open_at(const char *service, const struct event_start *start, bool follow,
		    enum event_format format)
{
	event_stream_free(stream);
	assert_int_equal(event_stream_new(events, service, start, follow, format, &stream), 0);
}

static void open_stream(const char *service, uint64_t since, bool follow, enum event_format format)
{
	open_at(service, &(struct event_start){.since = since}, follow, format);
}

/* @text with the present epoch in the places of "EPOCH". */
static const char *with_epoch(const char *text)
{
	static char ret[4096];
	char *to = ret;

	while (*text) {
		if (strncmp(text, "EPOCH", 5) == 0) {
			to = stpcpy(to, events_epoch(events));
			text += 5;
		} else {
			*to++ = *text++;
		}
	}
	*to = '\0';
	return ret;
}

static void expect(const char *text)
{
	ssize_t n = event_stream_read(stream, buffer, sizeof(buffer));

	text = with_epoch(text);
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

/* One event that says that some are missing. Its time is now. */
static void expect_dropped(unsigned seq, const char *missed, const char *message)
{
	char piece[1024], expected[256];
	size_t n = 0;

	/* Byte by byte: what follows is for later. */
	while (n == 0 || piece[n - 1] != '}')
		assert_int_equal(event_stream_read(stream, piece + n++, 1), 1);
	while (piece[n - 1] != '\n' || (piece[0] == 'i' && piece[n - 2] != '\n'))
		assert_int_equal(event_stream_read(stream, piece + n++, 1), 1);
	piece[n] = '\0';
	snprintf(expected, sizeof(expected), "{\"seq\":%u,\"epoch\":\"%s\",\"time\":\"2", seq,
		 events_epoch(events));
	assert_non_null(strstr(piece, expected));
	snprintf(expected, sizeof(expected),
		 "Z\",\"service\":\"\",\"event\":\"dropped\",\"missed\":%s,\"next\":", missed);
	assert_non_null(strstr(piece, expected));
	snprintf(expected, sizeof(expected), "\"message\":\"%s", message);
	assert_non_null(strstr(piece, expected));
	memcpy(buffer, piece, n);
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
	expect("id: EPOCH:1\ndata: " LINE(1, "web", "a") "\n\nid: EPOCH:2\ndata: " LINE(
		2, "web", "b") "\n\n");
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
	open_stream(NULL, 1, true, EVENT_FORMAT_SSE);
	event_stream_beat(stream);
	expect(": \n\n");
}

static void test_event_stream_byte_by_byte_is_the_same(void **state)
{
	const char *expected = with_epoch(LINE(1, "web", "a") "\n" LINE(2, "web", "b") "\n");

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
	const char *first = with_epoch(LINE(1, "web", "first") "\n");
	ssize_t n;

	(void)state;
	add("web", "first");
	open_stream(NULL, 0, true, EVENT_FORMAT_LINES);
	assert_int_equal(event_stream_read(stream, buffer, 10), 10);
	for (int i = 0; i < EVENTS_MAX + 5; i++)
		add("web", "x");
	n = event_stream_read(stream, buffer + 10, strlen(first) - 10);
	assert_int_equal(n + 10, strlen(first));
	assert_memory_equal(buffer, first, (size_t)n + 10);
	/* 1 + EVENTS_MAX + 5 were added: 7 is the oldest that is left. */
	expect_dropped(6, "5", "5 events were dropped: this reader was too slow");
	assert_true(event_stream_read(stream, buffer, 200) > 0);
	assert_memory_equal(buffer, "{\"seq\":7,", 9);
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

static void test_event_stream_from_now_on_has_nothing_that_was(void **state)
{
	(void)state;
	add("web", "a");
	open_at(NULL, &(struct event_start){.from_now = true}, true, EVENT_FORMAT_LINES);
	expect_nothing();
	add("web", "b");
	expect(LINE(2, "web", "b") "\n");
}

static void test_event_stream_number_from_the_future_is_of_another_history(void **state)
{
	(void)state;
	open_stream(NULL, 7, true, EVENT_FORMAT_LINES);
	assert_true(event_stream_ready(stream));
	expect_dropped(0, "null", "the history of events has begun anew since number 7");
	expect_nothing();
	add("web", "a");
	expect(LINE(1, "web", "a") "\n");
	expect_nothing();
	open_stream(NULL, UINT64_MAX, false, EVENT_FORMAT_LINES);
	expect_dropped(0, "null", "the history of events has begun anew");
	expect(LINE(1, "web", "a") "\n");
	expect_end();
}

static void test_event_stream_of_another_epoch_is_told_so(void **state)
{
	struct event_start start = {.since = 1};

	(void)state;
	add("web", "a");
	add("web", "b");
	assert_true(event_epoch_parse(events_epoch(events), &start.epoch));
	open_at("web", &start, false, EVENT_FORMAT_LINES);
	expect(LINE(2, "web", "b") "\n");
	expect_end();
	start.epoch ^= 1;
	open_at("web", &start, false, EVENT_FORMAT_LINES);
	expect_dropped(0, "null", "the history of events has begun anew since number 1");
	expect(LINE(1, "web", "a") "\n" LINE(2, "web", "b") "\n");
	expect_end();
}

static void test_event_stream_that_asks_for_what_is_no_longer_kept_is_told(void **state)
{
	(void)state;
	for (int i = 0; i < EVENTS_MAX + 1; i++)
		add("web", "x");
	open_stream(NULL, 0, true, EVENT_FORMAT_LINES); /* all that is kept */
	assert_true(event_stream_read(stream, buffer, 9) == 9);
	assert_memory_equal(buffer, "{\"seq\":2,", 9);
	add("web", "x");
	open_stream("web", 1, true, EVENT_FORMAT_SSE);
	expect_dropped(2, "1", "1 event, of all services, is no longer kept");
	assert_memory_equal(buffer, with_epoch("id: EPOCH:2\ndata: {"), 29);
}

static void test_event_stream_shows_what_passes_to_followers_only(void **state)
{
	(void)state;
	add("web", "a");
	open_stream(NULL, 1, true, EVENT_FORMAT_LINES);
	events_pass(events, 0, "web", "probe", NULL);
	expect(LINE(1, "web", "probe") "\n");
	events_pass(events, 0, "db", "probe", NULL);
	event_stream_finish(stream);
	expect_end();
	open_stream(NULL, 0, false, EVENT_FORMAT_LINES);
	expect(LINE(1, "web", "a") "\n");
	expect_end();
}

static void test_event_stream_starts_are_read_strictly(void **state)
{
	static const char *const bad[] = {"",
					  "x",
					  "-1",
					  " 1",
					  "1 ",
					  "18446744073709551616",
					  ":1",
					  "1:1",
					  "0000000000000000:1",
					  "0123456789abcdef:",
					  "0123456789ABCDEF:1",
					  "0123456789abcdef0:1"};
	struct event_start start = {.epoch = 5};

	(void)state;
	assert_true(event_start_parse("41", &start));
	assert_int_equal(start.since, 41);
	assert_int_equal(start.epoch, 5);
	assert_true(event_start_parse("0123456789abcdef:18446744073709551615", &start));
	assert_true(start.since == UINT64_MAX && start.epoch == 0x0123456789abcdef);
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		assert_false(event_start_parse(bad[k], &start));
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
		TEST(test_event_stream_from_now_on_has_nothing_that_was),
		TEST(test_event_stream_number_from_the_future_is_of_another_history),
		TEST(test_event_stream_of_another_epoch_is_told_so),
		TEST(test_event_stream_that_asks_for_what_is_no_longer_kept_is_told),
		TEST(test_event_stream_shows_what_passes_to_followers_only),
		TEST(test_event_stream_starts_are_read_strictly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
