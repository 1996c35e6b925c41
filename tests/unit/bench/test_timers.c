/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

#include "bench/timers.h"

#define OWNERS 37

static void test_timers_empty_is_never(void **state)
{
	struct timers timers;

	(void)state;
	assert_int_equal(timers_init(&timers, 0), 0);
	assert_true(timers_first(&timers, NULL) == TIMERS_NEVER);
	timers_done(&timers);
}

static void test_timers_come_out_in_order(void **state)
{
	static const uint64_t when[] = {50, 10, 40, 10, 30, 20};
	struct timers timers;
	uint64_t last = 0;
	size_t owner;

	(void)state;
	assert_int_equal(timers_init(&timers, 6), 0);
	for (size_t i = 0; i < 6; i++)
		timers_set(&timers, i, when[i]);
	for (size_t i = 0; i < 6; i++) {
		uint64_t first = timers_first(&timers, &owner);

		assert_int_equal(first, when[owner]);
		assert_true(first >= last);
		last = first;
		timers_set(&timers, owner, TIMERS_NEVER);
	}
	assert_true(timers_first(&timers, &owner) == TIMERS_NEVER);
	timers_done(&timers);
}

static void test_timers_clearing_twice_does_nothing(void **state)
{
	struct timers timers;

	(void)state;
	assert_int_equal(timers_init(&timers, 2), 0);
	timers_set(&timers, 1, 5);
	timers_set(&timers, 0, TIMERS_NEVER);
	timers_set(&timers, 1, TIMERS_NEVER);
	timers_set(&timers, 1, TIMERS_NEVER);
	assert_int_equal(timers.n, 0);
	timers_done(&timers);
}

/* Against the obvious way of doing it. */
static void test_timers_random_changes_match_a_linear_search(void **state)
{
	uint64_t model[OWNERS];
	struct timers timers;

	(void)state;
	srand(1);
	assert_int_equal(timers_init(&timers, OWNERS), 0);
	for (size_t i = 0; i < OWNERS; i++)
		model[i] = TIMERS_NEVER;
	for (unsigned step = 0; step < 100000; step++) {
		size_t owner = (size_t)rand() % OWNERS;
		uint64_t when = rand() % 4 ? (uint64_t)(rand() % 50) : TIMERS_NEVER;
		uint64_t first = TIMERS_NEVER;

		timers_set(&timers, owner, when);
		model[owner] = when;
		for (size_t i = 0; i < OWNERS; i++)
			first = model[i] < first ? model[i] : first;
		assert_true(timers_first(&timers, &owner) == first);
		if (first != TIMERS_NEVER)
			assert_true(model[owner] == first);
	}
	timers_done(&timers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timers_empty_is_never),
		cmocka_unit_test(test_timers_come_out_in_order),
		cmocka_unit_test(test_timers_clearing_twice_does_nothing),
		cmocka_unit_test(test_timers_random_changes_match_a_linear_search),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
