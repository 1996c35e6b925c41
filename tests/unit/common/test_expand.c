/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/expand.h"
#include "common/vector.h"

#define ARGUMENT_MAX (128 * 1024)

static const int fds[] = {3, 4, 12};
static const struct expand_values values = {
	.fds = fds,
	.n_fds = 3,
	.generation = 4294967295,
	.instance = 0,
};

static void check(const char *text, const char *expected)
{
	char *got = NULL;

	assert_int_equal(expand(text, &values, &got), 0);
	assert_string_equal(got, expected);
	free(got);
}

static void test_expand_placeholders_are_replaced(void **data)
{
	(void)data;
	check("{fd}", "3");
	check("--fd={fd},{fd}", "--fd=3,3");
	check("{generation}/{instance}", "4294967295/0");
	check("{fds:;};", "3;4;12;");
	check("{fds:}", "3412");
	check("{fds:, }", "3, 4, 12");
	check("{fds:{}", "3{4{12");
	check("{fds:123456789012345}", "3123456789012345412345678901234512");
}

static void test_expand_other_braces_stay(void **data)
{
	static const char *const texts[] = {
		"",
		"plain",
		"{",
		"}",
		"{}",
		"{fd",
		"{fds}",
		"{fds:;",
		"{FD}",
		"{ fd }",
		"{\"fd\": 3}",
		"f() { fd; }",
		"{generation",
		"{instances}",
		"{fds:1234567890123456}",
	};

	(void)data;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		check(texts[i], texts[i]);
	check("{{fd}}", "{3}");
	check("{fds:;{fd}", "3;{fd4;{fd12");
	check("{{{fd}", "{{3");
}

static void test_expand_without_sockets_is_refused(void **data)
{
	const struct expand_values none = {.generation = 2, .instance = 1};
	char *got = NULL;

	(void)data;
	assert_int_equal(expand("{fd}", &none, &got), -EINVAL);
	assert_int_equal(expand("x{fds:;}", &none, &got), -EINVAL);
	assert_null(got);
	assert_int_equal(expand("{generation}.{instance}", &none, &got), 0);
	assert_string_equal(got, "2.1");
	free(got);
}

static void test_expand_length_limit_is_exact(void **data)
{
	char *text = malloc(ARGUMENT_MAX + 8), *got = NULL;

	(void)data;
	assert_non_null(text);
	memset(text, 'x', ARGUMENT_MAX + 8);
	/* "{fd}" becomes one byte; with its NUL the result may have ARGUMENT_MAX bytes. */
	memcpy(text, "{fd}", 4);
	text[ARGUMENT_MAX + 2] = '\0';
	assert_int_equal(expand(text, &values, &got), 0);
	assert_int_equal(strlen(got), ARGUMENT_MAX - 1);
	free(got);
	got = NULL;
	text[ARGUMENT_MAX + 2] = 'x';
	text[ARGUMENT_MAX + 3] = '\0';
	assert_int_equal(expand(text, &values, &got), -E2BIG);
	assert_null(got);
	free(text);
}

static void test_expand_growing_beyond_the_limit_is_refused(void **data)
{
	char *text = malloc(ARGUMENT_MAX), *got = NULL;
	size_t n = 0;

	(void)data;
	assert_non_null(text);
	/* 22 bytes become 48. */
	while (n + 22 < ARGUMENT_MAX - 1) {
		memcpy(text + n, "{fds:123456789012345}x", 22);
		n += 22;
	}
	text[n] = '\0';
	assert_int_equal(expand(text, &values, &got), -E2BIG);
	free(text);
}

static void test_expand_vector_expands_each(void **data)
{
	char *const texts[] = {"server", "{fd}", "", NULL};
	char **got = NULL;

	(void)data;
	assert_int_equal(expand_vector(texts, &values, &got), 0);
	assert_string_equal(got[0], "server");
	assert_string_equal(got[1], "3");
	assert_string_equal(got[2], "");
	assert_null(got[3]);
	vector_free(got);
}

static void test_expand_vector_empty_is_empty(void **data)
{
	char *const texts[] = {NULL};
	char **got = NULL;

	(void)data;
	assert_int_equal(expand_vector(texts, &values, &got), 0);
	assert_null(got[0]);
	vector_free(got);
	vector_free(NULL);
}

static void test_expand_vector_one_bad_fails_all(void **data)
{
	const struct expand_values none = {0};
	char *const texts[] = {"a", "b", "{fd}", NULL};
	char **got = NULL;

	(void)data;
	assert_int_equal(expand_vector(texts, &none, &got), -EINVAL);
	assert_null(got);
}

static void test_expand_uses_fds_finds_the_two_and_no_others(void **data)
{
	static const struct {
		const char *text;
		bool uses;
	} cases[] = {
		{"", false},
		{"{fd}", true},
		{"a{fd}b", true},
		{"{fds:,}", true},
		{"NGINX={fds:;};", true},
		{"{fds:}", true},
		{"{generation}{instance}", false},
		{"{fd", false},
		{"{ fd}", false},
		{"{fds}", false},
		{"{fds:0123456789abcdef}", false},
		{"{{fd}}", true},
	};

	(void)data;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *const alone[] = {(char *)cases[i].text, NULL};
		char *const last[] = {(char *)"a", (char *)"{b}", (char *)cases[i].text, NULL};

		if (expand_uses_fds(alone) != cases[i].uses ||
		    expand_uses_fds(last) != cases[i].uses)
			fail_msg("%s", cases[i].text);
	}
}

static void test_expand_what_stays_is_no_placeholder(void **data)
{
	const struct expand_values path = {.generation = 7, .instance = 3, .stay = EXPAND_FDS};
	const struct expand_values hook = {.generation = 7, .stay = EXPAND_FDS | EXPAND_INSTANCE};
	char *got = NULL;

	(void)data;
	assert_int_equal(expand("/run/{generation}.{instance}/{fd}{fds:,}{x}", &path, &got), 0);
	assert_string_equal(got, "/run/7.3/{fd}{fds:,}{x}");
	free(got);
	assert_int_equal(expand("{instance}{generation}", &hook, &got), 0);
	assert_string_equal(got, "{instance}7");
	free(got);
}

static void test_expand_find_is_the_first_of_these_kinds(void **data)
{
	const char *text = "/a{b}/{fds:;}/{instance}/{generation}";

	(void)data;
	assert_ptr_equal(expand_find(text, EXPAND_FDS), strstr(text, "{fds"));
	assert_ptr_equal(expand_find(text, EXPAND_INSTANCE), strstr(text, "{inst"));
	assert_ptr_equal(expand_find(text, EXPAND_GENERATION), strstr(text, "{gen"));
	assert_ptr_equal(expand_find(text, EXPAND_GENERATION | EXPAND_INSTANCE),
			 strstr(text, "{inst"));
	assert_null(expand_find("{generation", EXPAND_GENERATION));
	assert_null(expand_find("{generation}", EXPAND_INSTANCE | EXPAND_FDS));
	assert_null(expand_find("", EXPAND_FDS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expand_placeholders_are_replaced),
		cmocka_unit_test(test_expand_what_stays_is_no_placeholder),
		cmocka_unit_test(test_expand_find_is_the_first_of_these_kinds),
		cmocka_unit_test(test_expand_other_braces_stay),
		cmocka_unit_test(test_expand_without_sockets_is_refused),
		cmocka_unit_test(test_expand_length_limit_is_exact),
		cmocka_unit_test(test_expand_growing_beyond_the_limit_is_refused),
		cmocka_unit_test(test_expand_vector_expands_each),
		cmocka_unit_test(test_expand_vector_empty_is_empty),
		cmocka_unit_test(test_expand_vector_one_bad_fails_all),
		cmocka_unit_test(test_expand_uses_fds_finds_the_two_and_no_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
