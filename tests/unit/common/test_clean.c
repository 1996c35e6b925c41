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

static void test_clean_what_is_no_character_becomes_question_marks(void **data)
{
	(void)data;
	CHECK("a\xff\xc3", "a??");
	CHECK("\xc0\x9b\xe2\x80", "????");
	CHECK("\xc2\x9b[2J", "?[2J");
	/* Each would be U+009B, or a sequence, once what stands between has gone. */
	CHECK("\xc2\r\x9b[2J", "??[2J");
	CHECK("\xc2\x1b[m\x9b[2J", "??[2J");
	CHECK("\x1b\r[2J", "?[2J");
	CHECK("\x1b\x1b[m[2J", "?[2J");
}

static void test_clean_what_reorders_or_ends_a_line_becomes_question_marks(void **data)
{
	(void)data;
	CHECK("a\xe2\x80\xae"
	      "b\xe2\x80\xa8",
	      "a?b?");
	CHECK("\xe2\x81\xa6\xe2\x81\xa9", "??");
	CHECK("\xe2\x80\xa7\xe2\x80\xaf\xe2\x81\xa5\xe2\x81\xaa",
	      "\xe2\x80\xa7\xe2\x80\xaf\xe2\x81\xa5\xe2\x81\xaa");
}

static void test_clean_line_and_name_are_one_line(void **data)
{
	char line[] = "a\n\tb\r\x1b[mc\n", name[] = "x\"\n\xff\xc3\xa4y";

	(void)data;
	clean_line(line);
	assert_string_equal(line, "a  bc ");
	clean_name(name);
	assert_string_equal(name, "x? ??y");
}

/* ---- every text over the bytes that matter -------------------------------------------------- */

#define LONGEST 6

static const char alphabet[] = "\x1b[m;\r\n\x9b\xc2\xe2\x80\xae";

/* RFC 3629 by its table, not by the module's code: the characters of this alphabet. */
static size_t expected_character(const unsigned char *s, size_t n)
{
	if (s[0] < 0x80)
		return 1;
	if (n >= 2 && s[0] == 0xc2 && s[1] >= 0x80 && s[1] <= 0xbf)
		return 2;
	if (n >= 3 && s[0] == 0xe2 && (s[1] & 0xc0) == 0x80 && (s[2] & 0xc0) == 0x80)
		return 3;
	return 0;
}

/* UTF-8, and in it neither C0, DEL nor C1. */
static void check_is_clean(const char *text, size_t n)
{
	const unsigned char *s = (const unsigned char *)text;

	for (size_t i = 0; i < n;) {
		size_t length = expected_character(s + i, n - i);

		assert_true(length > 0);
		assert_true(s[i] >= 0x20 || s[i] == '\n' || s[i] == '\t');
		assert_false(length == 2 && s[i + 1] < 0xa0);
		i += length;
	}
}

static void check_one(const char *text, size_t n)
{
	char once[2 * LONGEST], twice[2 * LONGEST];
	size_t n_once, n_twice;

	memcpy(once, text, n);
	n_once = clean_text(once, n);
	assert_true(n_once <= n);
	check_is_clean(once, n_once);
	memcpy(twice, once, n_once);
	n_twice = clean_text(twice, n_once);
	assert_int_equal(n_twice, n_once);
	assert_memory_equal(twice, once, n_once);
	/* Joined to itself: nothing comes into being where pieces meet. */
	memcpy(once + n_once, twice, n_once);
	check_is_clean(once, 2 * n_once);
}

static void test_clean_every_short_text_is_clean_and_stays(void **data)
{
	size_t letters = sizeof(alphabet) - 1, count = 1;
	char text[LONGEST];

	(void)data;
	for (size_t n = 0; n <= LONGEST; n++, count *= letters) {
		for (size_t k = 0; k < count; k++) {
			for (size_t i = 0, rest = k; i < n; i++, rest /= letters)
				text[i] = alphabet[rest % letters];
			check_one(text, n);
		}
	}
}

static void test_clean_character_agrees_on_every_pair_and_triple(void **data)
{
	char text[4];
	size_t pairs = 0, triples = 0;

	(void)data;
	for (unsigned k = 0; k < 1U << 16; k++) {
		text[0] = (char)(k >> 8);
		text[1] = (char)(k & 0xff);
		pairs += clean_character(text, 2) == 2;
		text[2] = (char)0x80;
		triples += clean_character(text, 3) == 3;
	}
	/* Those of U+0080 to U+07FF; of U+0800 to U+FFFF without surrogates, one in 64. */
	assert_int_equal(pairs, 0x800 - 0x80);
	assert_int_equal(triples, (0x10000 - 0x800 - 0x800) / 64);
	assert_int_equal(clean_character("", 0), 0);
	assert_int_equal(clean_character("\xf0\x9f\x98\x80", 4), 4);
	assert_int_equal(clean_character("\xf0\x9f\x98\x80", 3), 0);
	assert_int_equal(clean_character("\xf4\x90\x80\x80", 4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean_plain_text_stays),
		cmocka_unit_test(test_clean_controls_become_question_marks),
		cmocka_unit_test(test_clean_carriage_returns_go),
		cmocka_unit_test(test_clean_control_sequences_go),
		cmocka_unit_test(test_clean_unfinished_sequences_are_harmless),
		cmocka_unit_test(test_clean_what_is_no_character_becomes_question_marks),
		cmocka_unit_test(test_clean_what_reorders_or_ends_a_line_becomes_question_marks),
		cmocka_unit_test(test_clean_line_and_name_are_one_line),
		cmocka_unit_test(test_clean_every_short_text_is_clean_and_stays),
		cmocka_unit_test(test_clean_character_agrees_on_every_pair_and_triple),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
