/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "orchestrator/host/file.h"
#include "orchestrator/host/line_file.h"
#include "tests/unit/fakes/folder.h"

#define HEAD "{head:1}"

static struct line_file *file;
static const char *path, *older;

static int set_up(void **state)
{
	if (folder_set_up(state) < 0)
		return -1;
	path = in_folder("lines");
	older = in_folder("lines.1");
	return 0;
}

static int tear_down(void **state)
{
	line_file_free(file);
	file = NULL;
	return folder_tear_down(state);
}

static void open_file(size_t keep, size_t size_max, int expected)
{
	line_file_free(file);
	file = NULL;
	assert_int_equal(line_file_open(path, keep, HEAD, size_max, &file), expected);
}

static void add(const char *line)
{
	assert_int_equal(line_file_add(file, line), 0);
}

static void expect(const char *at, const char *content)
{
	cleanup_free char *text = NULL;

	assert_int_equal(file_read(at, 100000, &text, NULL), 0);
	assert_string_equal(text, content);
}

static void test_line_file_is_made_with_a_head_and_grows(void **state)
{
	struct stat st;

	(void)state;
	open_file(0, 1000, 0);
	expect(path, HEAD "\n");
	add("one");
	add("");
	expect(path, HEAD "\none\n\n");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	line_file_free(NULL);
}

static void test_line_file_goes_on_behind_what_is_kept(void **state)
{
	(void)state;
	write_file("lines", "{head:0}\none\ntor", 0600);
	open_file(strlen("{head:0}\none\n"), 1000, 0);
	expect(path, HEAD "\none\n");
	add("two");
	expect(path, HEAD "\none\ntwo\n");
}

static void test_line_file_head_is_changed_in_place(void **state)
{
	(void)state;
	open_file(0, 30, 0);
	add("one");
	assert_int_equal(line_file_set_head(file, "{head:2}"), 0);
	expect(path, "{head:2}\none\n");
	add("two-two-two-two-two-");
	/* Files that begin later have it, too. */
	expect(path, "{head:2}\ntwo-two-two-two-two-\n");
	expect(older, "{head:2}\none\n");
}

static void test_line_file_is_bounded_with_one_older_file(void **state)
{
	struct stat st;

	(void)state;
	open_file(0, 100, 0);
	for (int i = 0; i < 1000; i++) {
		char line[16];

		snprintf(line, sizeof(line), "line %04d", i);
		add(line);
		assert_int_equal(stat(path, &st), 0);
		assert_true(st.st_size <= 100);
		assert_true(stat(older, &st) < 0 || st.st_size <= 100);
	}
	/* Nine lines fit. 1,000 are 111 times nine and one more. */
	expect(path, HEAD "\nline 0999\n");
	expect(older, HEAD "\nline 0990\nline 0991\nline 0992\nline 0993\nline 0994\nline 0995\n"
			   "line 0996\nline 0997\nline 0998\n");
	assert_int_equal(access(in_folder("lines.2"), F_OK), -1);
}

static void test_line_file_refuses_a_line_that_never_fits(void **state)
{
	(void)state;
	open_file(0, 20, 0);
	add("12345");
	assert_int_equal(line_file_add(file, "123456789012"), -EFBIG);
	expect(path, HEAD "\n12345\n");
	assert_int_equal(access(older, F_OK), -1);
}

static void test_line_file_that_was_removed_begins_again(void **state)
{
	(void)state;
	open_file(0, 1000, 0);
	add("one");
	unlink(path);
	add("two");
	expect(path, HEAD "\ntwo\n");
	/* Somebody else's file is left alone. */
	unlink(path);
	write_file("lines", "other\n", 0600);
	assert_int_equal(line_file_add(file, "three"), -EEXIST);
	expect(path, "other\n");
	unlink(path);
	add("four");
	expect(path, HEAD "\nfour\n");
}

static void test_line_file_refuses_what_is_no_file_of_lines(void **state)
{
	(void)state;
	write_file("lines", "other\n", 0600);
	open_file(0, 1000, -EEXIST);
	expect(path, "other\n");
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	alarm(30);
	open_file(0, 1000, -FILE_IS_NO_FILE);
	alarm(0);
	unlink(path);
	assert_int_equal(symlink("/dev/null", path), 0);
	open_file(0, 1000, -FILE_IS_NO_FILE);
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	open_file(0, 1000, -EISDIR);
	path = in_folder("none/lines");
	open_file(0, 1000, -ENOENT);
}

static void test_line_file_moves_aside_what_is_in_the_way_of_the_older_one(void **state)
{
	(void)state;
	assert_int_equal(mkdir(older, 0700), 0);
	open_file(0, 20, 0);
	add("0123456789");
	add("abcdefghij");
	expect(path, HEAD "\nabcdefghij\n");
	expect(older, HEAD "\n0123456789\n");
	assert_int_equal(access(in_folder("lines.1.bad"), F_OK), 0);
}

/* As on a full disk: writing stops in the middle of a line. */
static void test_line_file_that_cannot_grow_has_no_part_of_a_line(void **state)
{
	struct rlimit before, limit;

	(void)state;
	open_file(0, 1000, 0);
	add("one");
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = strlen(HEAD "\none\n") + 2;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(line_file_add(file, "two"), -EFBIG);
	assert_int_equal(line_file_add(file, "three"), -EFBIG);
	/* The head needs no room. */
	assert_int_equal(line_file_set_head(file, "{head:3}"), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	expect(path, "{head:3}\none\n");
	add("four");
	expect(path, "{head:3}\none\nfour\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_line_file_is_made_with_a_head_and_grows),
		TEST(test_line_file_goes_on_behind_what_is_kept),
		TEST(test_line_file_head_is_changed_in_place),
		TEST(test_line_file_is_bounded_with_one_older_file),
		TEST(test_line_file_refuses_a_line_that_never_fits),
		TEST(test_line_file_that_was_removed_begins_again),
		TEST(test_line_file_refuses_what_is_no_file_of_lines),
		TEST(test_line_file_moves_aside_what_is_in_the_way_of_the_older_one),
		TEST(test_line_file_that_cannot_grow_has_no_part_of_a_line),
	};

	return cmocka_run_group_tests_name("line_file", tests, NULL, NULL);
}
