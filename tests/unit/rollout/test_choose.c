/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/rollout/choose.h"

#define N 5

static size_t chosen[N];

/* Their indexes, in the order in which they were chosen. */
static void assert_chosen(const struct choose_candidate *list, enum choose_order order, size_t n,
			  const uint32_t *expected, size_t n_expected)
{
	size_t found = choose(list, N, order, n, chosen);

	assert_int_equal(found, n_expected);
	for (size_t k = 0; k < found; k++)
		assert_int_equal(list[chosen[k]].index, expected[k]);
}

static void test_choose_equals_go_by_index(void **state)
{
	static const struct choose_candidate list[N] = {
		{.index = 3}, {.index = 0}, {.index = 7}, {.index = 1}, {.index = 2}};

	(void)state;
	assert_chosen(list, CHOOSE_LOWEST, 3, (uint32_t[]){0, 1, 2}, 3);
	assert_chosen(list, CHOOSE_HIGHEST, 3, (uint32_t[]){7, 3, 2}, 3);
}

static void test_choose_bad_ones_go_before_good_ones(void **state)
{
	static const struct choose_candidate list[N] = {{.index = 0},
							{.index = 1, .bad = true},
							{.index = 2},
							{.index = 3, .bad = true},
							{.index = 4}};

	(void)state;
	assert_chosen(list, CHOOSE_LOWEST, 3, (uint32_t[]){1, 3, 0}, 3);
	assert_chosen(list, CHOOSE_HIGHEST, 3, (uint32_t[]){3, 1, 4}, 3);
}

/* Whether it is well or not: nobody has it. */
static void test_choose_unserved_ones_go_first(void **state)
{
	static const struct choose_candidate list[N] = {{.index = 0},
							{.index = 1, .bad = true},
							{.index = 2, .unserved = true},
							{.index = 3, .unserved = true, .bad = true},
							{.index = 4}};

	(void)state;
	assert_chosen(list, CHOOSE_LOWEST, 4, (uint32_t[]){3, 2, 1, 0}, 4);
	assert_chosen(list, CHOOSE_HIGHEST, 4, (uint32_t[]){3, 2, 1, 4}, 4);
}

static void test_choose_taken_ones_are_not_chosen(void **state)
{
	static const struct choose_candidate list[N] = {{.index = 0, .taken = true},
							{.index = 1, .taken = true, .bad = true},
							{.index = 2},
							{.index = 3},
							{.index = 4, .taken = true}};

	(void)state;
	assert_chosen(list, CHOOSE_LOWEST, 1, (uint32_t[]){2}, 1);
	assert_chosen(list, CHOOSE_LOWEST, 0, NULL, 0);
}

/* The caller must be able to tell: it is never silently less. */
static void test_choose_more_than_there_are_returns_how_many(void **state)
{
	static const struct choose_candidate list[N] = {{.index = 0, .taken = true},
							{.index = 1},
							{.index = 2},
							{.index = 3},
							{.index = 4}};

	(void)state;
	assert_chosen(list, CHOOSE_HIGHEST, 5, (uint32_t[]){4, 3, 2, 1}, 4);
	assert_int_equal(choose(NULL, 0, CHOOSE_LOWEST, 2, chosen), 0);
}

/* All that a generation may have, in an order that is no order. */
static void test_choose_of_many_keeps_the_order(void **state)
{
	struct choose_candidate list[512] = {};
	size_t many[512];

	(void)state;
	for (uint32_t k = 0; k < 512; k++) {
		list[k].index = k * 275 % 512;
		list[k].bad = list[k].index >= 500;
		list[k].taken = list[k].index == 3;
	}
	assert_int_equal(choose(list, 512, CHOOSE_LOWEST, 511, many), 511);
	for (uint32_t k = 0; k < 511; k++)
		assert_int_equal(list[many[k]].index, k < 12 ? 500 + k : k - 12 + (k - 12 >= 3));
	assert_int_equal(choose(list, 512, CHOOSE_HIGHEST, 14, many), 14);
	assert_int_equal(list[many[0]].index, 511);
	assert_int_equal(list[many[12]].index, 499);
	assert_int_equal(list[many[13]].index, 498);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choose_equals_go_by_index),
		cmocka_unit_test(test_choose_bad_ones_go_before_good_ones),
		cmocka_unit_test(test_choose_unserved_ones_go_first),
		cmocka_unit_test(test_choose_taken_ones_are_not_chosen),
		cmocka_unit_test(test_choose_more_than_there_are_returns_how_many),
		cmocka_unit_test(test_choose_of_many_keeps_the_order),
	};

	return cmocka_run_group_tests_name("choose", tests, NULL, NULL);
}
