/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench/expect.h"

static struct expect expect_;
static struct expect_verdicts verdicts;
static struct error err;

static void init(const char *statuses, const char *body)
{
	memset(&verdicts, 0, sizeof(verdicts));
	assert_int_equal(expect_init(&expect_, statuses, body, &err), 0);
}

static bool body(const char *text)
{
	return expect_body(&expect_, &verdicts, text, strlen(text), true);
}

static void test_expect_statuses_of_the_list_are_right(void **state)
{
	(void)state;
	init("200,204,503", NULL);
	assert_true(expect_status(&expect_, 200));
	assert_true(expect_status(&expect_, 503));
	assert_false(expect_status(&expect_, 201));
	assert_false(expect_status(&expect_, 0));
	expect_done(&expect_);
}

static void test_expect_bad_lists_are_refused(void **state)
{
	static const char *const lists[] = {
		"",        "20",  "2000", "abc", "200,", ",200",
		"200;201", "099", "600",  "+20", " 200", "200,201,202,203,204,205,206,207,208",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		if (expect_init(&expect_, lists[i], NULL, &err) != -EINVAL)
			fail_msg("accepted: %s", lists[i]);
		expect_done(&expect_);
	}
}

static void test_expect_bad_expression_is_refused_with_reason(void **state)
{
	(void)state;
	assert_int_equal(expect_init(&expect_, "200", "(", &err), -EINVAL);
	assert_non_null(strstr(err.text, "("));
	expect_done(&expect_);
}

static void test_expect_without_expression_everything_matches(void **state)
{
	(void)state;
	init("200", NULL);
	assert_true(body("anything"));
	assert_true(expect_body(&expect_, &verdicts, "part", 4, false));
	expect_done(&expect_);
}

static void test_expect_whole_body_must_match(void **state)
{
	(void)state;
	init("200", "generation [0-9]+|a|ab");
	/* Twice: the second verdict is the remembered one. */
	for (unsigned i = 0; i < 2; i++) {
		assert_true(body("generation 12"));
		assert_true(body("\n generation 12\r\n"));
		assert_true(body("ab"));
		assert_false(body("generation 12x"));
		assert_false(body("xgeneration 12"));
		assert_false(body("generation "));
		assert_false(body(""));
	}
	expect_done(&expect_);
}

static void test_expect_part_of_a_body_never_matches(void **state)
{
	(void)state;
	init("200", ".*");
	assert_true(expect_body(&expect_, &verdicts, "part", 4, true));
	assert_false(expect_body(&expect_, &verdicts, "part", 4, false));
	expect_done(&expect_);
}

static void test_expect_nul_is_an_ordinary_character(void **state)
{
	(void)state;
	init("200", "ab");
	assert_false(expect_body(&expect_, &verdicts, "ab\0c", 4, true));
	assert_true(expect_body(&expect_, &verdicts, "ab", 2, true));
	expect_done(&expect_);
}

static void test_expect_more_bodies_than_are_remembered(void **state)
{
	static char text[EXPECT_BODY_MAX + 1];

	(void)state;
	init("200", "(odd [0-9]+|x+)");
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "%s %u", i % 2 ? "odd" : "even", i);
		assert_int_equal(body(text), i % 2);
	}
	memset(text, 'x', sizeof(text));
	for (size_t length = EXPECT_CACHED_MAX - 1; length < EXPECT_CACHED_MAX + 2; length++)
		assert_true(expect_body(&expect_, &verdicts, text, length, true));
	assert_true(expect_body(&expect_, &verdicts, text, EXPECT_BODY_MAX, true));
	assert_false(expect_body(&expect_, &verdicts, text, EXPECT_BODY_MAX + 1, true));
	text[300] = 'y';
	assert_false(expect_body(&expect_, &verdicts, text, 600, true));
	expect_done(&expect_);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expect_statuses_of_the_list_are_right),
		cmocka_unit_test(test_expect_bad_lists_are_refused),
		cmocka_unit_test(test_expect_bad_expression_is_refused_with_reason),
		cmocka_unit_test(test_expect_without_expression_everything_matches),
		cmocka_unit_test(test_expect_whole_body_must_match),
		cmocka_unit_test(test_expect_part_of_a_body_never_matches),
		cmocka_unit_test(test_expect_nul_is_an_ordinary_character),
		cmocka_unit_test(test_expect_more_bodies_than_are_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
