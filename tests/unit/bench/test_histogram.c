/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "bench/histogram.h"

static struct histogram h;

static int reset(void **state)
{
	(void)state;
	h = (struct histogram){0};
	return 0;
}

static void test_histogram_empty_gives_zero(void **state)
{
	(void)state;
	assert_int_equal(histogram_quantile(&h, 500000), 0);
	assert_int_equal(histogram_quantile(&h, 1000000), 0);
}

static void test_histogram_small_values_are_exact(void **state)
{
	(void)state;
	for (uint64_t v = 0; v < 256; v++)
		histogram_add(&h, v);
	assert_int_equal(h.count, 256);
	assert_int_equal(h.max, 255);
	for (uint64_t v = 0; v < 256; v++)
		assert_int_equal(histogram_quantile(&h, (uint32_t)((v + 1) * 1000000 / 256)), v);
}

static void test_histogram_one_value_is_every_quantile(void **state)
{
	(void)state;
	histogram_add(&h, 123456);
	assert_int_equal(histogram_quantile(&h, 0), 123456);
	assert_int_equal(histogram_quantile(&h, 1), 123456);
	assert_int_equal(histogram_quantile(&h, 999999), 123456);
}

/* Each power of two, and its neighbours: the second, larger value keeps the maximum out of it. */
static void test_histogram_large_values_are_within_one_percent(void **state)
{
	(void)state;
	for (unsigned bit = 1; bit < 32; bit++) {
		for (int offset = -1; offset <= 1; offset++) {
			uint64_t value = (UINT64_C(1) << bit) + (uint64_t)offset;
			uint64_t median;

			reset(NULL);
			histogram_add(&h, value);
			histogram_add(&h, UINT32_MAX);
			median = histogram_quantile(&h, 500000);
			assert_true(median >= value);
			assert_true((median - value) * 128 <= value);
		}
	}
}

static void test_histogram_quantiles_count_from_below(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 999; i++)
		histogram_add(&h, 10);
	histogram_add(&h, 5000);
	assert_int_equal(histogram_quantile(&h, 500000), 10);
	assert_int_equal(histogram_quantile(&h, 999000), 10);
	assert_int_equal(histogram_quantile(&h, 999001), 5000);
	assert_int_equal(histogram_quantile(&h, 1000000), 5000);
}

static void test_histogram_too_large_value_keeps_exact_maximum(void **state)
{
	(void)state;
	histogram_add(&h, UINT64_MAX);
	histogram_add(&h, UINT64_MAX - 1);
	assert_int_equal(h.counts[HISTOGRAM_BUCKETS - 1], 2);
	assert_true(h.max == UINT64_MAX);
	assert_int_equal(histogram_quantile(&h, 500000), UINT32_MAX);
}

static void test_histogram_buckets_are_in_order(void **state)
{
	uint64_t last = 0;

	(void)state;
	/* The median of a value and something larger never falls when the value grows. */
	for (uint64_t value = 1; value < UINT32_MAX / 2; value += 1 + value / 97) {
		uint64_t median;

		reset(NULL);
		histogram_add(&h, value);
		histogram_add(&h, UINT32_MAX);
		median = histogram_quantile(&h, 500000);
		assert_true(median >= last);
		last = median;
	}
}

static void test_histogram_merged_is_as_if_one_had_had_all(void **state)
{
	static struct histogram all, a, b;

	(void)state;
	for (uint64_t i = 1; i <= 1000; i++) {
		histogram_add(&all, i * i);
		histogram_add(i % 3 ? &a : &b, i * i);
	}
	histogram_merge(&a, &b);
	assert_memory_equal(&a, &all, sizeof(all));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_histogram_empty_gives_zero, reset),
		cmocka_unit_test_setup(test_histogram_small_values_are_exact, reset),
		cmocka_unit_test_setup(test_histogram_one_value_is_every_quantile, reset),
		cmocka_unit_test_setup(test_histogram_large_values_are_within_one_percent, reset),
		cmocka_unit_test_setup(test_histogram_quantiles_count_from_below, reset),
		cmocka_unit_test_setup(test_histogram_too_large_value_keeps_exact_maximum, reset),
		cmocka_unit_test_setup(test_histogram_buckets_are_in_order, reset),
		cmocka_unit_test(test_histogram_merged_is_as_if_one_had_had_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
