/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/health/health.h"

static bool note(struct health *h, bool ok)
{
	return health_note(h, ok, 2, 3);
}

static void test_health_successes_in_a_row_make_healthy(void **state)
{
	struct health h = {};

	(void)state;
	assert_false(note(&h, true));
	assert_false(note(&h, false));
	assert_false(note(&h, true));
	assert_int_equal(h.state, HEALTH_UNKNOWN);
	assert_true(note(&h, true));
	assert_int_equal(h.state, HEALTH_HEALTHY);
	assert_false(note(&h, true));
}

static void test_health_never_healthy_stays_unknown(void **state)
{
	struct health h = {};

	(void)state;
	for (int k = 0; k < 100; k++)
		assert_false(note(&h, false));
	assert_int_equal(h.state, HEALTH_UNKNOWN);
}

/* An earlier batond has seen it. */
static void test_health_that_was_healthy_turns_unhealthy(void **state)
{
	struct health h = {.was_healthy = true};

	(void)state;
	assert_false(note(&h, false));
	assert_false(note(&h, false));
	assert_int_equal(h.state, HEALTH_UNKNOWN);
	assert_true(note(&h, false));
	assert_int_equal(h.state, HEALTH_UNHEALTHY);
	assert_false(note(&h, false));
	assert_false(note(&h, true));
	assert_true(note(&h, true));
	assert_int_equal(h.state, HEALTH_HEALTHY);
}

static void test_health_failures_in_a_row_make_unhealthy(void **state)
{
	struct health h = {.state = HEALTH_HEALTHY};

	(void)state;
	assert_false(note(&h, false));
	assert_false(note(&h, false));
	assert_false(note(&h, true));
	assert_false(note(&h, false));
	assert_false(note(&h, false));
	assert_int_equal(h.state, HEALTH_HEALTHY);
	assert_true(note(&h, false));
	assert_int_equal(h.state, HEALTH_UNHEALTHY);
	assert_false(note(&h, true));
	assert_true(note(&h, true));
	assert_int_equal(h.state, HEALTH_HEALTHY);
}

static void test_health_counters_do_not_wrap(void **state)
{
	struct health h = {.state = HEALTH_HEALTHY, .successes = UINT32_MAX};

	(void)state;
	assert_false(note(&h, true));
	assert_int_equal(h.state, HEALTH_HEALTHY);
	assert_string_equal(health_state_name(h.state), "healthy");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_health_successes_in_a_row_make_healthy),
		cmocka_unit_test(test_health_never_healthy_stays_unknown),
		cmocka_unit_test(test_health_that_was_healthy_turns_unhealthy),
		cmocka_unit_test(test_health_failures_in_a_row_make_unhealthy),
		cmocka_unit_test(test_health_counters_do_not_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
