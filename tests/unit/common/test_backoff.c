/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "common/backoff.h"

static void test_backoff_doubles_up_to_the_limit(void **data)
{
	static const uint64_t expected[] = {100, 200, 400, 800, 1000, 1000};

	(void)data;
	for (uint64_t tries = 0; tries < 6; tries++)
		assert_int_equal(backoff_delay_ms(100, 1000, tries), expected[tries]);
}

static void test_backoff_reaches_a_limit_that_is_a_power_exactly(void **data)
{
	(void)data;
	assert_int_equal(backoff_delay_ms(100, 400, 1), 200);
	assert_int_equal(backoff_delay_ms(100, 400, 2), 400);
	assert_int_equal(backoff_delay_ms(100, 400, 3), 400);
}

static void test_backoff_first_above_the_limit_is_the_limit(void **data)
{
	(void)data;
	assert_int_equal(backoff_delay_ms(500, 300, 0), 300);
	assert_int_equal(backoff_delay_ms(500, 300, 7), 300);
	assert_int_equal(backoff_delay_ms(500, 0, 0), 0);
}

static void test_backoff_of_nothing_stays_nothing(void **data)
{
	(void)data;
	assert_int_equal(backoff_delay_ms(0, 1000, 0), 0);
	assert_int_equal(backoff_delay_ms(0, 1000, 200), 0);
}

static void test_backoff_never_overflows(void **data)
{
	(void)data;
	for (uint64_t tries = 0; tries < 200; tries++) {
		assert_true(backoff_delay_ms(3, UINT64_MAX, tries) >= 3);
		assert_int_equal(backoff_delay_ms(UINT64_MAX, UINT64_MAX, tries), UINT64_MAX);
	}
	assert_int_equal(backoff_delay_ms(1, UINT64_MAX, 63), UINT64_C(1) << 63);
	assert_int_equal(backoff_delay_ms(1, UINT64_MAX, 64), UINT64_MAX);
	assert_int_equal(backoff_delay_ms(1, 50, UINT64_MAX), 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backoff_doubles_up_to_the_limit),
		cmocka_unit_test(test_backoff_reaches_a_limit_that_is_a_power_exactly),
		cmocka_unit_test(test_backoff_first_above_the_limit_is_the_limit),
		cmocka_unit_test(test_backoff_of_nothing_stays_nothing),
		cmocka_unit_test(test_backoff_never_overflows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
