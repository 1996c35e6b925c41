/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "agent/label.h"

static struct label label;

static int setup(void **state)
{
	(void)state;
	label_init(&label, "web");
	return 0;
}

/* All lines that @text makes, @step bytes at a time, and the rest; the longest in *ret_longest. */
static char *lines_of(const char *text, size_t n, size_t step, size_t *ret_longest)
{
	char *all = calloc(1, 16 * n + LABEL_MAX), line[LABEL_MAX];
	size_t at = 0, length, taken;

	assert_non_null(all);
	*ret_longest = 0;
	for (size_t k = 0; k < n; k += taken) {
		taken = label_take(&label, text + k, step < n - k ? step : n - k, line, &length);
		memcpy(all + at, line, length);
		at += length;
		*ret_longest = length > *ret_longest ? length : *ret_longest;
	}
	length = label_rest(&label, line);
	memcpy(all + at, line, length);
	assert_int_equal(label_rest(&label, line), 0);
	return all;
}

static void check(const char *text, size_t n, const char *expected)
{
	size_t longest;

	for (size_t step = 1; step <= n; step++) {
		char *all = lines_of(text, n, step, &longest);

		assert_string_equal(all, expected);
		free(all);
	}
}

#define CHECK(text, expected) check(text, sizeof(text) - 1, expected)

static void test_label_each_line_says_whose_it_is(void **state)
{
	(void)state;
	CHECK("a\nb\n", "[web] a\n[web] b\n");
	CHECK("\n\nc", "[web] \n[web] \n[web] c\n");
	CHECK("<3>urgent\nbatond: web: done\n", "[web] <3>urgent\n[web] batond: web: done\n");
}

static void test_label_lines_are_cleaned(void **state)
{
	(void)state;
	CHECK("x\rbatond: y\n", "[web] xbatond: y\n");
	CHECK("\x1b[2K\x1b[1Gbatond: y\x1b]0;t\x07\n", "[web] batond: y?]0;t?\n");
	CHECK("\xc2\r\x9b"
	      "A\n",
	      "[web] ??A\n");
}

static void test_label_long_lines_are_several_and_no_character_is_cut(void **state)
{
	static char text[4 * LABEL_LINE_MAX];
	size_t longest, n = 0;
	char *all;

	(void)state;
	while (n + 3 < sizeof(text)) {
		memcpy(text + n, "\xe2\x82\xac", 3);
		n += 3;
	}
	for (size_t step = 1; step < 3000; step += 499) {
		all = lines_of(text, n, step, &longest);
		assert_null(strchr(all, '?'));
		assert_true(longest <= LABEL_MAX);
		for (char *line = all; *line; line = strchr(line, '\n') + 1)
			assert_memory_equal(line, "[web] ", 6);
		free(all);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_label_each_line_says_whose_it_is, setup),
		cmocka_unit_test_setup(test_label_lines_are_cleaned, setup),
		cmocka_unit_test_setup(test_label_long_lines_are_several_and_no_character_is_cut,
				       setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
