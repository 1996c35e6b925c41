/* SPDX-License-Identifier: BSD-2-Clause */
/* Has it failed, has it begun? */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

static void test_service_refused_start_says_why_until_it_starts(void **state)
{
	(void)state;
	service_refused(service, "command: no such program");
	assert_true(service->settled);
	assert_string_equal(service->refusal, "command: no such program");
	carry_out("start", NULL);
	assert_string_equal(service->refusal, "");
}

static void test_service_has_failed_until_it_is_started_again(void **state)
{
	(void)state;
	assert_false(service_has_failed(service)); /* nobody has tried */
	fake(1, 0)->start_error = -EIO;
	order("start", NULL);
	assert_false(service_has_failed(service));
	drive_until(n_ended == 1);
	assert_true(service_has_failed(service));
	order("start", NULL);
	assert_false(service_has_failed(service));
	drive_until(n_ended == 2);
	assert_false(service_has_failed(service));
	/* What is refused or undone while another one serves is no failure of the service. */
	fake(3, 0)->start_error = -EIO;
	carry_out("restart", NULL);
	assert_int_equal(service->last.exit, 3);
	assert_false(service_has_failed(service));
}

static void test_service_has_failed_where_its_start_was_refused(void **state)
{
	(void)state;
	service_refused(service, "command: no such program");
	assert_true(service_has_failed(service));
	carry_out("start", NULL);
	assert_false(service_has_failed(service));
	carry_out("stop", NULL);
	assert_false(service_has_failed(service));
}

/* "Serves" is said of what answers now: nobody looks after it, but it does. */
static void test_service_that_was_left_is_degraded_while_its_agents_are_there(void **state)
{
	(void)state;
	agents_there = true;
	assert_int_equal(service_condition(service), SERVICE_DEAD);
	service_left(service, "pid 500 speaks version 9");
	assert_int_equal(service_condition(service), SERVICE_DEGRADED);
	assert_true(service_is_left(service));
	agents_there = false;
	assert_int_equal(service_condition(service), SERVICE_DEAD);
	assert_false(service_is_left(service));
	assert_true(service_has_failed(service));
	carry_out("start", NULL);
	agents_there = true;
	assert_false(service_is_left(service));
	assert_int_equal(service_condition(service), SERVICE_WELL);
	agents_there = false;
}

/* It is as it should be. */
static void test_service_that_was_stopped_has_not_failed(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(2, 0)->start_error = -EIO;
	carry_out("restart", NULL);
	carry_out("stop", NULL);
	assert_false(service_has_failed(service));
	fake(3, 0)->start_error = -EIO;
	carry_out("start", NULL);
	assert_true(service_has_failed(service));
}

/* The end of something else is what was heard of last. */
static void test_service_that_was_stopped_has_not_failed_by_what_ends_later(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(2, 0)->cannot_stop = true;
	restart_until_verify(2);
	order("abort", NULL);
	turn();
	carry_out("stop", NULL);
	fake_stopped(2, 0);
	changed();
	drive_until(n_ended == 3);
	assert_int_equal(service->last.order, RUN_ORDER_RESTART);
	assert_int_equal(service->last.outcome, ROLLOUT_FAILED);
	assert_false(service_has_failed(service));
}

static void test_service_that_was_stopped_while_first_starting_has_not_failed(void **state)
{
	(void)state;
	fake(1, 0)->not_healthy = true;
	order("start", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	order("stop", NULL);
	drive_until(n_ended == 1);
	assert_false(service_has_failed(service));
}

static struct takeover_agent agent = {.hello = {.generation = 3, .state = AGENT_LEFT}};

static void test_service_adopted_retirement_does_not_settle_the_start(void **state)
{
	struct takeover_agent *found[] = {&agent};

	(void)state;
	assert_int_equal(service_take_over(service, found, 1, &err), 0);
	fake(4, 0)->not_healthy = true;
	order("start", NULL);
	drive_until(n_ended == 1); /* generation 3 is gone; 4 has not been healthy yet */
	assert_int_equal(run->machine.state, ROLLOUT_VERIFYING);
	assert_false(service->settled);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_refused_start_says_why_until_it_starts),
		TEST(test_service_has_failed_until_it_is_started_again),
		TEST(test_service_has_failed_where_its_start_was_refused),
		TEST(test_service_that_was_left_is_degraded_while_its_agents_are_there),
		TEST(test_service_that_was_stopped_has_not_failed),
		TEST(test_service_that_was_stopped_has_not_failed_by_what_ends_later),
		TEST(test_service_that_was_stopped_while_first_starting_has_not_failed),
		TEST(test_service_adopted_retirement_does_not_settle_the_start),
	};
#undef TEST

	return cmocka_run_group_tests_name("service", tests, NULL, NULL);
}
