/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "orchestrator/api/event_file.h"
#include "orchestrator/host/file.h"
#include "tests/unit/fakes/folder.h"

#define FRESH 0x1111111111111111
#define OTHER 0x2222222222222222

static struct event_file *file;
static const char *path, *spare;
static char taken[1024]; /* "1 2 3 ": the numbers of what was read back */
static struct error err;

static int set_up(void **state)
{
	if (folder_set_up(state) < 0)
		return -1;
	path = in_folder("events.jsonl");
	spare = NULL;
	return 0;
}

static int tear_down(void **state)
{
	event_file_free(file);
	file = NULL;
	return folder_tear_down(state);
}

static void take(void *userdata, const struct event_line *line)
{
	size_t n = strlen(taken);

	assert_ptr_equal(userdata, &file);
	assert_string_equal(line->service, "web");
	assert_string_equal(line->time, "2026-01-01T00:00:00.000Z");
	assert_non_null(strstr(line->text, "\"event\":\"x\"}"));
	snprintf(taken + n, sizeof(taken) - n, "%llu ", (unsigned long long)line->seq);
}

/* A daemon whose new epoch would be @fresh. The one before was killed, if it was not ended. */
static void begin(uint64_t fresh, int expected)
{
	const struct event_file_taker taker = {.take = take, .userdata = &file};
	const struct event_place place = {.path = path, .spare = spare};

	taken[0] = err.text[0] = '\0';
	assert_int_equal(event_file_open(&place, fresh, &taker, &file, &err), expected);
	assert_true((expected == 1) == (err.text[0] != '\0'));
}

static void end(void)
{
	event_file_free(file);
	file = NULL;
}

/* As if by SIGKILL: what the file says is as it was before the end, as is its content. */
static void be_killed(void)
{
	cleanup_free char *text = NULL;
	size_t length;

	assert_int_equal(file_read(path, 10000000, &text, &length), 0);
	end();
	assert_int_equal(file_replace(path, text, length, 0600), 0);
}

static const char *line_of(uint64_t seq)
{
	static char line[256];

	snprintf(line, sizeof(line),
		 "{\"seq\":%llu,\"epoch\":\"" EVENT_EPOCH_FORMAT
		 "\",\"time\":\"2026-01-01T00:00:00.000Z\",\"service\":\"web\",\"event\":\"x\"}",
		 (unsigned long long)seq, event_file_epoch(file));
	return line;
}

static void add(uint64_t first, uint64_t last)
{
	for (uint64_t seq = first; seq <= last; seq++)
		event_file_add(file, line_of(seq));
}

static void append(const char *text)
{
	FILE *f = fopen(path, "a");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* Change the first @from in the file into @to, which is as long. */
static void change(const char *from, const char *to)
{
	cleanup_free char *text = NULL;
	size_t length;
	char *at;

	assert_int_equal(file_read(path, 10000000, &text, &length), 0);
	at = strstr(text, from);
	assert_non_null(at);
	memcpy(at, to, strlen(to));
	assert_int_equal(file_replace(path, text, length, 0600), 0);
}

static void expect(uint64_t epoch, uint64_t last, const char *numbers)
{
	assert_string_equal(taken, numbers);
	assert_true(event_file_epoch(file) == epoch);
	assert_int_equal(event_file_last(file), last);
}

static void test_event_file_goes_on_after_an_end_and_after_sigkill(void **state)
{
	(void)state;
	begin(FRESH, 0);
	expect(FRESH, 0, "");
	add(1, 2);
	end();
	begin(OTHER, 0);
	expect(FRESH, 2, "1 2 ");
	add(3, 3);
	be_killed();
	begin(OTHER, 0);
	expect(FRESH, 3, "1 2 3 ");
	event_file_free(NULL);
}

static void test_event_file_of_a_crashed_host_begins_another_epoch(void **state)
{
	(void)state;
	begin(FRESH, 0);
	add(1, 2);
	be_killed();
	change("\"boot\":\"", "\"boot\":\"00000000");
	begin(OTHER, 0);
	expect(OTHER, 2, "1 2 ");
	add(3, 3);
	/* A host that was shut down has ended batond first. */
	end();
	change("\"boot\":\"", "\"boot\":\"00000000");
	begin(FRESH, 0);
	expect(OTHER, 3, "1 2 3 ");
}

static void test_event_file_torn_last_line_is_cut_off(void **state)
{
	(void)state;
	begin(FRESH, 0);
	add(1, 2);
	be_killed();
	append("{\"seq\":3,\"epo");
	begin(OTHER, 0);
	expect(FRESH, 3, "1 2 "); /* its number has been used */
	add(4, 4);
	be_killed();
	begin(OTHER, 0);
	expect(FRESH, 4, "1 2 4 ");
	be_killed();
	/* If it is not known which one it was the number may be used again: in another epoch. */
	append("{\"seq\":5");
	begin(OTHER, 0);
	expect(OTHER, 4, "1 2 4 ");
}

static void test_event_file_turns_and_is_read_back_from_both(void **state)
{
	char padding[2000], line[2400];
	struct stat st;
	uint64_t n;

	(void)state;
	begin(FRESH, 0);
	memset(padding, 'x', sizeof(padding));
	/* 600 lines of some 2 KB fill more than one file. */
	for (uint64_t seq = 1; seq <= 600; seq++) {
		n = (uint64_t)snprintf(line, sizeof(line), "%s", line_of(seq));
		snprintf(line + n - 12, sizeof(line) - n + 12, "\"a\":\"%.*s\",\"event\":\"x\"}",
			 (int)sizeof(padding), padding);
		event_file_add(file, line);
	}
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size < EVENT_FILE_SIZE_MAX);
	assert_int_equal(stat(in_folder("events.jsonl.1"), &st), 0);
	assert_true(st.st_size <= EVENT_FILE_SIZE_MAX);
	be_killed();
	begin(OTHER, 0);
	assert_true(event_file_epoch(file) == FRESH);
	assert_int_equal(event_file_last(file), 600);
	assert_memory_equal(taken, "1 2 3 ", 6);
	end();
	/* With the newer one gone nobody knows what it had. */
	unlink(path);
	begin(OTHER, 0);
	assert_true(event_file_epoch(file) == OTHER);
	assert_true(event_file_last(file) > 400 && event_file_last(file) < 600);
}

static void test_event_file_reads_back_the_newest_only(void **state)
{
	(void)state;
	begin(FRESH, 0);
	add(1, EVENT_FILE_READ_MAX + 5);
	be_killed();
	begin(OTHER, 0);
	assert_memory_equal(taken, "6 7 8 ", 6);
	assert_int_equal(event_file_last(file), EVENT_FILE_READ_MAX + 5);
}

static void test_event_file_that_cannot_be_used_is_moved_aside(void **state)
{
	static const struct {
		const char *content, *why;
	} bad[] = {
		{"[1, 2]", "its first line"},
		{"[1, 2]\n", "its first line"},
		{"{\"version\": 1, \"services\": {}}\n", "its first line"},
		{"{\"baton\":\"events\",\"version\":1,\"epo", "its first line"},
		{"{\"baton\":\"events\",\"version\":1,\"epoch\":\"0000000000000000\"}\n",
		 "its first line"},
		{"{\"baton\":\"events\",\"version\":1,\"epoch\":\"1111111111111111\"}\n",
		 "another length"},
		{"{\"baton\":\"events\",\"version\":99}\n", "a later version of baton (format 99"},
		{"\xff\xfe\x00 binary\n", "its first line"},
	};
	char aside[300];

	(void)state;
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		write_file("events.jsonl", bad[k].content, 0600);
		begin(FRESH, 1);
		expect(FRESH, 0, "");
		snprintf(aside, sizeof(aside), "it was moved to %s.bad", path);
		assert_non_null(strstr(err.text, bad[k].why));
		assert_non_null(strstr(err.text, aside));
		add(1, 1);
		end();
		begin(OTHER, 0);
		expect(FRESH, 1, "1 ");
		end();
	}
}

static void test_event_file_with_a_bad_line_is_moved_aside(void **state)
{
	static const char *const bad[] = {
		"nonsense\n",
		"{}\n",
		"\n",
		"{\"seq\":4}\n",
		"{\"seq\":2,\"epoch\":\"1111111111111111\",\"time\":\"\",\"service\":\"\","
		"\"event\":\"x\"}\n",
		"{\"seq\":-1,\"epoch\":\"1111111111111111\",\"time\":\"\",\"service\":\"\","
		"\"event\":\"x\"}\n",
		"{\"seq\":9,\"epoch\":\"x\",\"time\":\"\",\"service\":\"\",\"event\":\"x\"}\n",
	};

	(void)state;
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		unlink(path);
		begin(FRESH, 0);
		add(1, 2);
		be_killed();
		append(bad[k]);
		begin(OTHER, 1);
		expect(OTHER, 0, "");
		assert_non_null(strstr(err.text, "damaged: line 4 is "));
		end();
	}
}

static void test_event_file_that_is_no_file_is_moved_aside(void **state)
{
	char aside[300];

	(void)state;
	alarm(60);
	for (int k = 0; k < 5; k++) {
		if (k == 0)
			assert_int_equal(mkfifo(path, 0600), 0);
		if (k == 1)
			assert_int_equal(symlink("/dev/zero", path), 0);
		if (k == 2)
			assert_int_equal(symlink("/dev/null", path), 0);
		if (k == 3)
			assert_int_equal(mkdir(path, 0700), 0);
		if (k == 4)
			assert_int_equal(truncate(write_file("events.jsonl", "", 0600), 1L << 36),
					 0);
		begin(FRESH, 1);
		snprintf(aside, sizeof(aside), "it was moved to %s.bad", path);
		assert_non_null(strstr(err.text, aside));
		add(1, 1);
		end();
		begin(OTHER, 0);
		expect(FRESH, 1, "1 ");
		end();
		unlink(path);
	}
	alarm(0);
}

static void test_event_file_whose_older_one_is_bad_goes_on_without_it(void **state)
{
	(void)state;
	begin(FRESH, 0);
	add(5, 6);
	end();
	assert_int_equal(mkfifo(in_folder("events.jsonl.1"), 0600), 0);
	begin(OTHER, 1);
	expect(FRESH, 6, "5 6 ");
	assert_non_null(strstr(err.text, "events.jsonl.1.bad"));
}

static void test_event_file_empty_is_as_good_as_none(void **state)
{
	(void)state;
	write_file("events.jsonl", "", 0600);
	begin(FRESH, 0);
	expect(FRESH, 0, "");
	add(1, 1);
	end();
	begin(OTHER, 0);
	expect(FRESH, 1, "1 ");
}

static void limit_size(rlim_t size)
{
	struct rlimit limit;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* As on a full disk. */
static void test_event_file_knows_that_it_lost_events(void **state)
{
	struct stat st;

	(void)state;
	begin(FRESH, 0);
	add(1, 1);
	assert_int_equal(stat(path, &st), 0);
	limit_size((rlim_t)st.st_size + 10);
	add(2, 3);
	limit_size(RLIM_INFINITY);
	be_killed();
	begin(OTHER, 0); /* 2 and 3 were told, and are known to nobody */
	expect(OTHER, 1, "1 ");
	add(2, 2);
	assert_int_equal(stat(path, &st), 0);
	limit_size((rlim_t)st.st_size + 10);
	add(3, 4);
	limit_size(RLIM_INFINITY);
	add(5, 5);
	be_killed();
	begin(FRESH, 0); /* which numbers are missing is seen */
	expect(OTHER, 5, "1 2 5 ");
	assert_int_equal(stat(path, &st), 0);
	limit_size((rlim_t)st.st_size + 10);
	add(6, 6);
	limit_size(RLIM_INFINITY);
	end();
	begin(FRESH, 0);
	expect(FRESH, 5, "1 2 5 ");
}

static void test_event_file_that_cannot_be_opened_is_tried_again(void **state)
{
	char below[300];

	(void)state;
	snprintf(below, sizeof(below), "%s/events.jsonl", in_folder("later"));
	path = below;
	begin(FRESH, 0);
	add(1, 2);
	assert_int_equal(mkdir(in_folder("later"), 0700), 0);
	add(3, 3);
	end();
	begin(OTHER, 0);
	expect(FRESH, 3, "3 ");
}

/* What a daemon had not written when it was killed; the last line is torn. */
static void test_event_file_takes_what_the_spare_has(void **state)
{
	cleanup_free char *text = NULL;
	char lines[1024] = "";
	size_t length;

	(void)state;
	spare = in_folder("spare");
	begin(FRESH, 0);
	add(1, 2);
	for (uint64_t seq = 2; seq <= 4; seq++)
		snprintf(lines + strlen(lines), sizeof(lines) - strlen(lines), "%s\n%s",
			 line_of(seq), seq == 3 ? "damaged\n" : "");
	snprintf(lines + strlen(lines), sizeof(lines) - strlen(lines), "%.40s", line_of(5));
	be_killed();
	write_file("spare", lines, 0600);
	begin(OTHER, 0);
	expect(FRESH, 4, "1 2 3 4 ");
	assert_int_equal(access(spare, F_OK), -1);
	add(5, 5);
	be_killed();
	begin(OTHER, 0);
	expect(FRESH, 5, "1 2 3 4 5 ");
	assert_int_equal(file_read(path, 10000, &text, &length), 0);
	assert_non_null(strstr(text, "\"state\":\"open\""));
}

/* Nobody holds it open: what somebody does to it is seen. */
static void test_event_file_emptied_begins_anew(void **state)
{
	(void)state;
	begin(FRESH, 0);
	add(1, 2);
	assert_int_equal(truncate(path, 0), 0);
	add(3, 3);
	be_killed();
	begin(OTHER, 0);
	expect(FRESH, 3, "3 ");
	assert_int_equal(unlink(path), 0);
	add(4, 4);
	end();
	begin(OTHER, 0);
	expect(FRESH, 4, "4 ");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_event_file_goes_on_after_an_end_and_after_sigkill),
		TEST(test_event_file_of_a_crashed_host_begins_another_epoch),
		TEST(test_event_file_torn_last_line_is_cut_off),
		TEST(test_event_file_turns_and_is_read_back_from_both),
		TEST(test_event_file_reads_back_the_newest_only),
		TEST(test_event_file_that_cannot_be_used_is_moved_aside),
		TEST(test_event_file_with_a_bad_line_is_moved_aside),
		TEST(test_event_file_that_is_no_file_is_moved_aside),
		TEST(test_event_file_whose_older_one_is_bad_goes_on_without_it),
		TEST(test_event_file_empty_is_as_good_as_none),
		TEST(test_event_file_knows_that_it_lost_events),
		TEST(test_event_file_that_cannot_be_opened_is_tried_again),
		TEST(test_event_file_takes_what_the_spare_has),
		TEST(test_event_file_emptied_begins_anew),
	};

	return cmocka_run_group_tests_name("event_file", tests, NULL, NULL);
}
