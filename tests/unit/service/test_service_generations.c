/* SPDX-License-Identifier: BSD-2-Clause */
/* Making generations, and their numbers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/service/service_internal.h"
#include "tests/unit/service/service_fixture.h"

static void test_service_without_a_number_leaves_nothing(void **state)
{
	(void)state;
	state_error = -ENOSPC;
	refused("start", NULL);
	assert_refused(500, 1, "Cannot start", "state.json: No space left on device");
	assert_nothing_left();
}

static void test_service_without_a_number_keeps_what_runs(void **state)
{
	(void)state;
	carry_out("start", NULL);
	state_error = -ENOSPC;
	forget_calls();
	refused("restart", NULL);
	assert_refused(500, 1, "Cannot start", "state.json: No space left on device");
	assert_calls("");
	assert_true(service->endpoints.open);
	assert_int_equal(service->current->number, 1);
}

static void test_service_generations_are_never_numbered_twice_though_the_file_was_lost(void **state)
{
	(void)state;
	carry_out("start", NULL);
	carry_out("restart", NULL);
	assert_int_equal(service->current->number, 2);
	last_number = 0;
	carry_out("restart", NULL);
	assert_int_equal(service->current->number, 3);
	assert_int_equal(last_number, 3);
}

static int make_one(struct generation **ret)
{
	return service_make_generation(service, service_config_copy(service->config),
				       make_release(service->config->command, NULL), ret, &err);
}

static void test_service_generations_are_bounded(void **state)
{
	struct generation *g;

	(void)state;
	for (size_t k = 0; k < SERVICE_GENERATIONS_MAX; k++) {
		assert_true(service_has_room(service));
		assert_int_equal(make_one(&g), 0);
		assert_ptr_equal(service->generations[k], g);
	}
	assert_false(service_has_room(service));
	assert_int_equal(make_one(&g), -E2BIG);
	assert_string_equal(err.text, "more than 8 generations are alive");
	assert_int_equal(service->n_generations, SERVICE_GENERATIONS_MAX);
	service_drop_empty_generations(service);
	assert_int_equal(service->n_generations, 0);
}

static void test_service_generations_have_room_as_configured(void **state)
{
	(void)state;
	service->config->drain.generations_max = 2;
	carry_out("start", NULL);
	assert_true(service_has_room(service));
	restart_until_verify(2);
	assert_false(service_has_room(service));
}

static void test_service_generations_take_as_many_instances_as_are_wanted(void **state)
{
	struct generation *g;

	(void)state;
	service->instances = 3;
	assert_int_equal(make_one(&g), 0);
	assert_int_equal(g->config->instances, 3);
	assert_int_equal(g->number, 1);
}

/* Its instances are yet to be started. */
static void test_service_generations_that_are_empty_stay_while_a_rollout_is_undecided(void **state)
{
	(void)state;
	carry_out("start", NULL);
	order("restart", NULL);
	assert_int_equal(run->new->instances.n, 0);
	service_drop_empty_generations(service);
	assert_int_equal(service->n_generations, 2);
	order("abort", NULL);
	drive_until(n_ended == 2);
	assert_int_equal(service->n_generations, 1);
}

static void test_service_generations_that_are_dropped_leave_no_trace(void **state)
{
	struct run *draining;

	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("restart", NULL);
	draining = run;
	drive_until(draining->machine.state == ROLLOUT_DRAINING);
	service->published.shares = (struct run_shares){.canary = draining->new, .weight = 10};
	carry_out("restart", NULL);
	assert_null(draining->new);
	assert_null(service->published.shares.canary);
	assert_int_equal(service->published.shares.weight, 0);
}

static void test_service_generations_forget_an_instance_in_every_rollout(void **state)
{
	(void)state;
	carry_out("start", NULL);
	restart_until_verify(2);
	service_remove_instance(service, fake_there(2, 0));
	assert_int_equal(run->new->instances.n, 0);
	assert_int_equal(run->batch.n, 0);
	assert_int_equal(run->side[ROLLOUT_NEW].n, 0);
	changed();
	drive_until(n_ended == 2);
	assert_int_equal(service->last.outcome, ROLLOUT_FAILED);
	assert_int_equal(service->current->number, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_without_a_number_leaves_nothing),
		TEST(test_service_without_a_number_keeps_what_runs),
		TEST(test_service_generations_are_never_numbered_twice_though_the_file_was_lost),
		TEST(test_service_generations_are_bounded),
		TEST(test_service_generations_have_room_as_configured),
		TEST(test_service_generations_take_as_many_instances_as_are_wanted),
		TEST(test_service_generations_that_are_empty_stay_while_a_rollout_is_undecided),
		TEST(test_service_generations_that_are_dropped_leave_no_trace),
		TEST(test_service_generations_forget_an_instance_in_every_rollout),
	};
#undef TEST

	return cmocka_run_group_tests_name("service generations", tests, NULL, NULL);
}
