/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/service/restarts.h"

/* At most 3 within 1000 ms, the first after 10 ms. */
static const struct restart_config policy = {.max = 3, .window_ms = 1000, .delay_ms = 10};

static struct restarts with(size_t n, const uint64_t *at_ms)
{
	struct restarts r = {};

	for (size_t k = 0; k < n; k++)
		restarts_take(&r, at_ms[k]);
	return r;
}

#define WITH(...)                                                                                  \
	with(sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t), (uint64_t[]){__VA_ARGS__})

static void test_restarts_none_yet_leaves_all(void **state)
{
	struct restarts r = {};

	(void)state;
	/* Also soon after the clock has begun. */
	assert_int_equal(restarts_used(&r, &policy, 5), 0);
	assert_int_equal(restarts_left(&r, &policy, 5), 3);
	assert_int_equal(restarts_delay_ms(&r, &policy, 5), 10);
	assert_int_equal(restarts_wait_ms(&r, &policy, 5), 0);
}

static void test_restarts_count_only_within_the_window(void **state)
{
	struct restarts r = WITH(5000, 5400, 5900);

	(void)state;
	assert_int_equal(restarts_used(&r, &policy, 5900), 3);
	assert_int_equal(restarts_used(&r, &policy, 5999), 3);
	assert_int_equal(restarts_used(&r, &policy, 6000), 2);
	assert_int_equal(restarts_used(&r, &policy, 6400), 1);
	assert_int_equal(restarts_used(&r, &policy, 6899), 1);
	assert_int_equal(restarts_used(&r, &policy, 6900), 0);
	assert_int_equal(restarts_left(&r, &policy, 5999), 0);
	assert_int_equal(restarts_left(&r, &policy, 6400), 2);
}

static void test_restarts_delay_doubles_up_to_a_limit(void **state)
{
	struct restarts r = {};
	static const uint64_t delays[] = {10, 20, 40, 80, 160, 320, 500, 500};

	(void)state;
	for (size_t k = 0; k < sizeof(delays) / sizeof(delays[0]); k++) {
		assert_int_equal(restarts_delay_ms(&r, &policy, 5000), delays[k]);
		restarts_take(&r, 5000);
	}
	/* Those that are long ago do not count. */
	assert_int_equal(restarts_delay_ms(&r, &policy, 6000), 10);
}

static void test_restarts_delay_of_none_stays_none(void **state)
{
	struct restart_config at_once = {.max = 3, .window_ms = 1000};
	struct restarts r = WITH(5000, 5000);

	(void)state;
	assert_int_equal(restarts_delay_ms(&r, &at_once, 5000), 0);
}

static void test_restarts_wait_is_until_the_oldest_ends(void **state)
{
	struct restarts r = WITH(5000, 5400, 5900);

	(void)state;
	assert_int_equal(restarts_wait_ms(&r, &policy, 5900), 100);
	assert_int_equal(restarts_wait_ms(&r, &policy, 5999), 1);
	assert_int_equal(restarts_wait_ms(&r, &policy, 6000), 0);
	restarts_take(&r, 6000);
	assert_int_equal(restarts_wait_ms(&r, &policy, 6000), 400);
}

/* Agents start servers again by themselves, and the configuration may come to allow fewer. */
static void test_restarts_wait_where_more_were_than_are_allowed(void **state)
{
	struct restarts r = WITH(5000, 5100, 5200, 5300, 5400);
	uint64_t wait_ms = restarts_wait_ms(&r, &policy, 5500);

	(void)state;
	assert_int_equal(restarts_left(&r, &policy, 5500), 0);
	assert_int_equal(wait_ms, 700);
	assert_int_equal(restarts_left(&r, &policy, 5500 + wait_ms - 1), 0);
	assert_int_equal(restarts_left(&r, &policy, 5500 + wait_ms), 1);
}

static void test_restarts_never_where_none_is_allowed(void **state)
{
	struct restart_config never = {.window_ms = 1000, .delay_ms = 10};
	struct restarts r = {};

	(void)state;
	assert_int_equal(restarts_left(&r, &never, 5000), 0);
	assert_true(restarts_wait_ms(&r, &never, 5000) == UINT64_MAX);
}

/* Of more than it can keep it knows the last ones, which are as many as can be allowed. */
static void test_restarts_keep_the_last_ones(void **state)
{
	struct restart_config most = {.max = RESTARTS_MAX, .window_ms = 1000, .delay_ms = 10};
	struct restarts r = {};

	(void)state;
	for (uint64_t k = 0; k < RESTARTS_MAX + 10; k++)
		restarts_take(&r, 5000 + k);
	assert_int_equal(restarts_used(&r, &most, 5500), RESTARTS_MAX);
	assert_int_equal(restarts_left(&r, &most, 5500), 0);
	/* The eleventh is the oldest that it has. */
	assert_int_equal(restarts_wait_ms(&r, &most, 5500), 510);
	assert_int_equal(restarts_left(&r, &most, 6010), 1);
	assert_int_equal(restarts_left(&r, &most, 6009), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_restarts_none_yet_leaves_all),
		cmocka_unit_test(test_restarts_count_only_within_the_window),
		cmocka_unit_test(test_restarts_delay_doubles_up_to_a_limit),
		cmocka_unit_test(test_restarts_delay_of_none_stays_none),
		cmocka_unit_test(test_restarts_wait_is_until_the_oldest_ends),
		cmocka_unit_test(test_restarts_wait_where_more_were_than_are_allowed),
		cmocka_unit_test(test_restarts_never_where_none_is_allowed),
		cmocka_unit_test(test_restarts_keep_the_last_ones),
	};

	return cmocka_run_group_tests_name("restarts", tests, NULL, NULL);
}
