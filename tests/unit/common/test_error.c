/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "common/error.h"

static void test_error_set_appends_the_description(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(error_set(&err, -EADDRINUSE, "bind port %d", 80), -EADDRINUSE);
	assert_string_equal(err.text, "bind port 80: Address already in use");
}

static void test_error_text_appends_nothing(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(error_text(&err, -EINVAL, "%s is %d%%", "half", 50), -EINVAL);
	assert_string_equal(err.text, "half is 50%");
}

static void test_error_prefix_goes_in_front(void **state)
{
	struct error err;

	(void)state;
	error_set(&err, -EPERM, "bind");
	assert_int_equal(error_prefix(&err, -EPERM, "anchor %s", "0.0.0.0:80"), -EPERM);
	assert_int_equal(error_prefix(&err, -EAGAIN, "web"), -EAGAIN);
	assert_string_equal(err.text, "web: anchor 0.0.0.0:80: bind: Operation not permitted");
}

/* What was found may hold a percent sign: it is never a format again. */
static void test_error_prefix_takes_the_inner_text_literally(void **state)
{
	struct error err;

	(void)state;
	error_text(&err, -EINVAL, "%s", "%s%n%d");
	error_prefix(&err, -EINVAL, "file");
	assert_string_equal(err.text, "file: %s%n%d");
}

static void test_error_without_a_struct_returns_the_code(void **state)
{
	(void)state;
	assert_int_equal(error_set(NULL, -ENOENT, "x"), -ENOENT);
	assert_int_equal(error_text(NULL, -ENOENT, "x"), -ENOENT);
	assert_int_equal(error_prefix(NULL, -ENOENT, "x"), -ENOENT);
}

static void test_error_long_texts_are_cut(void **state)
{
	char text[3000];
	struct error err;

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';

	error_text(&err, -EINVAL, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);

	error_set(&err, -EINVAL, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);

	/* The end of the innermost text goes first, never what was put in front. */
	error_prefix(&err, -EINVAL, "outer");
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_int_equal(strncmp(err.text, "outer: aaaa", 11), 0);

	error_prefix(&err, -EINVAL, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_null(strchr(err.text, ':'));

	text[sizeof(err.text) - 5] = '\0';
	error_set(&err, -EINVAL, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_string_equal(err.text + sizeof(err.text) - 5, ": In");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error_set_appends_the_description),
		cmocka_unit_test(test_error_text_appends_nothing),
		cmocka_unit_test(test_error_prefix_goes_in_front),
		cmocka_unit_test(test_error_prefix_takes_the_inner_text_literally),
		cmocka_unit_test(test_error_without_a_struct_returns_the_code),
		cmocka_unit_test(test_error_long_texts_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
