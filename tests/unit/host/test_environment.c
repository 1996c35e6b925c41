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

#include "orchestrator/host/environment.h"
#include "orchestrator/host/file.h"

static char path[64];

static int set_up(void **state)
{
	int fd;

	(void)state;
	strcpy(path, "/tmp/baton-test-environment-XXXXXX");
	fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
	(void)state;
	return unlink(path);
}

static int read_text(const char *text, size_t length, char ***ret, struct error *err)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, length, f), length);
	assert_int_equal(fclose(f), 0);
	return environment_add_file(ret, path, NULL, err);
}

static void test_environment_file_values(void **state)
{
	static const struct {
		const char *text;
		const char *value; /* of A */
	} cases[] = {
		{"A=1", "1"},
		{"A=1\n", "1"},
		{"A=1\r\n", "1"},
		{"A=", ""},
		{"A=\n", ""},
		{"A=\"\"", ""},
		{"A=''", ""},
		{"  A=1", "1"},
		{"\tA= 1 \t\n", "1"},
		{"A=one two", "one two"},
		{"A=a=b", "a=b"},
		{"A=#fff", "#fff"},
		{"A=http://x/#y", "http://x/#y"},
		{"A=$B ${C} `d`", "$B ${C} `d`"},
		{"export A=1", "1"},
		{"export \t A=1", "1"},
		{"# comment\n; comment\n\n  # more\nA=1\n#A=2", "1"},
		{"A=1\nA=2", "2"},
		{"A='one \"two\" \\n $X'", "one \"two\" \\n $X"},
		{"A='one\ntwo'", "one\ntwo"},
		{"A=\"one\ntwo\"", "one\ntwo"},
		{"A=\"a\\\"b\\\\c\\$d\\`e\"", "a\"b\\c$d`e"},
		{"A=\"\\d\\n\"", "\\d\\n"},
		{"A=\"one\\\ntwo\"", "onetwo"},
		{"A=\"it's\"", "it's"},
		{"A=\"x\"  \n", "x"},
		{"A=one\\\ntwo", "onetwo"},
		{"A=one \\\n two", "one  two"},
		{"A=one\\\r\ntwo", "onetwo"},
		{"A=a\\ b\\\\c\\\"d", "a b\\c\"d"},
		{"A=x\\ ", "x "},
		{"\xef\xbb\xbf"
		 "A=1",
		 "1"},
		{"A=x\\ \t", "x "},
		{"A=\xc3\xa9", "\xc3\xa9"},
		{"exportA=2\nA=1", "1"},
		{"_a9=2\nA=1", "1"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup(vector_free) char **environment = NULL;
		struct error err = {""};
		int r = read_text(cases[i].text, strlen(cases[i].text), &environment, &err);
		const char *value = r == 0 ? environment_get(environment, "A") : NULL;

		if (!value || strcmp(value, cases[i].value) != 0)
			fail_msg("<%s>: %d <%s> %s", cases[i].text, r, value ? value : "none",
				 err.text);
	}
}

static void test_environment_file_mistakes_name_the_line(void **state)
{
	static const char expected[] = "expected NAME=value (a name has letters, digits and \"_\")";
	static const char encloses[] = "a quote must enclose the whole value";
	static const struct {
		const char *text;
		unsigned line;
		const char *why;
	} cases[] = {
		{"A", 1, expected},
		{"A=1\nB\n", 2, expected},
		{"A=1\n\n# x\n=2", 4, expected},
		{"1A=2", 1, expected},
		{"A B=2", 1, expected},
		{"A =2", 1, expected},
		{"a-b=2", 1, expected},
		{"export A", 1, expected},
		{"A=1\n\xef\xbb\xbf"
		 "B=1",
		 2, expected},
		{"A=\"x\ny\"\nB", 3, expected},
		{"A=x\\\ny\nB", 3, expected},
		{"A=\"x\n\n", 3, "a quote (\") is not closed"},
		{"A='x", 1, "a quote (') is not closed"},
		{"A=\"x\\", 1, "a quote (\") is not closed"},
		{"A='x'y", 1, encloses},
		{"A=\"x\" # comment", 1, encloses},
		{"A=x\"y\"", 1, encloses},
		{"A=it's", 1, encloses},
		{"A=x\\", 1, "the file ends in a backslash"},
		{"A=x # y", 1,
		 "\"#\" after a blank: put the value in quotes, or the comment on a line of its "
		 "own"},
		{"\nLISTEN_FDS=1", 2, "\"LISTEN_FDS\" is set by baton itself"},
		{"NOTIFY_SOCKET=1", 1, "\"NOTIFY_SOCKET\" is set by baton itself"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup(vector_free) char **environment = NULL;
		struct error err = {""};
		char text[256];
		int r = read_text(cases[i].text, strlen(cases[i].text), &environment, &err);

		assert_int_equal(r, -EINVAL);
		snprintf(text, sizeof(text), "%s:%u: %s", path, cases[i].line, cases[i].why);
		assert_string_equal(err.text, text);
	}
}

static void test_environment_file_with_nul_or_too_large_is_refused(void **state)
{
	cleanup(vector_free) char **environment = NULL;
	cleanup_free char *large = malloc(ENVIRONMENT_FILE_MAX + 1);
	struct error err;

	(void)state;
	assert_non_null(large);
	assert_int_equal(read_text("A=1\0B=2", 7, &environment, &err), -EINVAL);
	assert_non_null(strstr(err.text, ": not a text file"));
	memset(large, '\n', ENVIRONMENT_FILE_MAX + 1);
	assert_int_equal(read_text(large, ENVIRONMENT_FILE_MAX + 1, &environment, &err), -EFBIG);
	assert_int_equal(read_text(large, ENVIRONMENT_FILE_MAX, &environment, &err), 0);
	assert_int_equal(environment_add_file(&environment, "/no/such", NULL, &err), -ENOENT);
	assert_string_equal(err.text, "/no/such: No such file or directory");
}

static void test_environment_file_that_is_a_fifo_is_refused_at_once(void **state)
{
	cleanup(vector_free) char **environment = NULL;
	struct error err;

	(void)state;
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(environment_add_file(&environment, path, NULL, &err), -FILE_IS_NO_FILE);
	assert_memory_equal(err.text, path, strlen(path));
	assert_non_null(strstr(err.text, "not a regular file"));
}

static void test_environment_set_replaces_by_whole_name(void **state)
{
	cleanup(vector_free) char **environment = NULL;

	(void)state;
	assert_null(environment_get(environment, "A"));
	assert_int_equal(environment_set(&environment, "AB", "1"), 0);
	assert_null(environment_get(environment, "A"));
	assert_int_equal(environment_set(&environment, "A", "2"), 0);
	assert_int_equal(environment_set(&environment, "AB", "x=y"), 0);
	assert_int_equal(vector_length(environment), 2);
	assert_string_equal(environment_get(environment, "A"), "2");
	assert_string_equal(environment_get(environment, "AB"), "x=y");
}

static void test_environment_sort_is_by_name_not_by_line(void **state)
{
	cleanup(vector_free) char **environment = NULL;

	(void)state;
	environment_sort(environment);
	/* "A-=" sorts before "A=" as text, since "-" is less than "=". */
	assert_int_equal(environment_set(&environment, "B", "1"), 0);
	assert_int_equal(environment_set(&environment, "A-", "1"), 0);
	assert_int_equal(environment_set(&environment, "A", "z"), 0);
	environment_sort(environment);
	assert_string_equal(environment[0], "A=z");
	assert_string_equal(environment[1], "A-=1");
	assert_string_equal(environment[2], "B=1");
}

static void test_environment_check_name(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(environment_check_name("PORT", &err), 0);
	assert_int_equal(environment_check_name("a.b-c", &err), 0);
	assert_int_equal(environment_check_name("LISTEN_FDS_X", &err), 0);
	assert_int_equal(environment_check_name("", &err), -EINVAL);
	assert_int_equal(environment_check_name("A=", &err), -EINVAL);
	assert_int_equal(environment_check_name("A\tB", &err), -EINVAL);
	assert_int_equal(environment_check_name("LISTEN_PID", &err), -EINVAL);
	assert_int_equal(environment_check_name("LISTEN_FDNAMES", NULL), -EINVAL);
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_environment_file_values),
		TEST(test_environment_file_mistakes_name_the_line),
		TEST(test_environment_file_with_nul_or_too_large_is_refused),
		TEST(test_environment_file_that_is_a_fifo_is_refused_at_once),
		TEST(test_environment_set_replaces_by_whole_name),
		TEST(test_environment_sort_is_by_name_not_by_line),
		TEST(test_environment_check_name),
	};

	return cmocka_run_group_tests_name("environment", tests, NULL, NULL);
}
