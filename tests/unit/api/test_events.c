/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/json_memory.h"
#include "orchestrator/api/events.h"
#include "orchestrator/host/file.h"
#include "tests/unit/fakes/folder.h"

static struct events *events;
static const char *path;

static int setup(void **state)
{
	if (folder_set_up(state) < 0)
		return -1;
	path = in_folder("events.jsonl");
	return events_new(&events);
}

static int teardown(void **state)
{
	events_free(events);
	events = NULL;
	return folder_tear_down(state);
}

static uint64_t add(const char *service, const char *event)
{
	return events_add(events, 0, service, event, NULL);
}

static void pass(const char *service, const char *event)
{
	events_pass(events, 0, service, event, NULL);
}

/* What a reader at @cursor gets, as the names of the events; NULL: nothing. */
static const char *next(struct events_cursor *cursor, const char *service)
{
	static char name[64];
	struct events_found found;
	const char *begin;

	if (!events_find(events, cursor, service, &found))
		return NULL;
	begin = strstr(found.line, "\"event\":\"") + 9;
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(begin, "\""), begin);
	events_take(cursor, &found);
	return name;
}

static void expect_all(struct events_cursor *cursor, const char *service, const char *expected)
{
	char seen[512] = "";
	const char *name;

	while ((name = next(cursor, service)))
		snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "%s ", name);
	assert_string_equal(seen, expected);
}

static void test_events_empty_has_nothing(void **state)
{
	struct events_cursor cursor = {};
	uint64_t epoch;

	(void)state;
	assert_int_equal(events_last(events), 0);
	assert_null(next(&cursor, NULL));
	assert_true(events_seek(events, 0, 0, &cursor));
	assert_null(next(&cursor, NULL));
	assert_true(event_epoch_parse(events_epoch(events), &epoch));
	events_free(NULL);
}

static void test_events_add_gives_the_line_in_order(void **state)
{
	struct events_cursor cursor = {};
	struct events_found found;
	char expected[256];

	(void)state;
	assert_int_equal(events_add(events, 1767225600007, "web", "start",
				    json_pack("{s:i, s:s}", "rollout", 5, "message", "a\nb")),
			 1);
	assert_true(events_find(events, &cursor, NULL, &found));
	snprintf(expected, sizeof(expected),
		 "{\"seq\":1,\"epoch\":\"%s\",\"time\":\"2026-01-01T00:00:00.007Z\",\"service\":"
		 "\"web\",\"event\":\"start\",\"rollout\":5,\"message\":\"a\\nb\"}",
		 events_epoch(events));
	assert_string_equal(found.line, expected);
	assert_string_equal(found.epoch, events_epoch(events));
	assert_string_equal(found.time, "2026-01-01T00:00:00.007Z");
	assert_int_equal(found.seq, 1);
	assert_false(found.passing);
	events_take(&cursor, &found);
	assert_false(events_find(events, &cursor, NULL, &found));
}

static void test_events_details_cannot_replace_the_fixed_fields(void **state)
{
	struct events_cursor cursor = {};
	struct events_found found;

	(void)state;
	events_add(events, 0, "web", "start",
		   json_pack("{s:i, s:s, s:s}", "seq", 77, "event", "done", "epoch", "x"));
	assert_true(events_find(events, &cursor, NULL, &found));
	assert_non_null(strstr(found.line, "{\"seq\":1,"));
	assert_non_null(strstr(found.line, "\"event\":\"start\"}"));
	assert_null(strstr(found.line, "\"x\""));
}

static void test_events_bad_details_take_no_number(void **state)
{
	struct events_cursor cursor = {};

	(void)state;
	assert_int_equal(events_add(events, 0, "web", "start", json_array()), 0);
	assert_int_equal(events_add(events, 0, "w\xff", "start", json_object()), 0);
	assert_int_equal(events_last(events), 0);
	events_pass(events, 0, "web", "start", json_array());
	assert_int_equal(add("web", "start"), 1);
	expect_all(&cursor, NULL, "start ");
}

/* With AddressSanitizer malloc(3) would end the program. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

static json_malloc_t enough;
static unsigned allocations_left;

/* The last of them gets nothing, as if the host had no memory for it. */
static void *allocate_some(size_t size)
{
	return enough(--allocations_left == 0 ? SIZE_MAX / 2 : size);
}

static void test_events_without_memory_are_whole_or_not_there(void **state)
{
	struct events_cursor cursor = {};
	struct events_found found;
	json_free_t release;
	uint64_t seq = 0;
	json_t *details;

	(void)state;
	json_memory_watch();
	json_get_alloc_funcs(&enough, &release);
	for (unsigned n = 1; seq == 0; n++) {
		assert_true(n < 1000);
		details = json_pack("{s:i, s:s, s:i, s:s}", "generation", 7, "message", "m",
				    "instance", 0, "reason", "r");
		assert_non_null(details);
		json_set_alloc_funcs(allocate_some, release);
		allocations_left = n;
		seq = events_add(events, 0, "web", "healthy", details);
		json_set_alloc_funcs(enough, release);
	}
	assert_int_equal(seq, 1);
	assert_true(events_find(events, &cursor, NULL, &found));
	assert_non_null(strstr(found.line, "\"generation\":7,\"message\":\"m\",\"instance\":0,"
					   "\"reason\":\"r\"}"));
}

static void test_events_missed_ones_leave_a_number_that_readers_count(void **state)
{
	struct events_cursor cursor = {};

	(void)state;
	assert_int_equal(add("web", "start"), 1);
	events_miss(events);
	assert_int_equal(events_last(events), 2);
	assert_int_equal(add("web", "done"), 3);
	expect_all(&cursor, NULL, "start done ");
	assert_int_equal(cursor.absent, 1);
}

static void test_events_of_one_service_skip_the_others(void **state)
{
	struct events_cursor cursor = {.seq = 1};

	(void)state;
	add("web", "a");
	add("db", "b");
	add("web", "c");
	expect_all(&cursor, "web", "c ");
	cursor.seq = 2;
	expect_all(&cursor, "db", "");
	cursor.seq = 0;
	expect_all(&cursor, "we", "");
	/* What does not concern a reader is behind it: it is looked at once, and never missed. */
	assert_int_equal(cursor.seq, 3);
	for (int i = 0; i < 2 * EVENTS_MAX; i++) {
		add("db", "x");
		assert_null(next(&cursor, "web"));
	}
	assert_int_equal(cursor.missed, 0);
}

static void test_events_forget_the_oldest_and_count_them(void **state)
{
	struct events_cursor cursor = {};
	struct events_found found;
	uint64_t count = 0;

	(void)state;
	for (int i = 0; i < EVENTS_MAX + 10; i++)
		assert_int_equal(add("web", "tick"), i + 1);
	while (events_find(events, &cursor, NULL, &found)) {
		assert_int_equal(found.seq, 11 + count++);
		events_take(&cursor, &found);
	}
	assert_int_equal(count, EVENTS_MAX);
	assert_int_equal(cursor.missed, 10);
	assert_int_equal(cursor.absent, 0);
	/* Who asks for all that is kept has missed nothing. */
	assert_true(events_seek(events, 0, 0, &cursor));
	assert_true(events_find(events, &cursor, NULL, &found));
	assert_int_equal(found.seq, 11);
	assert_int_equal(cursor.missed, 0);
}

static void test_events_that_pass_push_out_nothing(void **state)
{
	struct events_cursor cursor, idle;

	(void)state;
	add("web", "start");
	events_end(events, &cursor);
	idle = cursor;
	for (int i = 0; i < 10 * EVENTS_MAX; i++)
		pass("web", "probe");
	add("web", "done");
	assert_int_equal(events_last(events), 2);
	/* A follower gets the newest of them, in their place; nobody else does. */
	for (int i = 0; i < EVENTS_PASSING_MAX; i++)
		assert_string_equal(next(&cursor, NULL), "probe");
	expect_all(&cursor, NULL, "done ");
	assert_int_equal(cursor.missed, 0);
	expect_all(&idle, "db", "");
	assert_true(events_seek(events, 0, 0, &cursor));
	cursor.passing = EVENTS_NONE_PASSING;
	expect_all(&cursor, NULL, "start done ");
}

static void test_events_that_pass_come_in_their_place(void **state)
{
	struct events_cursor cursor;
	struct events_found found;

	(void)state;
	events_end(events, &cursor);
	add("web", "a");
	pass("web", "b");
	pass("db", "c");
	add("web", "d");
	pass("web", "e");
	assert_string_equal(next(&cursor, NULL), "a");
	assert_true(events_find(events, &cursor, NULL, &found));
	assert_true(found.passing);
	assert_int_equal(found.seq, 1); /* a reader can go on from there */
	expect_all(&cursor, NULL, "b c d e ");
}

static void test_events_seek_knows_this_history_from_others(void **state)
{
	struct events_cursor cursor;
	uint64_t epoch;

	(void)state;
	add("web", "a");
	add("web", "b");
	assert_true(event_epoch_parse(events_epoch(events), &epoch));
	assert_true(events_seek(events, epoch, 1, &cursor));
	expect_all(&cursor, NULL, "b ");
	assert_true(events_seek(events, 0, 2, &cursor));
	expect_all(&cursor, NULL, "");
	assert_true(events_seek(events, epoch, 0, &cursor));
	expect_all(&cursor, NULL, "a b ");
	/* What is not of this history may have missed all of it. */
	assert_false(events_seek(events, epoch ^ 1, 1, &cursor));
	expect_all(&cursor, NULL, "a b ");
	assert_false(events_seek(events, 0, 3, &cursor));
	expect_all(&cursor, NULL, "a b ");
	/* It knows more of this one than we do: it goes on behind what both know. */
	assert_false(events_seek(events, epoch, UINT64_MAX, &cursor));
	expect_all(&cursor, NULL, "");
}

static void on_event(void *userdata)
{
	uint64_t *seen = userdata;

	(*seen)++;
}

static void test_events_listener_is_called_after_the_event_is_there(void **state)
{
	uint64_t seen = 0;

	(void)state;
	events_listen(events, on_event, &seen);
	add("web", "a");
	assert_int_equal(seen, 1);
	events_add(events, 0, "web", "b", json_integer(1));
	assert_int_equal(seen, 1);
	pass("web", "c");
	assert_int_equal(seen, 2);
	events_listen(events, NULL, NULL);
	add("web", "c");
	assert_int_equal(seen, 2);
}

/* ---- in a file ------------------------------------------------------------------------------ */

/* Another daemon. @warning: there is something to be said. */
static void begin(int warning)
{
	struct error err;

	events_free(events);
	assert_int_equal(events_new(&events), 0);
	assert_int_equal(events_open(events, &(struct event_place){.path = path}, &err), warning);
}

static void test_events_go_on_in_the_next_daemon(void **state)
{
	struct events_cursor cursor;
	char epoch[20];
	uint64_t number;

	(void)state;
	begin(0);
	add("web", "a");
	pass("web", "probe");
	add("web", "b");
	strcpy(epoch, events_epoch(events));
	begin(0);
	assert_string_equal(events_epoch(events), epoch);
	assert_int_equal(events_last(events), 2);
	assert_int_equal(add("web", "c"), 3);
	assert_true(event_epoch_parse(epoch, &number));
	assert_true(events_seek(events, number, 1, &cursor));
	expect_all(&cursor, NULL, "b c ");
}

static void test_events_of_a_history_that_is_gone_are_told_from_new_ones(void **state)
{
	struct events_cursor cursor;
	uint64_t before, epoch;

	(void)state;
	begin(0);
	add("web", "a");
	add("web", "b");
	assert_true(event_epoch_parse(events_epoch(events), &before));
	unlink(path);
	begin(0);
	assert_true(event_epoch_parse(events_epoch(events), &epoch));
	assert_int_not_equal(epoch, before);
	assert_int_equal(add("web", "c"), 1);
	assert_false(events_seek(events, before, 1, &cursor));
	expect_all(&cursor, NULL, "c ");
}

/* The disk was full until the end: what stands at the end of the file is not the end. */
static void test_events_that_were_lost_begin_another_epoch(void **state)
{
	struct events_cursor cursor;
	char *text, *state_word;
	uint64_t before;
	size_t length;

	(void)state;
	begin(0);
	add("web", "a");
	add("web", "b");
	assert_true(event_epoch_parse(events_epoch(events), &before));
	begin(0);
	assert_int_equal(file_read(path, 100000, &text, &length), 0);
	state_word = strstr(text, "\"state\":\"open\"");
	assert_non_null(state_word);
	memcpy(state_word, "\"state\":\"lost\"", 14);
	events_free(events);
	assert_int_equal(file_replace(path, text, length, 0600), 0);
	free(text);
	assert_int_equal(events_new(&events), 0);
	assert_int_equal(events_open(events, &(struct event_place){.path = path}, NULL), 0);
	assert_int_equal(add("web", "c"), 3); /* numbers grow all the same */
	/* A reader goes on behind the last one that both know, and learns that some may lack. */
	assert_false(events_seek(events, before, 1, &cursor));
	expect_all(&cursor, NULL, "b c ");
	assert_false(events_seek(events, before, 77, &cursor));
	expect_all(&cursor, NULL, "c ");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_events_empty_has_nothing),
		TEST(test_events_add_gives_the_line_in_order),
		TEST(test_events_without_memory_are_whole_or_not_there),
		TEST(test_events_missed_ones_leave_a_number_that_readers_count),
		TEST(test_events_details_cannot_replace_the_fixed_fields),
		TEST(test_events_bad_details_take_no_number),
		TEST(test_events_of_one_service_skip_the_others),
		TEST(test_events_forget_the_oldest_and_count_them),
		TEST(test_events_that_pass_push_out_nothing),
		TEST(test_events_that_pass_come_in_their_place),
		TEST(test_events_seek_knows_this_history_from_others),
		TEST(test_events_listener_is_called_after_the_event_is_there),
		TEST(test_events_go_on_in_the_next_daemon),
		TEST(test_events_of_a_history_that_is_gone_are_told_from_new_ones),
		TEST(test_events_that_were_lost_begin_another_epoch),
	};

	return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
