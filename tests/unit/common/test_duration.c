/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/duration.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define DAY_MS       (24ULL * 3600 * 1000)

static void test_duration_parse_valid_is_read(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} cases[] = {
		{"0", 0},
		{"0s", 0},
		{"0ms", 0},
		{"0d0h0m0s0ms", 0},
		{"1ms", 1},
		{"500ms", 500},
		{"1s", 1000},
		{"1m", 60000},
		{"1h", 3600000},
		{"1d", DAY_MS},
		{"1m30s", 90000},
		{"1h30m", 5400000},
		{"1d2h3m4s5ms", DAY_MS + 2 * 3600000 + 3 * 60000 + 4005},
		{"1d1ms", DAY_MS + 1},
		{"90s", 90000},
		{"1m90s", 150000},
		{"1.5s", 1500},
		{"0.001s", 1},
		{"1.0ms", 1},
		{"1.000000000000000000000000ms", 1},
		{"0.5d", DAY_MS / 2},
		{"0.0009765625d", 84375}, /* 2^-10 of a day: all the decimals that can be whole */
		{"1.5m0.25s", 90250},
		{"007s", 7000},
		{"366d", DURATION_MAX_MS},
		{"31622400s", DURATION_MAX_MS},
		{"00000000000000000000000000000000001s", 1000},
	};
	uint64_t ms;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		ms = UINT64_MAX;
		if (duration_parse(cases[i].text, &ms) != 0 || ms != cases[i].ms)
			fail_msg("\"%s\" gave %llu", cases[i].text, (unsigned long long)ms);
	}
}

static void test_duration_parse_invalid_is_refused(void **state)
{
	static const char *const cases[] = {
		"",
		" ",
		"1",
		"00",
		"0.0",
		"10",
		"s",
		"ms",
		"1x",
		"1S",
		"1MS",
		"1sec",
		"1min",
		"1w",
		"1y",
		"1us",
		" 1s",
		"1s ",
		"1 s",
		"1s 1ms",
		"+1s",
		"-1s",
		"1s-1ms",
		"1,5s",
		"1.s",
		".5s",
		"1..5s",
		"1.5.5s",
		"1.5",
		"0x1s",
		"1e3s",
		"0.5ms",
		"1.5ms",
		"0.0001s",
		"1.2345s",
		"1s1s",
		"1ms1s",
		"1s1m",
		"1m1h",
		"1h1d",
		"1m1s1m",
		"1s2",
		"1s0",
		"1d1d",
		"inf",
		"nan",
		"1s\n",
		"1ss",
		"1sms",
		"1mss",
		"1mm",
		"0.00000000001d",
		"99999999999999999999x",
		"99999999999999999999",
	};
	uint64_t ms;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		ms = 12345;
		if (duration_parse(cases[i], &ms) != -EINVAL || ms != 12345)
			fail_msg("\"%s\" was not refused", cases[i]);
	}
}

/* However many decimals: 10^64 is 0 in 64 bits, and a division by it would be the end. */
static void test_duration_parse_many_decimals_are_refused(void **state)
{
	char text[128];
	uint64_t ms;

	(void)state;
	for (int n = 11; n < 100; n++) {
		snprintf(text, sizeof(text), "1.%0*dd", n, 5);
		assert_int_equal(duration_parse(text, &ms), -EINVAL);
		snprintf(text, sizeof(text), "1.5%0*dd", n, 0);
		assert_int_equal(duration_parse(text, &ms), 0);
		assert_true(ms == DAY_MS * 3 / 2);
	}
}

static void test_duration_parse_too_long_is_erange(void **state)
{
	static const char *const cases[] = {
		"366d1ms",
		"31622400001ms",
		"366.001d",
		"367d",
		"18446744073709551616ms", /* 2^64 */
		"18446744073709551616s",
		"99999999999999999999999999999999999d",
		"99999999999d99999999999999h99999999999999m99999999999999s99999999999999ms",
	};
	uint64_t ms = 12345;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if (duration_parse(cases[i], &ms) != -ERANGE || ms != 12345)
			fail_msg("\"%s\" was not too long", cases[i]);
}

static void test_duration_format_has_fewest_units(void **state)
{
	static const struct {
		uint64_t ms;
		const char *text;
	} cases[] = {
		{0, "0"},
		{1, "1ms"},
		{250, "250ms"},
		{999, "999ms"},
		{1000, "1s"},
		{1001, "1.001s"},
		{1010, "1.01s"},
		{1500, "1.5s"},
		{90000, "1m30s"},
		{90050, "1m30.05s"},
		{60000, "1m"},
		{60250, "1m250ms"},
		{5400000, "1h30m"},
		{3600000, "1h"},
		{DAY_MS, "1d"},
		{DAY_MS + 1, "1d1ms"},
		{DURATION_MAX_MS, "366d"},
		{UINT64_MAX, "213503982334d14h25m51.615s"},
	};
	char buffer[DURATION_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		memset(buffer, 'x', sizeof(buffer));
		assert_ptr_equal(duration_format(cases[i].ms, buffer), buffer);
		assert_string_equal(buffer, cases[i].text);
	}
}

static void test_duration_format_reads_back_the_same(void **state)
{
	char buffer[DURATION_TEXT_MAX];
	uint64_t seed = 88172645463325252ULL, ms, back;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		ms = (seed >> (seed & 31)) % (DURATION_MAX_MS + 1);
		back = UINT64_MAX;
		assert_int_equal(duration_parse(duration_format(ms, buffer), &back), 0);
		assert_true(back == ms);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_duration_parse_valid_is_read),
		cmocka_unit_test(test_duration_parse_invalid_is_refused),
		cmocka_unit_test(test_duration_parse_many_decimals_are_refused),
		cmocka_unit_test(test_duration_parse_too_long_is_erange),
		cmocka_unit_test(test_duration_format_has_fewest_units),
		cmocka_unit_test(test_duration_format_reads_back_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
