/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/api/api_turns.h"

static struct turns turns;
static struct turn who[8];

static int setup(void **state)
{
	(void)state;
	turns = (struct turns){};
	for (int i = 0; i < 8; i++)
		who[i] = (struct turn){};
	return 0;
}

static void test_api_turns_nobody_waits(void **state)
{
	(void)state;
	assert_null(turns_take(&turns, 0));
	assert_int_equal(turns_next_us(&turns), UINT64_MAX);
	turns_charge(&turns, TURN_READERS, 0, 100);
	assert_int_equal(turns_next_us(&turns), UINT64_MAX); /* nothing to wake up for */
	turns_remove(&turns, &who[0]);
}

static void test_api_turns_of_a_lane_come_in_order(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		turns_add(&turns, &who[i], TURN_OWNERS);
	assert_int_equal(turns_next_us(&turns), 0);
	turns_remove(&turns, &who[1]);
	assert_ptr_equal(turns_take(&turns, 0), &who[0]);
	turns_remove(&turns, &who[3]);
	turns_add(&turns, &who[4], TURN_OWNERS);
	assert_ptr_equal(turns_take(&turns, 0), &who[2]);
	assert_ptr_equal(turns_take(&turns, 0), &who[4]);
	assert_false(who[4].waits);
	assert_null(turns_take(&turns, 0));
}

static void test_api_turns_lanes_take_turns(void **state)
{
	int seen[_TURN_LANE_COUNT] = {};

	(void)state;
	turns_add(&turns, &who[0], TURN_READERS);
	turns_add(&turns, &who[1], TURN_OWNERS);
	turns_add(&turns, &who[2], TURN_OWNERS);
	turns_add(&turns, &who[3], TURN_READERS_LISTS);
	turns_add(&turns, &who[4], TURN_OWNERS_LISTS);
	for (int i = 0; i < 4; i++)
		seen[turns_take(&turns, 0)->lane]++;
	for (int i = 0; i < _TURN_LANE_COUNT; i++)
		assert_int_equal(seen[i], 1);
	assert_ptr_equal(turns_take(&turns, 0), &who[2]);
}

/* A fifth of the time is theirs. */
static void test_api_turns_limited_lanes_rest(void **state)
{
	(void)state;
	turns_add(&turns, &who[0], TURN_OWNERS_LISTS);
	turns_add(&turns, &who[1], TURN_OWNERS_LISTS);
	assert_ptr_equal(turns_take(&turns, 1000), &who[0]);
	turns_charge(&turns, TURN_OWNERS_LISTS, 1000, 1100);
	assert_int_equal(turns_next_us(&turns), 1500);
	assert_null(turns_take(&turns, 1499));
	turns_add(&turns, &who[2], TURN_READERS);
	assert_int_equal(turns_next_us(&turns), 0); /* the others do not */
	assert_ptr_equal(turns_take(&turns, 1200), &who[2]);
	assert_ptr_equal(turns_take(&turns, 1500), &who[1]);
}

static void test_api_turns_of_the_owners_have_no_limit(void **state)
{
	(void)state;
	turns_charge(&turns, TURN_OWNERS, 0, 1000000);
	turns_add(&turns, &who[0], TURN_OWNERS);
	assert_ptr_equal(turns_take(&turns, 1000000), &who[0]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(test_api_turns_nobody_waits),
		TEST(test_api_turns_of_a_lane_come_in_order),
		TEST(test_api_turns_lanes_take_turns),
		TEST(test_api_turns_limited_lanes_rest),
		TEST(test_api_turns_of_the_owners_have_no_limit),
	};
#undef TEST

	return cmocka_run_group_tests_name("api_turns", tests, NULL, NULL);
}
