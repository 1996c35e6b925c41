/* SPDX-License-Identifier: BSD-2-Clause */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/closing.h"

#define FIRST 100
#define N     700 /* more than fit into one getdents64(2) */

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void open_all(void)
{
	for (int k = 0; k < N; k++)
		assert_int_equal(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, FIRST + k), FIRST + k);
}

static void expect_open(int from, int to)
{
	for (int k = FIRST; k < FIRST + N; k++)
		assert_int_equal(is_open(k), k >= from && k <= to);
}

static void check(int (*close_them)(unsigned first, unsigned last))
{
	open_all();
	assert_int_equal(close_them(FIRST + 10, FIRST + 19), 0);
	assert_true(is_open(FIRST + 9));
	assert_false(is_open(FIRST + 10));
	assert_false(is_open(FIRST + 19));
	assert_true(is_open(FIRST + 20));
	assert_int_equal(close_them(FIRST + 20, UINT_MAX), 0);
	expect_open(FIRST, FIRST + 9);
	assert_int_equal(close_them(FIRST, UINT_MAX), 0);
	expect_open(0, -1);
	assert_true(is_open(STDIN_FILENO));
}

static void test_closing_range_closes_exactly_those(void **state)
{
	(void)state;
	check(closing_range);
}

static void test_closing_one_by_one_closes_exactly_those(void **state)
{
	(void)state;
	check(closing_one_by_one);
}

/* The limit was lowered meanwhile. */
static void test_closing_one_by_one_finds_those_above_the_limit(void **state)
{
	struct rlimit before, low;

	(void)state;
	open_all();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = before;
	low.rlim_cur = FIRST + 2;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(closing_one_by_one(FIRST, UINT_MAX), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	expect_open(0, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_closing_range_closes_exactly_those),
		cmocka_unit_test(test_closing_one_by_one_closes_exactly_those),
		cmocka_unit_test(test_closing_one_by_one_finds_those_above_the_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
