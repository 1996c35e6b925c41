/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#include "common/clock.h"
#include "orchestrator/api/event_writer.h"
#include "orchestrator/host/file.h"
#include "tests/unit/fakes/folder.h"
#include "tests/unit/fakes/held_errand.h"

#define DEADLINE_MS 20000

static sd_event *loop;
static struct event_writer *writer;
static char path[300], spare[300];

/* ---- the daemon ----------------------------------------------------------------------------- */

static void begin(size_t size, const char *pending)
{
	static char heads[_EVENT_FILE_STATES][EVENT_HEAD_MAX] = {"open", "lost", "done"};
	const struct event_place place = {.path = path, .spare = spare, .event = loop};

	writer = event_writer_new(&place, size, heads, pending);
	assert_non_null(writer);
}

static void end(void)
{
	event_writer_finish(writer, EVENT_WRITER_TIMEOUT_MS);
	event_writer_free(TAKE_PTR(writer));
}

static void run_until_sent(unsigned n)
{
	uint64_t end_ms = clock_monotonic_ms() + DEADLINE_MS;

	while (helper.n < n && clock_monotonic_ms() < end_ms)
		assert_true(sd_event_run(loop, 100 * 1000) >= 0);
	assert_int_equal(helper.n, n);
}

static void check(const char *file, const char *expected)
{
	cleanup_free char *text = NULL;

	assert_int_equal(file_read(file, 10000, &text, NULL), expected ? 0 : -ENOENT);
	if (expected)
		assert_string_equal(text, expected);
}

static int set_up(void **state)
{
	memset(&helper, 0, sizeof(helper));
	if (sd_event_new(&loop) < 0 || folder_set_up(state) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s", in_folder("events"));
	snprintf(spare, sizeof(spare), "%s", in_folder("spare"));
	return 0;
}

static int tear_down(void **state)
{
	event_writer_free(TAKE_PTR(writer));
	loop = sd_event_unref(loop);
	return folder_tear_down(state);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void test_event_writer_what_happens_together_costs_one_helper(void **state)
{
	(void)state;
	begin(0, NULL);
	event_writer_add(writer, "a");
	event_writer_add(writer, "b");
	assert_int_equal(helper.n, 0);
	check(path, NULL);
	check(spare, "a\nb\n");
	run_until_sent(1);
	come_back();
	check(path, "open\na\nb\n");
	check(spare, NULL);
	end();
	assert_int_equal(helper.n, 2);
	check(path, "done\na\nb\n");
}

static void test_event_writer_one_that_hangs_is_waited_for_by_what_comes(void **state)
{
	(void)state;
	begin(0, NULL);
	event_writer_add(writer, "a");
	run_until_sent(1);
	be_late();
	event_writer_add(writer, "b");
	event_writer_add(writer, "c");
	check(spare, "a\nb\nc\n");
	come_back();
	check(path, "open\na\n");
	check(spare, "b\nc\n");
	run_until_sent(2);
	come_back();
	check(path, "open\na\nb\nc\n");
	check(spare, NULL);
}

static void test_event_writer_killed_leaves_all_to_the_next(void **state)
{
	cleanup_free char *text = NULL;

	(void)state;
	begin(0, NULL);
	event_writer_add(writer, "a");
	run_until_sent(1);
	come_back();
	event_writer_add(writer, "b");
	event_writer_free(TAKE_PTR(writer));
	check(path, "open\na\n");
	assert_int_equal(file_read(spare, 100, &text, NULL), 0);
	begin(strlen("open\na\n"), text);
	event_writer_add(writer, "c");
	check(spare, "b\nc\n");
	end();
	check(path, "done\na\nb\nc\n");
	check(spare, NULL);
}

static void test_event_writer_helper_that_dies_is_followed_by_another(void **state)
{
	(void)state;
	begin(0, NULL);
	event_writer_add(writer, "a");
	run_until_sent(1);
	come_back();
	event_writer_add(writer, "b");
	run_until_sent(2);
	die(true);
	check(path, "open\na\nb\n");
	check(spare, "b\n");
	run_until_sent(3);
	come_back();
	check(path, "open\na\nb\n");
	event_writer_add(writer, "c");
	helper.refused = -EAGAIN;
	for (uint64_t end_ms = clock_monotonic_ms() + 300; clock_monotonic_ms() < end_ms;)
		assert_true(sd_event_run(loop, 50 * 1000) >= 0);
	check(spare, "c\n");
	helper.refused = 0;
	end();
	check(path, "done\na\nb\nc\n");
}

static void test_event_writer_end_does_not_wait_for_ever(void **state)
{
	(void)state;
	begin(0, NULL);
	event_writer_add(writer, "a");
	run_until_sent(1);
	event_writer_add(writer, "b");
	helper.hangs = true;
	end();
	check(path, NULL);
	check(spare, "a\nb\n");
}

static void test_event_writer_too_many_are_lost(void **state)
{
	static char line[EVENT_FILE_SIZE_MAX / 4];
	cleanup_free char *text = NULL;

	(void)state;
	memset(line, 'x', sizeof(line) - 1);
	begin(0, NULL);
	for (unsigned k = 0; k < 5; k++)
		event_writer_add(writer, line);
	/* The next batond finds what there was room for. */
	assert_int_equal(file_read(spare, 2 * EVENT_FILE_SIZE_MAX, &text, NULL), 0);
	assert_int_equal(strlen(text), 4 * sizeof(line));
	run_until_sent(1);
	come_back();
	event_writer_free(TAKE_PTR(writer));
	free(TAKE_PTR(text));
	assert_int_equal(file_read(path, 2 * EVENT_FILE_SIZE_MAX, &text, NULL), 0);
	assert_int_equal(strncmp(text, "lost\n", 5), 0);
}

static void test_event_writer_refused_lines_are_told_by_the_head(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "%s/events", in_folder("later"));
	begin(0, NULL);
	event_writer_add(writer, "a");
	run_until_sent(1);
	come_back();
	check(spare, NULL); /* it is lost */
	assert_int_equal(mkdir(in_folder("later"), 0700), 0);
	event_writer_add(writer, "b");
	run_until_sent(2);
	come_back();
	check(path, "open\nb\n");
	end();
	check(path, "done\nb\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_event_writer_what_happens_together_costs_one_helper),
		TEST(test_event_writer_one_that_hangs_is_waited_for_by_what_comes),
		TEST(test_event_writer_killed_leaves_all_to_the_next),
		TEST(test_event_writer_helper_that_dies_is_followed_by_another),
		TEST(test_event_writer_end_does_not_wait_for_ever),
		TEST(test_event_writer_too_many_are_lost),
		TEST(test_event_writer_refused_lines_are_told_by_the_head),
	};

	return cmocka_run_group_tests_name("event_writer", tests, NULL, NULL);
}
