/* SPDX-License-Identifier: BSD-2-Clause */
/* Somebody else's program on a service's groups: noticed, named, told once, put right or not. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/service/service_internal.h"
#include "tests/unit/service/service_fixture.h"

static struct steer *endpoint(size_t k)
{
	return service->wiring.endpoints[k];
}

static void replace_program(size_t k)
{
	endpoint(k)->program = STEER_PROGRAM_FOREIGN;
	endpoint(k)->foreign = "program 9 \"other\" (loaded by uid 0)";
}

#define REPLACED(address) "program 9 \"other\" (loaded by uid 0) had replaced baton's on " address

static void test_service_drift_is_noticed_without_being_told(void **state)
{
	(void)state;
	carry_out("start", NULL);
	replace_program(0);
	drive_until(count_events("drift") == 1);
	assert_event("drift", "message", REPLACED(ENDPOINT_0) "; put right");
	assert_event("drift", "listen", ENDPOINT_0);
	assert_int_equal(endpoint(0)->program, STEER_PROGRAM_ATTACHED);
}

static void test_service_drift_that_is_put_right_is_told_each_time(void **state)
{
	(void)state;
	carry_out("start", NULL);
	forget_calls();
	replace_program(1);
	watch_now();
	assert_calls("repair " ENDPOINT_1);
	assert_event("drift", "message", REPLACED(ENDPOINT_1) "; put right");
	watch_now();
	assert_calls("");
	assert_int_equal(count_events("drift"), 1);
	replace_program(1);
	watch_now();
	assert_int_equal(count_events("drift"), 2);
}

/* The other program had chosen the daemon's own socket, which nobody accepts from. */
static void test_service_drift_brings_back_what_was_led_astray(void **state)
{
	(void)state;
	carry_out("start", NULL);
	forget_calls();
	replace_program(0);
	endpoint(0)->held = 2;
	watch_now();
	assert_calls("repair " ENDPOINT_0 "; unhold " ENDPOINT_0);
	assert_event("drift", "message",
		     REPLACED(ENDPOINT_0) "; put right; 2 connections that nobody would have "
					  "accepted were sent on");
}

static void test_service_drift_to_no_program_is_one(void **state)
{
	(void)state;
	carry_out("start", NULL);
	endpoint(0)->program = STEER_PROGRAM_MISSING;
	watch_now();
	assert_event("drift", "message", "baton's program was taken off " ENDPOINT_0 "; put right");
}

static void test_service_drift_that_is_only_reported_is_told_once(void **state)
{
	(void)state;
	service->config->drift = DRIFT_REPORT;
	carry_out("start", NULL);
	forget_calls();
	replace_program(0);
	watch_now();
	watch_now();
	assert_int_equal(count_events("drift"), 1);
	assert_event("drift", "message", REPLACED(ENDPOINT_0) "; left as it is (drift: report)");
	assert_null(strstr(calls, "repair"));
	/* Nobody accepts from the anchor, and ours no longer keeps connections from it. */
	assert_non_null(strstr(calls, "withdraw " ENDPOINT_0));
	assert_null(strstr(calls, "withdraw " ENDPOINT_1));
	/* Once it has been ours again it is news. */
	endpoint(0)->program = STEER_PROGRAM_ATTACHED;
	watch_now();
	replace_program(0);
	watch_now();
	assert_int_equal(count_events("drift"), 2);
}

static void test_service_drift_that_cannot_be_put_right_is_told_once_and_tried_on(void **state)
{
	(void)state;
	carry_out("start", NULL);
	replace_program(0);
	fake_steer_failure.function = "steer_repair";
	fake_steer_failure.code = -EPERM;
	for (int k = 0; k < 3; k++)
		watch_now();
	assert_int_equal(count_events("drift"), 1);
	assert_event("drift", "message",
		     REPLACED(ENDPOINT_0) "; cannot be put right: steer_repair " ENDPOINT_0
					  ": Operation not permitted");
	/* Until then the service is unwell: no other instance would be steered to either. */
	turn();
	assert_int_equal(count_events("degraded"), 1);
	assert_non_null(strstr(service->healing.degraded,
			       "connections to " ENDPOINT_0 " are not steered: "));
	fake_steer_failure.function = NULL;
	watch_now();
	turn();
	assert_string_equal(service->healing.degraded, "");
	assert_int_equal(count_events("restored"), 1);
	assert_int_equal(count_events("drift"), 2);
	assert_event("drift", "message", REPLACED(ENDPOINT_0) "; put right");
	watch_now();
	assert_int_equal(count_events("drift"), 2);
}

/* A reload may say so after the fact. */
static void test_service_drift_is_put_right_once_that_is_wanted(void **state)
{
	(void)state;
	service->config->drift = DRIFT_REPORT;
	carry_out("start", NULL);
	replace_program(0);
	watch_now();
	service->config->drift = DRIFT_REPAIR;
	watch_now();
	assert_event("drift", "message", REPLACED(ENDPOINT_0) "; put right");
	assert_int_equal(endpoint(0)->program, STEER_PROGRAM_ATTACHED);
}

static void test_service_drift_is_told_of_each_endpoint(void **state)
{
	(void)state;
	carry_out("start", NULL);
	replace_program(0);
	replace_program(1);
	watch_now();
	assert_int_equal(count_events("drift"), 2);
}

/* ---- who did it ----------------------------------------------------------------------------- */

/* Of the newest event "drift"; -1: it does not say. */
static json_int_t instance_told(void)
{
	json_t *event = newest_event("drift"), *instance = json_object_get(event, "instance");
	json_int_t ret = instance ? json_integer_value(instance) : -1;

	assert_true(!instance == !json_object_get(event, "generation"));
	json_decref(event);
	return ret;
}

static void test_service_drift_names_the_culprit(void **state)
{
	(void)state;
	carry_out("start", NULL);
	replace_program(0);
	fake_tap_program(service->wiring.tap, 1, 3, 42, "nginx");
	/* At once: nobody waits for half a second. */
	drive_until(count_events("drift") == 1);
	assert_event("drift", "message",
		     REPLACED(ENDPOINT_0) " (set by pid 42 \"nginx\", instance 3 of generation 1); "
					  "put right");
	assert_int_equal(instance_told(), 3);
	/* The next time it may be somebody else. */
	replace_program(0);
	watch_now();
	assert_event("drift", "message", REPLACED(ENDPOINT_0) "; put right");
	assert_int_equal(instance_told(), -1);
}

/* It tried, and failed: who replaces the program later need not be the same. */
static void test_service_drift_culprit_of_nothing_is_forgotten(void **state)
{
	unsigned before;

	(void)state;
	carry_out("start", NULL);
	before = endpoint(0)->tended;
	fake_tap_program(service->wiring.tap, 1, 0, 42, "nginx");
	drive_until(endpoint(0)->tended > before);
	replace_program(0);
	watch_now();
	assert_event("drift", "message", REPLACED(ENDPOINT_0) "; put right");
}

static void test_service_drift_culprit_with_a_long_name_fits(void **state)
{
	(void)state;
	carry_out("start", NULL);
	replace_program(0);
	fake_tap_program(service->wiring.tap, UINT32_MAX - 1, UINT32_MAX, INT32_MAX,
			 "123456789012345");
	drive_until(count_events("drift") == 1);
	assert_event("drift", "message",
		     REPLACED(ENDPOINT_0) " (set by pid 2147483647 \"123456789012345\", instance "
					  "4294967295 of generation 4294967294); put right");
}

/* ---- where there is none -------------------------------------------------------------------- */

static void test_service_drift_is_not_what_cannot_be_told(void **state)
{
	(void)state;
	carry_out("start", NULL);
	endpoint(0)->program = STEER_PROGRAM_UNKNOWN;
	endpoint(1)->program = STEER_PROGRAM_NONE;
	watch_now();
	assert_int_equal(count_events("drift"), 0);
	assert_null(strstr(calls, "repair"));
}

/* While nothing is started yet there is nobody whose connections could go astray. */
static void test_service_drift_matters_only_with_a_generation(void **state)
{
	(void)state;
	assert_int_equal(service_open_fresh(service, service->config, &err), 0);
	replace_program(0);
	watch_now();
	assert_int_equal(count_events("drift"), 0);
}

static void test_service_drift_of_an_earlier_life_is_forgotten(void **state)
{
	(void)state;
	service->config->drift = DRIFT_REPORT;
	carry_out("start", NULL);
	replace_program(0);
	watch_now();
	carry_out("stop", NULL);
	carry_out("start", NULL);
	replace_program(0);
	watch_now();
	assert_int_equal(count_events("drift"), 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_drift_is_noticed_without_being_told),
		TEST(test_service_drift_that_is_put_right_is_told_each_time),
		TEST(test_service_drift_brings_back_what_was_led_astray),
		TEST(test_service_drift_to_no_program_is_one),
		TEST(test_service_drift_that_is_only_reported_is_told_once),
		TEST(test_service_drift_that_cannot_be_put_right_is_told_once_and_tried_on),
		TEST(test_service_drift_is_put_right_once_that_is_wanted),
		TEST(test_service_drift_is_told_of_each_endpoint),
		TEST(test_service_drift_names_the_culprit),
		TEST(test_service_drift_culprit_of_nothing_is_forgotten),
		TEST(test_service_drift_culprit_with_a_long_name_fits),
		TEST(test_service_drift_is_not_what_cannot_be_told),
		TEST(test_service_drift_matters_only_with_a_generation),
		TEST(test_service_drift_of_an_earlier_life_is_forgotten),
	};
#undef TEST

	return cmocka_run_group_tests_name("service drift", tests, NULL, NULL);
}
