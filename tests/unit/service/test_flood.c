/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/service/flood.h"

#define NOW_MS 123456

/* So many of @n at @now_ms are kept. */
static unsigned keep(struct flood *flood, unsigned n, uint64_t now_ms)
{
	unsigned kept = 0;
	uint64_t passed;

	while (n-- > 0)
		kept += flood_keep(flood, now_ms, &passed);
	return kept;
}

static void test_flood_keeps_a_burst_and_counts_the_rest(void **state)
{
	struct flood flood = {};
	uint64_t passed = 1;

	(void)state;
	assert_true(flood_keep(&flood, NOW_MS, &passed));
	assert_int_equal(passed, 0);
	assert_int_equal(keep(&flood, 1000, NOW_MS), FLOOD_BURST - 1);
	assert_true(flood_full(&flood));
	assert_false(flood_keep(&flood, NOW_MS + FLOOD_EVERY_MS - 1, &passed));
	assert_true(flood_keep(&flood, NOW_MS + FLOOD_EVERY_MS, &passed));
	assert_int_equal(passed, 1000 - (FLOOD_BURST - 1) + 1);
	assert_false(flood_keep(&flood, NOW_MS + FLOOD_EVERY_MS, &passed));
	assert_true(flood_keep(&flood, NOW_MS + 2 * FLOOD_EVERY_MS, &passed));
	assert_int_equal(passed, 1);
}

static void test_flood_slow_events_are_all_kept(void **state)
{
	struct flood flood = {};

	(void)state;
	for (uint64_t k = 0; k < 10 * FLOOD_BURST; k++)
		assert_int_equal(keep(&flood, 1, NOW_MS + k * FLOOD_EVERY_MS), 1);
}

static void test_flood_after_a_long_rest_a_burst_is_kept_again(void **state)
{
	struct flood flood = {};

	(void)state;
	assert_int_equal(keep(&flood, 1000, NOW_MS), FLOOD_BURST);
	assert_int_equal(keep(&flood, 1000, NOW_MS + 3 * FLOOD_EVERY_MS), 3);
	assert_int_equal(keep(&flood, 1000, NOW_MS + 1000ULL * FLOOD_EVERY_MS), FLOOD_BURST);
}

/* Whatever the rhythm: in a day not more than a burst and what has become free. */
static void test_flood_of_a_day_stays_small(void **state)
{
	static const uint64_t steps_ms[] = {1, 999, FLOOD_EVERY_MS / 2 + 1};

	(void)state;
	for (unsigned k = 0; k < sizeof(steps_ms) / sizeof(steps_ms[0]); k++) {
		struct flood flood = {};
		unsigned kept = 0;

		for (uint64_t ms = 0; ms < 24ULL * 3600 * 1000; ms += steps_ms[k])
			kept += keep(&flood, 1, NOW_MS + ms);
		assert_true(kept <= FLOOD_BURST + 24U * 3600 * 1000 / FLOOD_EVERY_MS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flood_keeps_a_burst_and_counts_the_rest),
		cmocka_unit_test(test_flood_slow_events_are_all_kept),
		cmocka_unit_test(test_flood_after_a_long_rest_a_burst_is_kept_again),
		cmocka_unit_test(test_flood_of_a_day_stays_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
