/* SPDX-License-Identifier: BSD-2-Clause */
/* Which rollouts there are. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

static void test_service_runs_of_an_idle_service_are_none(void **state)
{
	(void)state;
	assert_null(service_run(service));
	assert_null(service_undecided_run(service));
	assert_null(service_stopping_run(service));
	assert_ptr_equal(service_free_run(service), &service->runs[0]);
	carry_out("start", NULL);
	assert_null(service_run(service));
}

static void test_service_runs_are_undecided_until_nothing_can_change(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	restart_until_verify(2);
	assert_ptr_equal(service_undecided_run(service), run);
	assert_ptr_equal(service_run(service), run);
	pass_checks(2);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	assert_null(service_undecided_run(service));
	assert_ptr_equal(service_run(service), run);
}

static void test_service_runs_show_the_undecided_one_before_those_that_drain(void **state)
{
	struct run *draining;

	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("restart", NULL);
	draining = run;
	drive_until(draining->machine.state == ROLLOUT_DRAINING);
	restart_until_verify(3);
	assert_ptr_not_equal(run, draining);
	assert_ptr_equal(service_undecided_run(service), run);
	assert_ptr_equal(service_run(service), run);
}

/* A later rollout may have an earlier place: the first one that is free. */
static void test_service_runs_show_the_latest_of_those_that_drain(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = fake(2, 0)->live = fake(3, 0)->live = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	assert_ptr_equal(service_run(service), &service->runs[1]);
	fake(1, 0)->live = 0;
	drive_until(n_ended == 2);
	assert_ptr_equal(service_run(service), &service->runs[1]);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	assert_ptr_equal(run, &service->runs[0]);
	assert_ptr_equal(service_run(service), run);
}

static void test_service_runs_stopping_is_what_ends_the_current_generation(void **state)
{
	(void)state;
	start_instances(2);
	fake(1, 0)->live = fake(1, 1)->live = 1;
	order("scale", "{\"instances\": 1}");
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	assert_null(service_stopping_run(service));
	order("stop", NULL);
	assert_ptr_equal(service_stopping_run(service), run);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	assert_ptr_equal(service_stopping_run(service), run);
}

static void test_service_runs_are_bounded(void **state)
{
	(void)state;
	carry_out("start", NULL);
	for (uint32_t k = 0; k < SERVICE_RUNS_MAX; k++) {
		assert_ptr_equal(service_free_run(service), &service->runs[k]);
		service->runs[k] =
			(struct run){.id = 1000 + k, .host = &service->host, .scale_undone = true};
	}
	assert_null(service_free_run(service));
	refused("stop", NULL);
	assert_int_equal(refusal.kind, REFUSAL_BUSY);
	for (uint32_t k = 0; k < SERVICE_RUNS_MAX; k++)
		service->runs[k] = (struct run){};
}

static void test_service_runs_have_numbers_of_their_own(void **state)
{
	uint32_t first;

	(void)state;
	first = service_next_rollout(service);
	assert_int_equal(service_next_rollout(service), first + 1);
	order("start", NULL);
	assert_int_equal(run->id, first + 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_runs_of_an_idle_service_are_none),
		TEST(test_service_runs_are_undecided_until_nothing_can_change),
		TEST(test_service_runs_show_the_undecided_one_before_those_that_drain),
		TEST(test_service_runs_show_the_latest_of_those_that_drain),
		TEST(test_service_runs_stopping_is_what_ends_the_current_generation),
		TEST(test_service_runs_are_bounded),
		TEST(test_service_runs_have_numbers_of_their_own),
	};
#undef TEST

	return cmocka_run_group_tests_name("service runs", tests, NULL, NULL);
}
