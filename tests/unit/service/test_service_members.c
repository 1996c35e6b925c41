/* SPDX-License-Identifier: BSD-2-Clause */
/* Who serves, who is meant to, who stays. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/service/service_internal.h"
#include "tests/unit/service/service_fixture.h"

/* ---- what was sent where -------------------------------------------------------------------- */

static void publish(void)
{
	if (service_publish(service, &err) < 0)
		fail_msg("%s", err.text);
}

static void test_service_counts_what_was_steered_to_an_instance(void **state)
{
	uint64_t n;

	(void)state;
	start_instances(2);
	service->wiring.endpoints[0]->slot_stats[12] =
		(struct steer_slot_stats){.primary = 7, .backup = 2, .pinned = 50, .migrated = 1};
	service->wiring.endpoints[1]->slot_stats[13].primary = 100; /* another endpoint */
	assert_int_equal(service_steered_to(service, fake_there(1, 1), &n), 0);
	assert_int_equal(n, 9);
	/* Shares are seen from the last table on. */
	publish();
	assert_int_equal(fake_there(1, 1)->shifted, 9);
	assert_int_equal(fake_there(1, 0)->shifted, 0);
	fake_steer_failure.function = "steer_slot_stats";
	fake_steer_failure.code = -EIO;
	assert_int_equal(service_steered_to(service, fake_there(1, 1), &n), -EIO);
	publish();
	assert_int_equal(fake_there(1, 1)->shifted, 0);
}

static void test_service_on_a_lower_tier_counts_nothing(void **state)
{
	uint64_t n = 5;

	(void)state;
	service->config->steering = STEERING_CBPF;
	carry_out("start", NULL);
	assert_int_equal(service_steered_to(service, fake_there(1, 0), &n), -ENODATA);
	assert_int_equal(n, 0);
}

/* ---- who serves ----------------------------------------------------------------------------- */

static void test_service_members_that_fail_are_meant_but_not_in(void **state)
{
	(void)state;
	start_instances(3);
	assert_int_equal(service_count(service, service_is_meant), 3);
	assert_int_equal(service_count(service, service_is_in), 3);
	assert_int_equal(service_count(service, service_is_steady), 3);
	assert_int_equal(service_count(service, service_is_backup), 0);
	fake_fail(1, 0, "exited with status 1");
	assert_int_equal(service_count(service, service_is_meant), 3);
	assert_int_equal(service_count(service, service_is_in), 2);
	assert_int_equal(service_named(service), 2);
	assert_true(service_can_serve(service));
}

static void test_service_members_that_are_unhealthy_are_named_if_there_is_no_other(void **state)
{
	(void)state;
	start_instances(2);
	fake(1, 0)->unhealthy = true;
	assert_int_equal(service_count(service, service_is_in), 2);
	assert_int_equal(service_count(service, service_is_steady), 1);
	assert_int_equal(service_named(service), 1);
	fake(1, 1)->unhealthy = true;
	assert_int_equal(service_count(service, service_is_steady), 0);
	assert_int_equal(service_named(service), 2);
	assert_true(service_can_serve(service));
}

static void test_service_members_that_go_are_backups_and_those_on_trial_are_not_steady(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->queued = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_SETTLING);
	assert_true(service_is_backup(service, fake_there(1, 0)));
	assert_false(service_is_meant(service, fake_there(1, 0)));
	assert_true(service_is_in(service, fake_there(2, 0)));
	assert_false(service_is_steady(service, fake_there(2, 0)));
}

/* ---- who stays ------------------------------------------------------------------------------ */

static void test_service_members_of_nothing_are_none(void **state)
{
	cleanup(instances_done) struct instances staying = {};

	(void)state;
	service_staying(service, &staying);
	assert_int_equal(staying.n, 0);
	assert_int_equal(service_named(service), 0);
	assert_false(service_can_serve(service));
	assert_null(service_named_generation(service));
}

static void test_service_members_that_leave_do_not_stay(void **state)
{
	cleanup(instances_done) struct instances staying = {};

	(void)state;
	start_instances(3);
	fake_phase(1, 0, INSTANCE_LEAVING);
	service_staying(service, &staying);
	assert_int_equal(staying.n, 2);
	assert_false(instances_have(&staying, fake_there(1, 0)));
}

static void test_service_members_that_a_rollout_sends_away_do_not_stay(void **state)
{
	cleanup(instances_done) struct instances staying = {};

	(void)state;
	start_instances(3);
	fake(1, 0)->live = fake(1, 1)->live = fake(1, 2)->live = 1;
	order("scale", "{\"instances\": 2}");
	service_staying(service, &staying);
	assert_int_equal(staying.n, 2);
	assert_false(instances_have(&staying, fake_there(1, 2)));
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	order("stop", NULL);
	service_staying(service, &staying);
	assert_int_equal(staying.n, 0);
}

/* What was published counts, not what is going to be. */
static void test_service_members_the_newest_that_is_named_has_the_generation(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->queued = 1;
	restart_until_verify(2);
	assert_int_equal(service_named_generation(service)->number, 1);
	pass_checks(2);
	drive_until(run->machine.state == ROLLOUT_SETTLING);
	assert_int_equal(service_named_generation(service)->number, 2);
	order("abort", NULL);
	drive_until(n_ended == 2);
	assert_int_equal(service_named_generation(service)->number, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_counts_what_was_steered_to_an_instance),
		TEST(test_service_on_a_lower_tier_counts_nothing),
		TEST(test_service_members_that_fail_are_meant_but_not_in),
		TEST(test_service_members_that_are_unhealthy_are_named_if_there_is_no_other),
		TEST(test_service_members_that_go_are_backups_and_those_on_trial_are_not_steady),
		TEST(test_service_members_of_nothing_are_none),
		TEST(test_service_members_that_leave_do_not_stay),
		TEST(test_service_members_that_a_rollout_sends_away_do_not_stay),
		TEST(test_service_members_the_newest_that_is_named_has_the_generation),
	};
#undef TEST

	return cmocka_run_group_tests_name("service members", tests, NULL, NULL);
}
