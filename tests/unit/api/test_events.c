/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "orchestrator/api/events.h"

static struct events *events;

static int setup(void **state)
{
	(void)state;
	return events_new(&events);
}

static int teardown(void **state)
{
	(void)state;
	events_free(events);
	events = NULL;
	return 0;
}

static void test_events_empty_has_nothing(void **state)
{
	uint64_t seq = 99;

	(void)state;
	assert_int_equal(events_last(events), 0);
	assert_null(events_next(events, 0, NULL, &seq));
	assert_null(events_next(events, UINT64_MAX, NULL, &seq));
	assert_int_equal(seq, 99);
	events_free(NULL);
}

static void test_events_add_gives_the_line_in_order(void **state)
{
	uint64_t seq;

	(void)state;
	assert_int_equal(events_add(events, 1767225600007, "web", "start",
				    json_pack("{s:i, s:s}", "rollout", 5, "message", "a\nb")),
			 1);
	assert_string_equal(events_next(events, 0, NULL, &seq),
			    "{\"seq\":1,\"time\":\"2026-01-01T00:00:00.007Z\",\"service\":\"web\","
			    "\"event\":\"start\",\"rollout\":5,\"message\":\"a\\nb\"}");
	assert_int_equal(seq, 1);
	assert_null(events_next(events, seq, NULL, &seq));
}

static void test_events_details_cannot_replace_the_fixed_fields(void **state)
{
	uint64_t seq;

	(void)state;
	events_add(events, 0, "web", "start", json_pack("{s:i, s:s}", "seq", 77, "event", "done"));
	assert_string_equal(events_next(events, 0, NULL, &seq),
			    "{\"seq\":1,\"time\":\"1970-01-01T00:00:00.000Z\",\"service\":\"web\","
			    "\"event\":\"start\"}");
}

static void test_events_bad_details_take_no_number(void **state)
{
	uint64_t seq;

	(void)state;
	assert_int_equal(events_add(events, 0, "web", "start", json_array()), 0);
	assert_int_equal(events_add(events, 0, "w\xff", "start", json_object()), 0);
	assert_int_equal(events_last(events), 0);
	assert_int_equal(events_add(events, 0, "web", "start", NULL), 1);
	assert_non_null(events_next(events, 0, NULL, &seq));
}

static void test_events_next_of_one_service_skips_the_others(void **state)
{
	uint64_t seq;

	(void)state;
	events_add(events, 0, "web", "a", NULL);
	events_add(events, 0, "db", "b", NULL);
	events_add(events, 0, "web", "c", NULL);
	assert_non_null(strstr(events_next(events, 1, "web", &seq), "\"event\":\"c\""));
	assert_int_equal(seq, 3);
	assert_null(events_next(events, 2, "db", &seq));
	assert_null(events_next(events, 0, "we", &seq));
}

static void test_events_ring_forgets_the_oldest(void **state)
{
	uint64_t seq = 0, count = 0, previous = 0;
	char expected[32];

	(void)state;
	for (int i = 0; i < EVENTS_MAX + 10; i++)
		assert_int_equal(events_add(events, 0, "web", "tick", NULL), i + 1);
	assert_int_equal(events_last(events), EVENTS_MAX + 10);
	for (const char *line; (line = events_next(events, seq, NULL, &seq)); count++) {
		snprintf(expected, sizeof(expected), "{\"seq\":%llu,", (unsigned long long)seq);
		assert_memory_equal(line, expected, strlen(expected));
		assert_true(previous == 0 ? seq == 11 : seq == previous + 1);
		previous = seq;
	}
	assert_int_equal(count, EVENTS_MAX);
	assert_int_equal(seq, EVENTS_MAX + 10);
}

static void on_event(void *userdata)
{
	uint64_t *seen = userdata;

	*seen = events_last(events);
}

static void test_events_listener_is_called_after_the_event_is_there(void **state)
{
	uint64_t seen = 0;

	(void)state;
	events_listen(events, on_event, &seen);
	events_add(events, 0, "web", "a", NULL);
	assert_int_equal(seen, 1);
	events_add(events, 0, "web", "b", json_integer(1));
	assert_int_equal(seen, 1);
	events_listen(events, NULL, NULL);
	events_add(events, 0, "web", "c", NULL);
	assert_int_equal(seen, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_events_empty_has_nothing),
		TEST(test_events_add_gives_the_line_in_order),
		TEST(test_events_details_cannot_replace_the_fixed_fields),
		TEST(test_events_bad_details_take_no_number),
		TEST(test_events_next_of_one_service_skips_the_others),
		TEST(test_events_ring_forgets_the_oldest),
		TEST(test_events_listener_is_called_after_the_event_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
