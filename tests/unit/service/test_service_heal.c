/* SPDX-License-Identifier: BSD-2-Clause */
/* What is unhealthy, dead or missing is told and replaced. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/heal_fixture.h"

/* ---- told ----------------------------------------------------------------------------------- */

static void test_service_unhealthy_and_recovered_are_told_once(void **state)
{
	(void)state;
	start_instances(2);
	fall_ill(1);
	look();
	look();
	assert_int_equal(count_events("unhealthy"), 1);
	assert_event("unhealthy", "message", "instance 1 of generation 1 is unhealthy: GET /: 500");
	assert_int_equal(count_events("recovered"), 0);
	answers(1, 1, true, "GET /: 200");
	look();
	look();
	assert_int_equal(count_events("recovered"), 1);
	assert_event("recovered", "message",
		     "instance 1 of generation 1 is healthy again: GET /: 200");
	fall_ill(1);
	look();
	assert_int_equal(count_events("unhealthy"), 2);
}

static void test_service_unhealthy_alone_says_that_it_serves_on(void **state)
{
	(void)state;
	start_instances(1);
	fall_ill(0);
	look();
	assert_event("unhealthy", "message",
		     "instance 0 of generation 1 is unhealthy, but there is no other: GET /: 500");
	assert_table(0, 10, STEER_NO_SLOT);
}

/* What is on trial is its rollout's to judge. */
static void test_service_unhealthy_on_trial_is_not_told(void **state)
{
	(void)state;
	service->config->rollout.bake_ms = 60000;
	start_instances(1);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_BAKING);
	answers(2, 0, false, "GET /: 500");
	look();
	assert_null(newest_event("unhealthy"));
	drive_until(n_ended == 2);
	assert_int_equal(service->last.outcome, ROLLOUT_ROLLED_BACK);
}

/* ---- replaced ------------------------------------------------------------------------------- */

/* The delay is over. */
static void delay_passes(void)
{
	assert_true(service->healing.at_ms > 0);
	service->healing.at_ms = 1;
	look();
}

static void test_service_unhealthy_is_replaced_after_the_delay(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(600000, 5);
	fall_ill(1);
	look();
	assert_replacing(false);
	assert_null(newest_event("replacing"));
	delay_passes();
	assert_event("replacing", "message", "instance 1: GET /: 500");
	assert_event("replacing", "reason", "instance 1: GET /: 500");
	drive_until(n_ended == 2);
	assert_int_equal(service->last.order, RUN_ORDER_REPLACE);
	assert_int_equal(service->last.outcome, ROLLOUT_DONE);
	assert_int_equal(service->current->number, 1);
	assert_int_equal(service->current->instances.n, 2);
	assert_null(fake(1, 1)->instance);
	assert_true(fake_there(1, 2)->steady);
	assert_int_equal(buckets_of(0, 1, 2), STEER_BUCKETS / 2);
	assert_event("done", "message", "1 instance came, 1 instance went; generation 1 serves");
	assert_int_equal(restarts_used(&service->healing.restarts, &service->config->restart,
				       clock_monotonic_ms()),
			 1);
}

/* Nobody has to look for the timer to be noticed. */
static void test_service_heals_by_itself(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(1, 5);
	fall_ill(0);
	changed();
	drive_until(n_ended == 2);
	assert_null(fake(1, 0)->instance);
	assert_int_equal(service_named(service), 2);
}

static void test_service_that_recovers_before_the_delay_is_left_alone(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(600000, 5);
	fall_ill(1);
	look();
	assert_true(service->healing.at_ms > 0);
	answers(1, 1, true, "GET /: 200");
	look();
	assert_int_equal(service->healing.at_ms, 0);
	assert_replacing(false);
	assert_int_equal(service->healing.restarts.n, 0);
	/* The next time it waits anew. */
	fall_ill(1);
	look();
	assert_true(service->healing.at_ms > clock_monotonic_ms());
}

/* Each one within the window makes the next wait longer. */
static void test_service_delay_grows_with_what_was_replaced(void **state)
{
	uint64_t before_ms;

	(void)state;
	start_instances(2);
	heal_after(100000, 5);
	fall_ill(1);
	before_ms = clock_monotonic_ms();
	look();
	assert_in_range(service->healing.at_ms, before_ms + 100000, clock_monotonic_ms() + 100000);
	delay_passes();
	drive_until(n_ended == 2);
	answers(1, 2, false, "GET /: 500");
	before_ms = clock_monotonic_ms();
	look();
	assert_in_range(service->healing.at_ms, before_ms + 200000, clock_monotonic_ms() + 200000);
}

static void test_service_dead_one_is_replaced(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(1, 5);
	fake_fail(1, 0, "exited with status 9");
	changed();
	drive_until(n_ended == 2);
	assert_event("replacing", "message", "instance 0: exited with status 9");
	assert_null(fake(1, 0)->instance);
	assert_int_equal(service_named(service), 2);
}

/* Its agent is gone: it may serve on, but nobody would start it again. */
static void test_service_lost_one_is_replaced_even_while_it_serves(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(1, 5);
	fake_there(1, 0)->lost = true;
	assert_true(instance_is_serving(fake_there(1, 0)));
	changed();
	/* It serves until another one does. */
	drive_until(service_run(service) != NULL);
	assert_true(buckets_of(0, 1, 0) > 0);
	drive_until(n_ended == 2);
	assert_null(fake(1, 0)->instance);
	assert_non_null(fake(1, 1)->instance);
	assert_int_equal(service_named(service), 2);
	assert_event("replacing", "message", "instance 0: has lost its agent");
	assert_int_equal(count_events("replacing"), 1);
}

/* Another agent looks after it. */
static void test_service_adopted_one_is_left_alone_unless_it_is_to_be_replaced(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(1, 5);
	fake_there(1, 0)->adoptions = 1;
	changed();
	assert_null(service_run(service));
	assert_int_equal(count_events("replacing"), 0);
	service->config->agent_lost = AGENT_LOST_REPLACE;
	changed();
	drive_until(n_ended == 2);
	assert_null(fake(1, 0)->instance);
	assert_non_null(fake(1, 1)->instance);
	assert_event("replacing", "message",
		     "instance 0: its agent was killed, and \"agent_lost\" is \"replace\"");
	assert_int_equal(count_events("replacing"), 1);
}

static void test_service_lost_and_dead_one_is_replaced(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(1, 5);
	fake_there(1, 0)->lost = fake(1, 0)->dead = true;
	changed();
	drive_until(n_ended == 2);
	assert_null(fake(1, 0)->instance);
	assert_int_equal(service_named(service), 2);
}

static void test_service_dead_ones_are_replaced_at_once(void **state)
{
	(void)state;
	start_instances(3);
	heal_after(1, 5);
	fake_fail(1, 0, "exited with status 9");
	fake_there(1, 2)->lost = true;
	changed();
	drive_until(n_ended == 2);
	assert_int_equal(service->last.n_new, 2);
	assert_int_equal(service->last.n_old, 2);
	assert_non_null(fake(1, 1)->instance);
	assert_int_equal(service->current->instances.n, 3);
	assert_int_equal(service->healing.restarts.n, 2);
}

/* What makes all of them sick may make the next ones sick, too. */
static void test_service_unhealthy_ones_are_replaced_one_at_a_time(void **state)
{
	(void)state;
	start_instances(3);
	heal_after(1, 5);
	fall_ill(0);
	fall_ill(1);
	changed();
	drive_until(n_ended == 2);
	assert_int_equal(service->last.n_new, 1);
	assert_int_equal(service->last.n_old, 1);
	assert_null(fake(1, 0)->instance);
	assert_non_null(fake(1, 1)->instance);
	assert_int_equal(service->healing.restarts.n, 1);
	drive_until(n_ended == 3);
	assert_int_equal(service->last.n_old, 1);
	assert_null(fake(1, 1)->instance);
	assert_non_null(fake(1, 2)->instance);
	assert_int_equal(service->current->instances.n, 3);
	look();
	assert_replacing(false);
	assert_int_equal(count_events("replacing"), 2);
}

/* And none of them while there are dead or missing ones. */
static void test_service_unhealthy_ones_come_after_the_dead_ones(void **state)
{
	(void)state;
	start_instances(3);
	heal_after(1, 5);
	fall_ill(0);
	fake_fail(1, 2, "exited with status 9");
	service->instances = 4;
	changed();
	drive_until(n_ended == 2);
	assert_int_equal(service->last.n_new, 2);
	assert_int_equal(service->last.n_old, 1);
	assert_null(fake(1, 2)->instance);
	assert_non_null(fake(1, 0)->instance);
	drive_until(n_ended == 3);
	assert_null(fake(1, 0)->instance);
	assert_int_equal(service->last.n_old, 1);
	assert_int_equal(service->current->instances.n, 4);
}

static void test_service_missing_ones_are_added(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(1, 5);
	service->instances =
		4; /* as after a rolling rollout that could not bring all of them back */
	changed();
	drive_until(n_ended == 2);
	assert_event("replacing", "message", "2 of 4 instances are missing");
	assert_int_equal(service->current->instances.n, 4);
	assert_int_equal(service_named(service), 4);
	assert_int_equal(service->last.n_old, 0);
}

/* The last one serves, however ill, until another one does. */
static void test_service_last_one_serves_until_its_replacement_does(void **state)
{
	(void)state;
	start_instances(1);
	heal_after(1, 5);
	fake(1, 1)->not_healthy = true;
	fall_ill(0);
	changed();
	drive_until(service_run(service) &&
		    service_run(service)->machine.state == ROLLOUT_VERIFYING);
	assert_table(0, 10, STEER_NO_SLOT);
	fake(1, 1)->not_healthy = false;
	changed();
	drive_until(n_ended == 2);
	assert_table(0, 12, STEER_NO_SLOT);
}

/* ---- as often as is allowed ----------------------------------------------------------------- */

static void test_service_whose_budget_is_used_up_is_degraded(void **state)
{
	static const char *const reason =
		"instance 1: GET /: 500; started again 2 times within 1h, that is all \"restart\" "
		"allows";

	(void)state;
	start_instances(2);
	heal_after(1, 2);
	fake(1, 2)->start_error = -EAGAIN;
	fall_ill(1);
	changed();
	drive_until(n_ended == 2);
	assert_int_equal(service->last.outcome, ROLLOUT_FAILED);
	fake(1, 2)->start_error = -EAGAIN;
	drive_until(n_ended == 3);
	look();
	assert_replacing(false);
	assert_string_equal(service->healing.degraded, reason);
	assert_event("degraded", "reason", reason);
	assert_event("degraded", "message", reason);
	look();
	assert_int_equal(count_events("degraded"), 1);
	/* The other one serves. */
	assert_table(0, 10, STEER_NO_SLOT);
	/* It is well again by itself. */
	answers(1, 1, true, "GET /: 200");
	look();
	assert_string_equal(service->healing.degraded, "");
	assert_event("restored", "message", "all 2 instances are well");
	assert_int_equal(count_events("restored"), 1);
	look();
	assert_int_equal(count_events("restored"), 1);
}

static void test_service_whose_window_is_over_is_tried_again(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(1, 1);
	restarts_take(&service->healing.restarts, clock_monotonic_ms());
	fall_ill(1);
	look();
	assert_string_not_equal(service->healing.degraded, "");
	assert_replacing(false);
	/* It is armed: nobody has to poke it. */
	service->config->restart.window_ms = 100;
	service->healing.restarts.at_ms[0] = clock_monotonic_ms();
	look();
	drive_until(n_ended == 2);
	assert_int_equal(service->last.order, RUN_ORDER_REPLACE);
	look();
	assert_string_equal(service->healing.degraded, "");
	assert_event("restored", "message", "all 2 instances are well");
}

/* What agents do by themselves is as good a sign as any that something is wrong. */
static void test_service_counts_what_agents_have_started_again(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(1, 3);
	fake_there(1, 0)->restarts = 2;
	look();
	assert_int_equal(service->healing.restarts.n, 2);
	fake_there(1, 1)->restarts = 1;
	look();
	look();
	assert_int_equal(service->healing.restarts.n, 3);
	/* As long as all are well that harms nobody. */
	assert_string_equal(service->healing.degraded, "");
	fall_ill(1);
	look();
	assert_string_equal(service->healing.degraded,
			    "instance 1: GET /: 500; started again 3 times within 1h, that is all "
			    "\"restart\" allows");
	assert_replacing(false);
}

static void test_service_that_must_not_be_started_again_is_degraded_at_once(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(1, 0);
	fake_fail(1, 1, "exited with status 9");
	look();
	assert_string_equal(service->healing.degraded,
			    "instance 1: exited with status 9; it is not started again");
	assert_replacing(false);
	assert_int_equal(count_events("degraded"), 1);
}

/* With less than is needed left: the dead ones first. */
static void test_service_replaces_as_many_as_are_left(void **state)
{
	(void)state;
	start_instances(3);
	heal_after(1, 1);
	fall_ill(0);
	fake_fail(1, 2, "exited with status 9");
	changed();
	drive_until(n_ended == 2);
	assert_null(fake(1, 2)->instance);
	assert_non_null(fake(1, 0)->instance);
	assert_non_null(fake(1, 3)->instance);
	look();
	assert_string_equal(service->healing.degraded,
			    "instance 0: GET /: 500; started again 1 times within 1h, that is all "
			    "\"restart\" allows");
}

static void test_service_missing_ones_come_after_the_dead_ones(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(1, 2);
	service->instances = 4;
	fake_fail(1, 1, "exited with status 9");
	changed();
	drive_until(n_ended == 2);
	/* One in its place, and one of the two that are missing. */
	assert_int_equal(service->last.n_new, 2);
	assert_int_equal(service->last.n_old, 1);
	assert_int_equal(service->current->instances.n, 3);
}

/* Another generation has nothing to answer for. */
static void test_service_commit_forgives_what_has_failed_before(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(1, 1);
	restarts_take(&service->healing.restarts, clock_monotonic_ms());
	fall_ill(1);
	look();
	assert_string_not_equal(service->healing.degraded, "");
	carry_out("restart", NULL);
	look();
	assert_string_equal(service->healing.degraded, "");
	assert_int_equal(service->healing.restarts.n, 0);
	assert_int_equal(service->healing.at_ms, 0);
	/* Once: not for each look after it. */
	assert_int_equal(count_events("restored"), 1);
	assert_event("restored", "message", "generation 2 serves");
}

/* A service that is stopped is as it should be. */
static void test_service_stop_ends_being_degraded(void **state)
{
	(void)state;
	start_instances(2);
	heal_after(1, 0);
	fake_fail(1, 1, "exited with status 9");
	look();
	assert_string_not_equal(service->healing.degraded, "");
	carry_out("stop", NULL);
	assert_string_equal(service->healing.degraded, "");
	assert_null(newest_event("restored"));
	carry_out("start", NULL);
	assert_string_equal(service->healing.degraded, "");
	assert_int_equal(count_events("degraded"), 1);
}

/* ---- failed --------------------------------------------------------------------------------- */

static void test_service_unhealthy_is_asked_and_replaced_with_its_last_words(void **state)
{
	struct instance *i;

	(void)state;
	start_instances(2);
	heal_after(600000, 5);
	fall_ill(1);
	look();
	look();
	assert_int_equal(fake(1, 1)->asked, 1);
	i = fake_there(1, 1);
	strcpy(i->tail, "cache is down");
	i->tail_stdout = true;
	i->tail_realtime_ms = 1700000000042;
	delay_passes();
	assert_event("replacing", "tail", "cache is down");
	assert_event("replacing", "tail_stream", "stdout");
	assert_event("replacing", "tail_time", "2023-11-14T22:13:20.042Z");
}

static void test_service_that_serves_no_more_has_failed_since_then(void **state)
{
	uint64_t since, at_ms;

	(void)state;
	start_instances(1);
	heal_after(600000, 5);
	look();
	assert_int_equal(service->failed_realtime_ms, 0);
	strcpy(fake_there(1, 0)->tail, "panic");
	fake_fail(1, 0, "exited with status 1");
	look();
	since = service->failed_realtime_ms;
	assert_true(since > 0);
	/* When it is tried again is known. */
	assert_true(service_next_try(service, &at_ms));
	assert_int_equal(at_ms, service->healing.at_ms);
	look();
	assert_int_equal(service->failed_realtime_ms, since);
}

static void test_service_whose_budget_is_used_up_is_tried_when_there_is_room(void **state)
{
	uint64_t at_ms, now_ms = clock_monotonic_ms();

	(void)state;
	start_instances(1);
	service->config->restart = (struct restart_config){.max = 1, .window_ms = 60000};
	restarts_take(&service->healing.restarts, now_ms);
	strcpy(fake_there(1, 0)->tail, "panic");
	fake_fail(1, 0, "exited with status 1");
	look();
	assert_event("degraded", "tail", "panic");
	assert_event("degraded", "tail_stream", "stderr");
	assert_true(service_next_try(service, &at_ms));
	assert_in_range(at_ms, now_ms + 50000, now_ms + 70000);
	service->config->restart.max = 0;
	assert_false(service_next_try(service, &at_ms));
}

static void test_service_that_was_never_up_is_not_tried_again(void **state)
{
	uint64_t at_ms;

	(void)state;
	assert_false(service_next_try(service, &at_ms));
	assert_int_equal(service->failed_realtime_ms, 0);
	service_refused(service, "the port is taken");
	assert_true(service->failed_realtime_ms > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_unhealthy_and_recovered_are_told_once),
		TEST(test_service_unhealthy_alone_says_that_it_serves_on),
		TEST(test_service_unhealthy_on_trial_is_not_told),
		TEST(test_service_unhealthy_is_replaced_after_the_delay),
		TEST(test_service_heals_by_itself),
		TEST(test_service_that_recovers_before_the_delay_is_left_alone),
		TEST(test_service_delay_grows_with_what_was_replaced),
		TEST(test_service_dead_one_is_replaced),
		TEST(test_service_lost_one_is_replaced_even_while_it_serves),
		TEST(test_service_adopted_one_is_left_alone_unless_it_is_to_be_replaced),
		TEST(test_service_lost_and_dead_one_is_replaced),
		TEST(test_service_dead_ones_are_replaced_at_once),
		TEST(test_service_unhealthy_ones_are_replaced_one_at_a_time),
		TEST(test_service_unhealthy_ones_come_after_the_dead_ones),
		TEST(test_service_missing_ones_are_added),
		TEST(test_service_last_one_serves_until_its_replacement_does),
		TEST(test_service_whose_budget_is_used_up_is_degraded),
		TEST(test_service_whose_window_is_over_is_tried_again),
		TEST(test_service_counts_what_agents_have_started_again),
		TEST(test_service_that_must_not_be_started_again_is_degraded_at_once),
		TEST(test_service_replaces_as_many_as_are_left),
		TEST(test_service_missing_ones_come_after_the_dead_ones),
		TEST(test_service_commit_forgives_what_has_failed_before),
		TEST(test_service_stop_ends_being_degraded),
		TEST(test_service_unhealthy_is_asked_and_replaced_with_its_last_words),
		TEST(test_service_that_serves_no_more_has_failed_since_then),
		TEST(test_service_whose_budget_is_used_up_is_tried_when_there_is_room),
		TEST(test_service_that_was_never_up_is_not_tried_again),
	};
#undef TEST

	return cmocka_run_group_tests_name("service heal", tests, NULL, NULL);
}
