/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <time.h>

#include "common/clock.h"

static uint64_t seconds(clockid_t clock)
{
	struct timespec ts;

	assert_int_equal(clock_gettime(clock, &ts), 0);
	return (uint64_t)ts.tv_sec;
}

static void test_clock_monotonic_is_the_kernels_and_never_goes_back(void **data)
{
	uint64_t before_s = seconds(CLOCK_MONOTONIC), first_ms, second_ms;

	(void)data;
	first_ms = clock_monotonic_ms();
	second_ms = clock_monotonic_ms();
	assert_true(second_ms >= first_ms);
	assert_in_range(first_ms / 1000, before_s, seconds(CLOCK_MONOTONIC));
}

static void test_clock_realtime_is_the_kernels(void **data)
{
	uint64_t before_s = seconds(CLOCK_REALTIME), now_ms;

	(void)data;
	now_ms = clock_realtime_ms();
	assert_in_range(now_ms / 1000, before_s, seconds(CLOCK_REALTIME));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock_monotonic_is_the_kernels_and_never_goes_back),
		cmocka_unit_test(test_clock_realtime_is_the_kernels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
