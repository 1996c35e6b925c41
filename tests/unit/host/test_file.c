/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
	char fresh[300], victim[300];

	(void)state;
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	snprintf(victim, sizeof(victim), "%s/victim", folder);
	assert_int_equal(symlink(victim, fresh), 0);
	assert_int_equal(file_replace(path, "two", 3, 0600), -ELOOP);
	assert_int_equal(access(victim, F_OK), -1);
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
		TEST(test_file_replace_sets_mode_and_leaves_no_other_file),
		TEST(test_file_replace_failing_keeps_the_old_one),
		TEST(test_file_replace_follows_no_link_in_the_way),
		TEST(test_file_make_folder_makes_all_above),
	};

	return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
