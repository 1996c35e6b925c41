/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "orchestrator/host/file.h"
#include "tests/unit/fakes/folder.h"

static char path[256];

static int set_up(void **state)
{
	int r = folder_set_up(state);

	snprintf(path, sizeof(path), "%s", in_folder("file"));
	return r;
}

static void test_file_read_returns_what_was_written(void **state)
{
	static char big[100000];
	cleanup_free char *text = NULL;
	size_t length = 0;

	(void)state;
	memset(big, 'x', sizeof(big));
	big[17] = '\0';
	assert_int_equal(file_replace(path, big, sizeof(big), 0600), 0);
	assert_int_equal(file_read(path, sizeof(big), &text, &length), 0);
	assert_int_equal(length, sizeof(big));
	assert_memory_equal(text, big, sizeof(big));
	assert_int_equal(text[length], '\0');
}

static void test_file_read_over_the_limit_is_efbig(void **state)
{
	cleanup_free char *text = NULL;

	(void)state;
	assert_int_equal(file_replace(path, "12345", 5, 0600), 0);
	assert_int_equal(file_read(path, 4, &text, NULL), -EFBIG);
	assert_null(text);
	assert_int_equal(file_read(path, 5, &text, NULL), 0);
	assert_string_equal(text, "12345");
}

static void test_file_read_empty_is_an_empty_text(void **state)
{
	cleanup_free char *text = NULL;
	size_t length = 7;

	(void)state;
	assert_int_equal(file_read("/dev/null", 10, &text, &length), 0);
	assert_int_equal(length, 0);
	assert_string_equal(text, "");
}

static void test_file_read_what_is_not_there_fails(void **state)
{
	char *text = NULL;

	(void)state;
	assert_int_equal(file_read(path, 10, &text, NULL), -ENOENT);
	assert_int_equal(file_read(folder, 10, &text, NULL), -EISDIR);
	assert_null(text);
}

/* Nobody has the FIFO open: whoever waited for a writer would wait for ever. */
static void test_file_read_refuses_at_once_what_could_make_it_wait(void **state)
{
	char link[300], text_of_link[64];
	char *text = NULL;
	int ends[2], s;
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(file_read(path, 10, &text, NULL), -FILE_IS_NO_FILE);
	assert_int_equal(file_read_for(NULL, path, PATH_READ_OR_PIPE, 10, &text, NULL, NULL),
			 -FILE_IS_NO_FILE);
	snprintf(link, sizeof(link), "%s/link", folder);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(file_read(link, 10, &text, NULL), -FILE_IS_NO_FILE);
	assert_int_equal(file_read("/dev/zero", 10, &text, NULL), -FILE_IS_NO_FILE);
	assert_int_equal(file_read("/dev/tty", 10, &text, NULL), -FILE_IS_NO_FILE);
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", folder);
	assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(file_read(address.sun_path, 10, &text, NULL), -FILE_IS_NO_FILE);
	close(s);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	snprintf(text_of_link, sizeof(text_of_link), "/proc/self/fd/%d", ends[0]);
	assert_int_equal(file_read(text_of_link, 10, &text, NULL), -FILE_IS_NO_FILE);
	close(ends[0]);
	close(ends[1]);
	assert_null(text);
	assert_non_null(strstr(file_why(-FILE_IS_NO_FILE), "FIFO"));
	assert_string_equal(file_why(-ENOENT), strerror(ENOENT));
}

static void test_file_read_for_reads_a_pipe_to_its_end(void **state)
{
	cleanup_free char *text = NULL, *again = NULL;
	char name[64];
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "12345", 5), 5);
	close(ends[1]);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", ends[0]);
	assert_int_equal(file_read_for(NULL, name, PATH_READ_OR_PIPE, 10, &text, NULL, NULL), 0);
	assert_string_equal(text, "12345");
	close(ends[0]);
	assert_int_equal(file_replace(path, "abc", 3, 0600), 0);
	assert_int_equal(file_read_for(NULL, path, PATH_READ_OR_PIPE, 10, &again, NULL, NULL), 0);
	assert_string_equal(again, "abc");
}

static void test_file_move_aside_keeps_what_was_moved_before(void **state)
{
	cleanup_free char *text = NULL;
	char aside[PATH_MAX], expected[300];
	struct stat st;

	(void)state;
	assert_int_equal(file_move_aside(path, aside), -ENOENT);
	assert_int_equal(file_replace(path, "one", 3, 0600), 0);
	assert_int_equal(file_move_aside(path, aside), 0);
	snprintf(expected, sizeof(expected), "%s.bad", path);
	assert_string_equal(aside, expected);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(file_move_aside(path, aside), 0);
	snprintf(expected, sizeof(expected), "%s.bad.2", path);
	assert_string_equal(aside, expected);
	assert_int_equal(stat(aside, &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
	for (int k = 3; k < 20; k++) {
		assert_int_equal(file_replace(path, "more", 4, 0600), 0);
		assert_int_equal(file_move_aside(path, aside), 0);
		assert_int_equal(access(path, F_OK), -1);
	}
	snprintf(expected, sizeof(expected), "%s.bad.%d", path, FILE_ASIDE_MAX);
	assert_string_equal(aside, expected);
	snprintf(expected, sizeof(expected), "%s.bad", path);
	assert_int_equal(file_read(expected, 10, &text, NULL), 0);
	assert_string_equal(text, "one");
}

static void test_file_replace_sets_mode_and_leaves_no_other_file(void **state)
{
	char fresh[300];
	struct stat st;

	(void)state;
	assert_int_equal(file_replace(path, "one", 3, 0600), 0);
	assert_int_equal(file_replace(path, "two", 3, 0600), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 3);
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	assert_int_equal(access(fresh, F_OK), -1);
}

static void test_file_replace_failing_keeps_the_old_one(void **state)
{
	cleanup_free char *text = NULL;
	char fresh[300];

	(void)state;
	assert_int_equal(file_replace(path, "one", 3, 0600), 0);
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	assert_int_equal(mkdir(fresh, 0700), 0);
	assert_int_equal(file_replace(path, "two", 3, 0600), -EISDIR);
	assert_int_equal(file_read(path, 10, &text, NULL), 0);
	assert_string_equal(text, "one");
	assert_int_equal(file_replace("/no/such/folder/file", "x", 1, 0600), -ENOENT);
}

static void test_file_replace_follows_no_link_in_the_way(void **state)
{
	cleanup_free char *text = NULL;
	char fresh[300], victim[300];

	(void)state;
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	snprintf(victim, sizeof(victim), "%s/victim", folder);
	assert_int_equal(symlink(victim, fresh), 0);
	assert_int_equal(file_replace(path, "two", 3, 0600), 0);
	assert_int_equal(access(victim, F_OK), -1);
	assert_int_equal(file_read(path, 10, &text, NULL), 0);
	assert_string_equal(text, "two");
}

static void test_file_replace_does_not_wait_for_a_fifo_in_the_way(void **state)
{
	cleanup_free char *text = NULL;
	char fresh[300];

	(void)state;
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	assert_int_equal(mkfifo(fresh, 0600), 0);
	assert_int_equal(file_replace(path, "two", 3, 0600), 0);
	assert_int_equal(file_read(path, 10, &text, NULL), 0);
	assert_string_equal(text, "two");
}

static void test_file_make_folder_makes_all_above(void **state)
{
	char deep[300];
	struct stat st;

	(void)state;
	snprintf(deep, sizeof(deep), "%s/a/b//c/file", folder);
	assert_int_equal(file_make_folder(deep, 0700), 0);
	assert_int_equal(file_make_folder(deep, 0700), 0);
	*strrchr(deep, '/') = '\0';
	assert_int_equal(stat(deep, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(file_make_folder("/file", 0700), 0);
	assert_int_equal(file_make_folder("file", 0700), 0);
	assert_int_equal(file_replace(path, "x", 1, 0600), 0);
	snprintf(deep, sizeof(deep), "%s/below/file", path);
	assert_int_equal(file_make_folder(deep, 0700), -ENOTDIR);
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, set_up, folder_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_file_read_returns_what_was_written),
		TEST(test_file_read_over_the_limit_is_efbig),
		TEST(test_file_read_empty_is_an_empty_text),
		TEST(test_file_read_what_is_not_there_fails),
		TEST(test_file_read_refuses_at_once_what_could_make_it_wait),
		TEST(test_file_read_for_reads_a_pipe_to_its_end),
		TEST(test_file_move_aside_keeps_what_was_moved_before),
		TEST(test_file_replace_sets_mode_and_leaves_no_other_file),
		TEST(test_file_replace_failing_keeps_the_old_one),
		TEST(test_file_replace_follows_no_link_in_the_way),
		TEST(test_file_replace_does_not_wait_for_a_fifo_in_the_way),
		TEST(test_file_make_folder_makes_all_above),
	};

	return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
