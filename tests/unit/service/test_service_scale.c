/* SPDX-License-Identifier: BSD-2-Clause */
/* More instances, or fewer. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

static void test_service_scale_up_adds_to_the_generation_that_serves(void **state)
{
	(void)state;
	carry_out("start", NULL);
	order("scale", "{\"instances\": 3}");
	assert_event("scaled", "message", "1 instances become 3");
	assert_ptr_equal(run->new, service->current);
	assert_null(run->old);
	drive_until(n_ended == 2);
	assert_int_equal(service->current->number, 1);
	assert_int_equal(service->current->instances.n, 3);
	for (uint32_t k = 0; k < 3; k++) {
		assert_true(fake_there(1, k)->steady);
		assert_in_range(buckets_of(0, 1, k), STEER_BUCKETS / 3, STEER_BUCKETS / 3 + 1);
	}
	assert_int_equal(service->instances, 3);
	assert_int_equal(remembered_instances, 3);
	assert_event("done", "message", "2 instances came; generation 1 serves");
	/* For the generations to come. */
	carry_out("restart", NULL);
	assert_int_equal(service->current->instances.n, 3);
}

static void test_service_scale_down_lets_the_highest_go(void **state)
{
	(void)state;
	service->instances = 4;
	carry_out("start", NULL);
	fake(1, 3)->live = 1;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	assert_false(fake_there(1, 3)->steady);
	assert_true(fake_there(1, 1)->steady);
	assert_int_equal(buckets_of(0, 1, 1), STEER_BUCKETS / 2);
	/* It is decided: the next may begin. */
	fake(1, 3)->live = 0;
	drive_until(n_ended == 2);
	assert_int_equal(service->current->instances.n, 2);
	assert_null(fake(1, 2)->instance);
	assert_null(fake(1, 3)->instance);
	assert_event("done", "message", "2 instances went; generation 1 serves");
	assert_int_equal(remembered_instances, 2);
}

static void test_service_scale_down_prefers_what_does_not_work(void **state)
{
	(void)state;
	service->instances = 3;
	carry_out("start", NULL);
	fake(1, 0)->unhealthy = true;
	carry_out("scale", "{\"instances\": 2}");
	assert_null(fake(1, 0)->instance);
	assert_non_null(fake(1, 2)->instance);
	fake_fail(1, 1, "exited with status 1");
	carry_out("scale", "{\"instances\": 1}");
	assert_null(fake(1, 1)->instance);
	assert_table(0, 14, STEER_NO_SLOT);
}

static void test_service_scale_to_what_there_is_does_nothing(void **state)
{
	(void)state;
	service->instances = 2;
	carry_out("start", NULL);
	give("scale", "{\"instances\": 2}");
	assert_null(run);
	assert_string_equal(answer.message, "it has 2 instances already");
	assert_true(answer.unchanged);
	assert_null(newest_event("scaled"));
	assert_int_equal(remembered_instances, 2);
}

static void test_service_scale_while_stopped_is_for_the_start(void **state)
{
	(void)state;
	give("scale", "{\"instances\": 3}");
	assert_null(run);
	assert_string_equal(answer.message, "it will have 3 instances when it is started");
	assert_int_equal(remembered_instances, 3);
	carry_out("start", NULL);
	assert_int_equal(service->current->instances.n, 3);
}

static void test_service_scale_that_cannot_be_remembered_is_refused(void **state)
{
	(void)state;
	carry_out("start", NULL);
	state_error = -ENOSPC;
	refused("scale", "{\"instances\": 2}");
	assert_refused(500, 1, "Cannot scale", "state.json: No space left on device");
	state_error = 0;
	assert_int_equal(service->instances, 1);
}

/* It would be tried for ever otherwise, by what replaces missing ones. */
static void test_service_failed_scale_is_undone(void **state)
{
	(void)state;
	service->instances = 2;
	carry_out("start", NULL);
	fake(1, 3)->start_error = -EAGAIN;
	carry_out("scale", "{\"instances\": 4}");
	assert_int_equal(service->last.exit, 3);
	assert_int_equal(service->instances, 2);
	assert_int_equal(remembered_instances, 2);
	assert_int_equal(service->current->instances.n, 2);
	assert_event("failed", "message", "generation 1 keeps serving");
	for (uint32_t k = 0; k < 2; k++)
		assert_int_equal(buckets_of(0, 1, k), STEER_BUCKETS / 2);
	turn();
	assert_null(service_run(service));
}

/* Not to how many there happen to be: one that is missing is wanted all the same. */
static void test_service_failed_scale_goes_back_to_what_was_wanted(void **state)
{
	(void)state;
	service->instances = 2;
	carry_out("start", NULL);
	service->instances = 3;
	fake(1, 3)->start_error = -EAGAIN;
	carry_out("scale", "{\"instances\": 4}");
	assert_int_equal(service->last.exit, 3);
	assert_int_equal(service->instances, 3);
	assert_int_equal(remembered_instances, 3);
}

/* One scaling takes the place of another, and fails: what was wanted before both counts. */
static void test_service_failed_scale_after_another_goes_back_to_the_first(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 1)->not_healthy = true;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	fake(1, 2)->start_error = fake(1, 3)->start_error = -EAGAIN;
	order("scale", "{\"instances\": 3, \"supersede\": true}");
	assert_int_equal(service->instances, 3);
	drive_until(n_ended == 3);
	assert_int_equal(service->instances, 1);
	assert_int_equal(remembered_instances, 1);
	assert_int_equal(service->current->instances.n, 1);
}

static void test_service_failed_scale_leaves_what_was_set_since(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 1)->not_healthy = true;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	service->instances = 5;
	order("abort", NULL);
	drive_until(n_ended == 2);
	assert_int_equal(service->instances, 5);
}

static void test_service_aborted_scale_is_undone(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 1)->not_healthy = true;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	order("abort", NULL);
	drive_until(n_ended == 2);
	assert_int_equal(service->instances, 1);
	assert_int_equal(service->current->instances.n, 1);
}

/* A rollback, or a stop, is not the end of a scale: those are about generations. */
static void test_service_scale_is_not_what_a_rollback_undoes(void **state)
{
	(void)state;
	carry_out("start", NULL);
	carry_out("restart", NULL);
	fake(2, 1)->not_healthy = true;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	refused("rollback", NULL);
	assert_int_equal(refusal_info(refusal.kind)->exit, 6);
	refused("stop", NULL);
	assert_int_equal(refusal_info(refusal.kind)->exit, 6);
}

/* What takes its place has as many as there were before. */
static void test_service_superseded_scale_counts_no_more(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 1)->not_healthy = true;
	order("scale", "{\"instances\": 2}");
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	order("restart", "{\"supersede\": true}");
	drive_until(n_ended == 3);
	assert_int_equal(service->current->number, 2);
	assert_int_equal(service->current->instances.n, service->instances);
	assert_int_equal(remembered_instances, service->instances);
	assert_int_equal(service->instances, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_scale_up_adds_to_the_generation_that_serves),
		TEST(test_service_scale_down_lets_the_highest_go),
		TEST(test_service_scale_down_prefers_what_does_not_work),
		TEST(test_service_scale_to_what_there_is_does_nothing),
		TEST(test_service_scale_while_stopped_is_for_the_start),
		TEST(test_service_scale_that_cannot_be_remembered_is_refused),
		TEST(test_service_failed_scale_is_undone),
		TEST(test_service_failed_scale_goes_back_to_what_was_wanted),
		TEST(test_service_failed_scale_after_another_goes_back_to_the_first),
		TEST(test_service_failed_scale_leaves_what_was_set_since),
		TEST(test_service_aborted_scale_is_undone),
		TEST(test_service_scale_is_not_what_a_rollback_undoes),
		TEST(test_service_superseded_scale_counts_no_more),
	};
#undef TEST

	return cmocka_run_group_tests_name("service scale", tests, NULL, NULL);
}
