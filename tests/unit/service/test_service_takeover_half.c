/* SPDX-License-Identifier: BSD-2-Clause */
/* Taking over in the middle of a rollout: who serves on, what becomes of the rest. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/takeover_fixture.h"

/* ---- half-way ------------------------------------------------------------------------------- */

/* Rolling, with one of the old ones gone: the old generation goes on, and is made whole again. */
static void test_service_take_over_half_way_rolling_goes_on_with_the_old_one(void **state)
{
	(void)state;
	service->instances = 3;
	heal_after(1, 5);
	find_agent(3, AGENT_RUNNING, true);
	find_agent(3, AGENT_RUNNING, true);
	find_agent(4, AGENT_RUNNING, false);
	named_before(3, 0);
	named_before(4, 0);
	remembered_serving = 3;
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->current->number, 3);
	/* Nothing of what carries the load is taken away before there is something in its place. */
	assert_restoring(&service->runs[0], 3, 1, 4, 1);
	assert_in_range(buckets_of(0, 3, 0), STEER_BUCKETS / 3, STEER_BUCKETS / 3 + 1);
	assert_in_range(buckets_of(0, 4, 0), STEER_BUCKETS / 3, STEER_BUCKETS / 3 + 1);
	drive_until(n_ended == 1);
	assert_int_equal(service->n_generations, 1);
	assert_int_equal(service->current->instances.n, 3);
	assert_in_range(buckets_of(0, 3, 2), STEER_BUCKETS / 3, STEER_BUCKETS / 3 + 1);
	assert_int_equal(restarts_used(&service->healing.restarts, &service->config->restart,
				       clock_monotonic_ms()),
			 0);
}

/* Where the missing ones cannot be had the others go all the same: their rollout was given up. */
static void
test_service_take_over_half_way_rolling_that_cannot_be_restored_retires_the_rest(void **state)
{
	(void)state;
	service->instances = 2;
	service->config->restart.max = 0;
	find_agent(3, AGENT_RUNNING, true);
	find_agent(4, AGENT_RUNNING, false);
	named_before(3, 0);
	named_before(4, 0);
	remembered_serving = 3;
	fake(3, 1)->start_error = -EIO;
	assert_int_equal(adopt(), 1);
	assert_restoring(&service->runs[0], 3, 1, 4, 1);
	drive_until(n_ended == 2);
	assert_int_equal(service->n_generations, 1);
	assert_int_equal(service->current->instances.n, 1);
	assert_int_equal(buckets_of(0, 3, 0), STEER_BUCKETS);
}

/*
 * Further on: what carries the load stays, rather than what is left of the old one. The instance
 * that no table names has yet to pass its checks.
 */
static void test_service_take_over_far_into_rolling_goes_on_with_the_new_one(void **state)
{
	(void)state;
	service->instances = 4;
	find_agent(3, AGENT_RUNNING, true);
	named_before(3, 0);
	for (uint32_t k = 0; k < 4; k++)
		find_agent(4, AGENT_RUNNING, false);
	for (uint32_t k = 0; k < 3; k++)
		named_before(4, k);
	remembered_serving = 3;
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->current->number, 4);
	assert_retiring(&service->runs[0], 4);
	assert_int_equal(service->runs[0].side[ROLLOUT_OLD].n, 1);
	assert_restoring(&service->runs[1], 4, 1, 3, 1);
	for (uint32_t k = 0; k < 3; k++)
		assert_true(fake_there(4, k)->steady);
	assert_false(fake_there(4, 3)->steady);
	assert_int_equal(buckets_of(0, 4, 3), 0);
}

/* A victim of the old one that had not been told to leave yet does not count. */
static void test_service_take_over_far_into_rolling_does_not_count_a_victim(void **state)
{
	(void)state;
	service->instances = 4;
	find_agent(3, AGENT_RUNNING, true);
	find_agent(3, AGENT_RUNNING, false);
	named_before(3, 0);
	for (uint32_t k = 0; k < 3; k++) {
		find_agent(4, AGENT_RUNNING, false);
		named_before(4, k);
	}
	remembered_serving = 3;
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->current->number, 4);
	assert_retiring(&service->runs[0], 3);
}

/* Half of the old one is enough to go back to, as the earlier daemon would have done. */
static void test_service_take_over_goes_on_with_half_of_the_old_one(void **state)
{
	(void)state;
	service->instances = 4;
	for (uint32_t k = 0; k < 2; k++) {
		find_agent(3, AGENT_RUNNING, true);
		named_before(3, k);
	}
	for (uint32_t k = 0; k < 3; k++) {
		find_agent(4, AGENT_RUNNING, false);
		named_before(4, k);
	}
	remembered_serving = 3;
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->current->number, 3);
	assert_restoring(&service->runs[0], 3, 2, 4, 3);
}

/* ... but not where no table names it: it may never have passed its checks. */
static void
test_service_take_over_goes_on_with_what_is_left_where_the_new_one_is_unproven(void **state)
{
	(void)state;
	service->instances = 4;
	find_agent(3, AGENT_RUNNING, true);
	find_agent(4, AGENT_RUNNING, false);
	find_agent(4, AGENT_RUNNING, false);
	named_before(3, 0);
	remembered_serving = 3;
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->current->number, 3);
	assert_retiring(&service->runs[0], 4);
}

/* The configuration says less by now. */
static void test_service_take_over_of_more_than_are_wanted_scales_down(void **state)
{
	(void)state;
	service->instances = 2;
	for (unsigned k = 0; k < 3; k++)
		find_agent(3, AGENT_RUNNING, true);
	assert_int_equal(adopt(), 1);
	assert_int_equal(service_named(service), 3);
	drive_until(n_ended == 1);
	assert_int_equal(service->last.order, RUN_ORDER_SCALE);
	assert_int_equal(service->current->instances.n, 2);
}

/* Those of the one that serves that had yet to pass their checks go, also where there are steady
 * ones. */
static void test_service_take_over_retires_what_was_not_steady(void **state)
{
	(void)state;
	service->instances = 2;
	find_agent(3, AGENT_RUNNING, true);
	find_agent(3, AGENT_RUNNING, false);
	find_agent(3, AGENT_LEFT, false);
	assert_int_equal(adopt(), 1);
	assert_table(0, 30, STEER_NO_SLOT);
	assert_int_equal(service->runs[0].order, RUN_ORDER_RETIRE);
	assert_true(service->runs[0].partial);
	assert_int_equal(service->runs[0].side[ROLLOUT_OLD].n, 2);
	assert_null(service_run(service)->new);
	assert_false(fake_there(3, 1)->steady);
	drive_until(n_ended == 1);
	assert_int_equal(service->current->number, 3);
	assert_int_equal(service->current->instances.n, 1);
	assert_table(0, 30, STEER_NO_SLOT);
	/* It is no end of the service. */
	assert_false(service_is_idle(service));
	assert_true(service->endpoints.open);
}

/* Between the shift and the commit nobody of the generation that serves is: then all are. */
static void test_service_take_over_without_a_steady_instance_takes_them_all(void **state)
{
	(void)state;
	service->instances = 2;
	find_agent(3, AGENT_RUNNING, false);
	find_agent(3, AGENT_RUNNING, false);
	remembered_serving = 3;
	assert_int_equal(adopt(), 1);
	assert_null(service_run(service));
	for (uint32_t k = 0; k < 2; k++) {
		assert_true(fake_there(3, k)->steady);
		assert_int_equal(buckets_of(1, 3, k), STEER_BUCKETS / 2);
	}
}

/* ... that the table names, for the others were victims, or had yet to pass their checks. */
static void
test_service_take_over_without_a_steady_instance_takes_those_that_are_named(void **state)
{
	(void)state;
	service->instances = 2;
	for (uint32_t k = 0; k < 3; k++)
		find_agent(3, AGENT_RUNNING, false);
	named_before(3, 0);
	named_before(3, 2);
	remembered_serving = 3;
	assert_int_equal(adopt(), 1);
	assert_true(fake_there(3, 0)->steady && fake_there(3, 2)->steady);
	assert_false(fake_there(3, 1)->steady);
	assert_int_equal(buckets_of(0, 3, 1), 0);
	assert_retiring(&service->runs[0], 3);
	drive_until(n_ended == 1);
	assert_null(fake(3, 1)->instance);
	assert_int_equal(service->current->instances.n, 2);
}

/* More of the newer one than of the kept one are alive, but not as many are named. */
static void test_service_take_over_counts_only_what_is_named_of_the_new_one(void **state)
{
	(void)state;
	service->instances = 4;
	find_agent(3, AGENT_RUNNING, true);
	for (uint32_t k = 0; k < 3; k++)
		find_agent(4, AGENT_RUNNING, false);
	named_before(3, 0);
	named_before(4, 1);
	remembered_serving = 3;
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->current->number, 3);
}

/* What the earlier daemon has noted counts more than what the table names. */
static void test_service_take_over_without_steady_takes_the_one_that_was_noted(void **state)
{
	(void)state;
	find_agent(3, AGENT_RUNNING, false);
	find_agent(4, AGENT_RUNNING, false);
	named_before(3, 0);
	named_before(4, 0);
	remembered_serving = 4;
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->current->number, 4);
	assert_retiring(&service->runs[0], 3);
}

/* One instance on its way out is no reason to give up the others. */
static void test_service_take_over_restores_what_was_leaving(void **state)
{
	(void)state;
	service->instances = 2;
	heal_after(1, 5);
	find_agent(3, AGENT_RUNNING, true);
	find_agent(3, AGENT_LEFT, true);
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->current->number, 3);
	assert_retiring(&service->runs[0], 3);
	drive_until(n_ended == 2);
	assert_int_equal(service->current->instances.n, 2);
	assert_int_equal(service_named(service), 2);
}

/* Nothing else happens by which anybody would look. */
static void test_service_take_over_restores_missing_ones_by_itself(void **state)
{
	(void)state;
	service->instances = 3;
	heal_after(1, 5);
	find_agent(3, AGENT_RUNNING, true);
	assert_int_equal(adopt(), 1);
	drive_until(n_ended == 1);
	assert_int_equal(service->last.order, RUN_ORDER_REPLACE);
	assert_int_equal(service->current->instances.n, 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_adoption, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_take_over_half_way_rolling_goes_on_with_the_old_one),
		TEST(test_service_take_over_half_way_rolling_that_cannot_be_restored_retires_the_rest),
		TEST(test_service_take_over_far_into_rolling_goes_on_with_the_new_one),
		TEST(test_service_take_over_far_into_rolling_does_not_count_a_victim),
		TEST(test_service_take_over_goes_on_with_half_of_the_old_one),
		TEST(test_service_take_over_goes_on_with_what_is_left_where_the_new_one_is_unproven),
		TEST(test_service_take_over_of_more_than_are_wanted_scales_down),
		TEST(test_service_take_over_retires_what_was_not_steady),
		TEST(test_service_take_over_without_a_steady_instance_takes_them_all),
		TEST(test_service_take_over_without_a_steady_instance_takes_those_that_are_named),
		TEST(test_service_take_over_counts_only_what_is_named_of_the_new_one),
		TEST(test_service_take_over_without_steady_takes_the_one_that_was_noted),
		TEST(test_service_take_over_restores_what_was_leaving),
		TEST(test_service_take_over_restores_missing_ones_by_itself),
	};
#undef TEST

	return cmocka_run_group_tests_name("service takeover half-way", tests, NULL, NULL);
}
