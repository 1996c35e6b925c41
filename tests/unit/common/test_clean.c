/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/clean.h"

/* On the heap, without a NUL, so that the sanitizer sees each byte read too far. */
static void check(const char *text, size_t n, const char *expected)
{
	char *copy = malloc(n ? n : 1);

	assert_non_null(copy);
	memcpy(copy, text, n);
	n = clean_text(copy, n);
	assert_int_equal(n, strlen(expected));
	assert_memory_equal(copy, expected, n);
	free(copy);
}

#define CHECK(text, expected) check(text, sizeof(text) - 1, expected)

static void test_clean_plain_text_stays(void **data)
{
	(void)data;
	CHECK("", "");
	CHECK("one\ttwo\nthree ~", "one\ttwo\nthree ~");
	CHECK("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f");
}

static void test_clean_controls_become_question_marks(void **data)
{
	(void)data;
	CHECK("a\0b\x01\x7f\x1b", "a?b???");
	CHECK("\x1b]0;title\x07", "?]0;title?");
}

static void test_clean_carriage_returns_go(void **data)
{
	(void)data;
	CHECK("a\r\nb\r", "a\nb");
	CHECK("\r\r", "");
}

static void test_clean_control_sequences_go(void **data)
{
	(void)data;
	CHECK("\x1b[31mred\x1b[0m", "red");
	CHECK("\x1b[1;38;5;200mx\x1b[K", "x");
	CHECK("\x1b[2J", "");
}

static void test_clean_unfinished_sequences_are_harmless(void **data)
{
	(void)data;
	CHECK("\x1b", "?");
	CHECK("\x1b[", "?[");
	CHECK("\x1b[31", "?[31");
	CHECK("\x1b[31\n", "?[31\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean_plain_text_stays),
		cmocka_unit_test(test_clean_controls_become_question_marks),
		cmocka_unit_test(test_clean_carriage_returns_go),
		cmocka_unit_test(test_clean_control_sequences_go),
		cmocka_unit_test(test_clean_unfinished_sequences_are_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
