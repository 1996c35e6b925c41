/* SPDX-License-Identifier: BSD-2-Clause */
/* A start that connections of an earlier server are in the way of. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

static void lie_in_the_way(bool lingers)
{
	fake_steer_failure.function = "steer_open";
	fake_steer_failure.address = ENDPOINT_0;
	fake_steer_failure.code = -EADDRINUSE;
	fake_occupants.lingers = lingers;
}

static void start_in_vain(void)
{
	assert_true(give_order("start", NULL) < 0);
	service_refused(service, refusal.why.text);
}

static void test_service_start_is_tried_again_while_connections_linger(void **state)
{
	(void)state;
	lie_in_the_way(true);
	start_in_vain();
	assert_string_equal(service->refusal, "nobody listens on " ENDPOINT_0
					      "; it is tried again until \"start_timeout\"");
	assert_true(service_retries(service));
	assert_false(service->settled);
	fake_steer_failure.function = NULL;
	drive_until(service->current != NULL);
	assert_false(service_retries(service));
	assert_string_equal(service->refusal, "");
	assert_true(service->settled);
}

static void test_service_start_is_given_up_after_its_timeout(void **state)
{
	unsigned ended = n_ended;

	(void)state;
	service->config->health.start_timeout_ms = 1;
	lie_in_the_way(true);
	start_in_vain();
	drive_until(!service_retries(service));
	assert_true(service->settled);
	assert_int_equal(n_ended, ended + 1);
	assert_int_equal(count_events("refused"), 1);
	assert_int_equal(service->last.outcome, ROLLOUT_FAILED);
	assert_true(service->last.exit != 0);
}

static void test_service_start_is_not_tried_again_where_somebody_listens(void **state)
{
	(void)state;
	lie_in_the_way(false);
	start_in_vain();
	assert_false(service_retries(service));
	assert_true(service->settled);
}

static void test_service_start_is_not_tried_again_after_a_shutdown(void **state)
{
	(void)state;
	lie_in_the_way(true);
	start_in_vain();
	service_shutdown(service, "batond is shutting down");
	drive_until(!service_retries(service));
	assert_null(service->current);
	assert_int_equal(count_events("refused"), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_start_is_tried_again_while_connections_linger),
		TEST(test_service_start_is_given_up_after_its_timeout),
		TEST(test_service_start_is_not_tried_again_where_somebody_listens),
		TEST(test_service_start_is_not_tried_again_after_a_shutdown),
	};
#undef TEST

	return cmocka_run_group_tests_name("service retry", tests, NULL, NULL);
}
