/* SPDX-License-Identifier: BSD-2-Clause */
/* Backups that the kernel has used: when that began, who carries, and how many. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

/* What the kernel has counted for it as a backup, ever. */
static void carried(size_t endpoint, uint16_t slot, uint64_t n)
{
	service->wiring.endpoints[endpoint]->slot_stats[slot].backup = n;
}

/* Generation 2 serves, generation 1 stands by with slot 10 of endpoint 0 and slot 11 of endpoint 1.
 */
static void bake(void)
{
	service->config->rollout.bake_ms = 60000;
	carry_out("start", NULL);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	assert_table(0, 20, 10);
}

static void test_service_failover_is_told_when_it_begins(void **state)
{
	uint64_t before_ms = clock_realtime_ms();
	json_t *event;

	(void)state;
	bake();
	carried(0, 10, 5);
	carried(1, 11, 2);
	watch_now();
	assert_int_equal(service->failover.count, 1);
	assert_int_equal(service->failover.carried, 7);
	assert_true(service->failover.active);
	assert_in_range(service->failover.last_realtime_ms, before_ms, clock_realtime_ms());
	assert_event("failover", "message",
		     "generation 2 does not accept; generation 1 carries its new connections (7 so "
		     "far)");
	/* It goes on: known. */
	event = newest_event("failover");
	carried(0, 10, 9);
	watch_now();
	assert_int_equal(service->failover.count, 1);
	assert_int_equal(service->failover.carried, 11);
	assert_event("failover", "message", json_string_value(json_object_get(event, "message")));
	json_decref(event);
}

static void test_service_failover_that_begins_again_is_another_one(void **state)
{
	(void)state;
	bake();
	carried(0, 10, 5);
	watch_now();
	watch_now();
	assert_false(service->failover.active);
	assert_int_equal(service->failover.count, 1);
	carried(0, 10, 6);
	watch_now();
	assert_int_equal(service->failover.count, 2);
	assert_int_equal(service->failover.carried, 6);
	assert_event("failover", "message",
		     "generation 2 does not accept; generation 1 carries its new connections (1 so "
		     "far)");
}

static void test_service_failover_within_a_generation_names_it(void **state)
{
	(void)state;
	carry_out("start", NULL);
	carried(0, 10, 4);
	watch_now();
	assert_event("failover", "message",
		     "other instances of generation 1 carry new connections of one that does not "
		     "accept (4 so far)");
}

static void test_service_without_failover_tells_none(void **state)
{
	(void)state;
	bake();
	service->wiring.endpoints[0]->slot_stats[10] =
		(struct steer_slot_stats){.primary = 100, .pinned = 7, .migrated = 3};
	watch_now();
	assert_int_equal(service->failover.count, 0);
	assert_int_equal(service->failover.last_realtime_ms, 0);
	assert_null(newest_event("failover"));
}

/* A table that is about to change must not hide who has carried by the last one. */
static void test_service_failover_is_seen_before_the_next_table(void **state)
{
	(void)state;
	bake();
	carried(0, 10, 5);
	fake_fail(2, 0, "exited with status 1");
	changed();
	drive_until(n_ended == 2);
	assert_int_equal(service->last.outcome, ROLLOUT_ROLLED_BACK);
	assert_int_equal(service->failover.count, 1);
	assert_event("failover", "message",
		     "generation 2 does not accept; generation 1 carries its new connections (5 so "
		     "far)");
}

/* A slot is given away again, and its counters begin anew. */
static void test_service_failover_counts_that_begin_anew_are_not_taken_back(void **state)
{
	(void)state;
	bake();
	carried(0, 10, 9);
	watch_now();
	carried(0, 10, 2);
	watch_now();
	assert_int_equal(service->failover.carried, 9);
	assert_false(service->failover.active);
	carried(0, 10, 4);
	watch_now();
	assert_int_equal(service->failover.carried, 11);
}

static void test_service_failover_that_cannot_be_read_is_none(void **state)
{
	(void)state;
	bake();
	carried(0, 10, 9);
	fake_steer_failure.function = "steer_slot_stats";
	fake_steer_failure.code = -EIO;
	watch_now();
	assert_int_equal(service->failover.count, 0);
	fake_steer_failure.function = NULL;
	watch_now();
	assert_int_equal(service->failover.carried, 9);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_failover_is_told_when_it_begins),
		TEST(test_service_failover_that_begins_again_is_another_one),
		TEST(test_service_failover_within_a_generation_names_it),
		TEST(test_service_without_failover_tells_none),
		TEST(test_service_failover_is_seen_before_the_next_table),
		TEST(test_service_failover_counts_that_begin_anew_are_not_taken_back),
		TEST(test_service_failover_that_cannot_be_read_is_none),
	};
#undef TEST

	return cmocka_run_group_tests_name("service failover", tests, NULL, NULL);
}
