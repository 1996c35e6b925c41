/* SPDX-License-Identifier: BSD-2-Clause */
/* Pause and resume. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/hold_fixture.h"

static void test_service_pause_holds_and_names_nobody(void **state)
{
	(void)state;
	carry_out("start", NULL);
	forget_calls();
	pause_service(true);
	/* In this order, or some would be refused. */
	assert_calls(HOLD_ALL "; " PUBLISH_ALL);
	assert_named(false);
	assert_holding(true);
	assert_int_equal(service_hold_ms(service), 30000);
	assert_int_equal(service_named(service), 1);
	pause_service(true);
	assert_calls("");
	/* Nothing is said to the server: what it has it goes on with. */
	wait_there(3, 4);
	pause_service(false);
	assert_calls(PUBLISH_ALL "; unhold " ENDPOINT_0 "; unhold " ENDPOINT_1
				 "; " REFUSE_ALL(0, 0));
	assert_named(true);
	assert_holding(false);
	assert_released(7, 1);
	pause_service(false);
	assert_calls("");
}

static void test_service_pause_lasts_as_long_as_hold_says(void **state)
{
	(void)state;
	service->config->hold_ms = 5000;
	carry_out("start", NULL);
	forget_calls();
	pause_service(true);
	assert_int_equal(service_hold_ms(service), 5000);
	assert_calls(PUBLISH_ALL); /* it holds already */
	pause_service(false);
	assert_calls(PUBLISH_ALL);
	assert_holding(true);
}

static void test_service_pause_that_makes_no_sense_is_refused(void **state)
{
	(void)state;
	assert_true(give_pause(true) < 0);
	assert_string_equal(err.text, "the service is stopped (\"baton start web\" starts it)");
	assert_true(give_pause(false) < 0);
	service->config->steering = STEERING_CBPF;
	carry_out("start", NULL);
	forget_calls();
	assert_true(give_pause(true) < 0);
	assert_string_equal(err.text,
			    "connections can be held on tier ebpf only; this is tier cbpf");
	assert_false(service->hold.paused);
	assert_int_equal(give_pause(false), 0);
	assert_calls("");
}

/* Half a pause would refuse what it should hold. */
static void test_service_pause_that_cannot_be_published_is_taken_back(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake_steer_failure.function = "steer_publish";
	fake_steer_failure.address = ENDPOINT_1;
	fake_steer_failure.code = -EIO;
	assert_true(give_pause(true) < 0);
	assert_string_equal(err.text, "steer_publish " ENDPOINT_1 ": Input/output error");
	assert_false(service->hold.paused);
	assert_named(true);
	assert_holding(false);
	fake_steer_failure.function = NULL;
	pause_service(true);
	fake_steer_failure.function = "steer_publish";
	assert_true(give_pause(false) < 0);
	assert_true(service->hold.paused);
	assert_named(false);
	assert_holding(true);
}

static void test_service_pause_goes_on_through_a_rollout(void **state)
{
	(void)state;
	carry_out("start", NULL);
	pause_service(true);
	wait_there(2, 0);
	forget_calls();
	carry_out("restart", NULL);
	assert_int_equal(service->last.exit, 0);
	assert_int_equal(service->current->number, 2);
	assert_named(false);
	assert_null(strstr(calls, "hold"));
	assert_int_equal(service->wiring.endpoints[0]->held, 2);
	pause_service(false);
	assert_named(true);
	assert_released(2, 2);
}

static void test_service_pause_goes_on_though_sockets_change(void **state)
{
	unsigned published;

	(void)state;
	carry_out("start", NULL);
	pause_service(true);
	published = service->wiring.endpoints[0]->published;
	fake_there(1, 0)->sockets_version++;
	changed();
	drive_until(service->wiring.endpoints[0]->published > published);
	assert_named(false);
}

static void test_service_pause_before_anything_is_ready_counts(void **state)
{
	(void)state;
	fake(1, 0)->not_healthy = true;
	order("start", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	pause_service(true);
	wait_there(1, 0);
	fake(1, 0)->not_healthy = false;
	changed();
	drive_until(n_ended == 1);
	assert_named(false);
	pause_service(false);
	assert_named(true);
	assert_released(1, 1);
}

/* There is nobody to be named: who waits goes on waiting. */
static void test_service_pause_of_a_dead_one_only_holds(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake(1, 0)->dead = true;
	changed();
	forget_calls();
	pause_service(true);
	assert_calls(HOLD_ALL);
	pause_service(false);
	assert_calls(REFUSE_ALL(0, 0));
}

static void test_service_pause_resets_who_waits_too_long(void **state)
{
	(void)state;
	service->config->hold_ms = 40;
	carry_out("start", NULL);
	pause_service(true);
	wait_there(3, 0);
	drive_until(service->hold.expired[0] == 3);
	assert_true(service->hold.paused);
}

static void test_service_pause_does_not_hold_up_a_stop(void **state)
{
	(void)state;
	carry_out("start", NULL);
	pause_service(true);
	wait_there(2, 0);
	forget_calls();
	carry_out("stop", NULL);
	assert_null(service->current);
	/* What waits is for the start that comes, and for the end of the pause. */
	assert_null(strstr(calls, "expire"));
	assert_true(service->hold.paused && service->endpoints.open);
	assert_holding(true);
	carry_out("start", NULL);
	assert_named(false);
	assert_holding(true);
	pause_service(false);
	assert_named(true);
}

static void test_service_pause_of_what_stays_stopped_ends_with_a_refusal(void **state)
{
	(void)state;
	carry_out("start", NULL);
	pause_service(true);
	carry_out("stop", NULL);
	wait_there(2, 0);
	forget_calls();
	pause_service(false);
	assert_non_null(strstr(calls, "expire " ENDPOINT_0 " 2"));
	assert_false(service->hold.paused || service->endpoints.open);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_pause_holds_and_names_nobody),
		TEST(test_service_pause_of_what_stays_stopped_ends_with_a_refusal),
		TEST(test_service_pause_lasts_as_long_as_hold_says),
		TEST(test_service_pause_that_makes_no_sense_is_refused),
		TEST(test_service_pause_that_cannot_be_published_is_taken_back),
		TEST(test_service_pause_goes_on_through_a_rollout),
		TEST(test_service_pause_goes_on_though_sockets_change),
		TEST(test_service_pause_before_anything_is_ready_counts),
		TEST(test_service_pause_of_a_dead_one_only_holds),
		TEST(test_service_pause_resets_who_waits_too_long),
		TEST(test_service_pause_does_not_hold_up_a_stop),
	};
#undef TEST

	return cmocka_run_group_tests_name("service pause", tests, NULL, NULL);
}
