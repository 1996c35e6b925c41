/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections that nothing can take wait: "hold". */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/hold_fixture.h"

static void test_service_hold_is_off_by_default(void **state)
{
	(void)state;
	carry_out("start", NULL);
	carry_out("restart", NULL);
	assert_null(strstr(calls, "hold"));
	assert_null(strstr(calls, "expire"));
	assert_int_equal(service_hold_ms(service), 0);
	assert_holding(false);
}

/* From the moment that there is a program until something is ready. */
static void test_service_hold_begins_before_the_program(void **state)
{
	(void)state;
	service->config->hold_ms = 5000;
	fake(1, 0)->not_healthy = true;
	order("start", NULL);
	assert_calls(OPEN_ALL RESET_ALL HOLD_ALL "; attach " ENDPOINT_0 "; attach " ENDPOINT_1);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	wait_there(3, 2);
	forget_calls();
	fake(1, 0)->not_healthy = false;
	changed();
	drive_until(n_ended == 1);
	assert_calls_of("publish unhold hold expire steady", PUBLISH_ALL
			"; unhold " ENDPOINT_0 "; unhold " ENDPOINT_1 "; steady 1.0 on");
	assert_released(5, 1);
	assert_holding(true); /* for the next time */
	assert_int_equal(service->hold.expired[0], 0);
}

static void test_service_hold_of_nobody_releases_nobody(void **state)
{
	(void)state;
	service->config->hold_ms = 5000;
	carry_out("start", NULL);
	carry_out("restart", NULL);
	assert_null(newest_event("released"));
	assert_null(strstr(calls, "unhold"));
}

/* They cannot be seen, but would be left behind at the anchor. */
static void test_service_hold_releases_half_open_ones_too(void **state)
{
	(void)state;
	service->config->hold_ms = 5000;
	fake(1, 0)->not_healthy = true;
	order("start", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	service->wiring.endpoints[1]->half_open = 1;
	fake(1, 0)->not_healthy = false;
	changed();
	drive_until(n_ended == 1);
	assert_non_null(strstr(calls, "unhold " ENDPOINT_1));
	assert_null(newest_event("released"));
}

/* Every process of it is gone; whoever comes waits until there are sockets again. */
static void test_service_hold_ends_with_new_sockets(void **state)
{
	(void)state;
	service->config->hold_ms = 60000;
	carry_out("start", NULL);
	fake(1, 0)->dead = true;
	nobody_takes(true);
	changed();
	wait_there(4, 0);
	watch_now();
	assert_int_equal(service->wiring.endpoints[0]->held, 4);
	forget_calls();
	nobody_takes(false);
	fake(1, 0)->dead = false;
	fake_there(1, 0)->sockets_version++;
	changed();
	drive_until(service->wiring.endpoints[0]->held == 0);
	assert_calls(PUBLISH_ALL "; unhold " ENDPOINT_0);
	assert_released(4, 1);
}

static void test_service_hold_that_cannot_be_released_waits_on(void **state)
{
	(void)state;
	service->config->hold_ms = 60000;
	fake(1, 0)->not_healthy = true;
	order("start", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	wait_there(4, 3);
	fake_steer_failure.function = "steer_unhold";
	fake_steer_failure.address = ENDPOINT_0;
	fake_steer_failure.code = -EMFILE;
	fake(1, 0)->not_healthy = false;
	changed();
	drive_until(n_ended == 1);
	assert_int_equal(service->last.exit, 0);
	assert_int_equal(service->wiring.endpoints[0]->held, 4);
	assert_int_equal(service->wiring.endpoints[1]->held, 0);
	assert_released(3, 1);
	/* It is tried again. */
	fake_steer_failure.function = NULL;
	watch_now();
	assert_int_equal(service->wiring.endpoints[0]->held, 0);
	assert_released(4, 1);
}

static void test_service_hold_resets_who_waits_too_long(void **state)
{
	uint64_t began_ms;

	(void)state;
	service->config->hold_ms = 60;
	carry_out("start", NULL);
	nobody_takes(true);
	forget_calls();
	began_ms = clock_monotonic_ms();
	wait_there(4, 0);
	drive_until(service->hold.expired[0] == 4);
	assert_true(clock_monotonic_ms() - began_ms >= 60);
	assert_int_equal(service->wiring.endpoints[0]->held, 0);
	assert_int_equal(service->hold.expired[1], 0);
	assert_calls("expire " ENDPOINT_0 " 4");
	/* And it goes on looking, at both. */
	wait_there(0, 2);
	drive_until(service->hold.expired[1] == 2);
	assert_int_equal(service->hold.expired[0], 4);
}

static void test_service_hold_ends_where_it_is_stopped(void **state)
{
	(void)state;
	service->config->hold_ms = 60000;
	carry_out("start", NULL);
	fake(1, 0)->cannot_leave = true;
	nobody_takes(true);
	wait_there(2, 1);
	forget_calls();
	order("stop", NULL);
	drive_until(run->machine.state == ROLLOUT_LEAVING);
	/* First the table, or those that it still names would be refused. */
	assert_calls(PUBLISH_ALL "; " REFUSE_ALL(2, 1) "; steady 1.0 off; leave 1.0");
	assert_holding(false);
	assert_int_equal(service->hold.expired[0], 2);
	assert_int_equal(service->hold.expired[1], 1);
	assert_false(timer_is_set(&service->hold.timer));
	fake_left(1, 0);
	changed();
	drive_until(n_ended == 2);
}

static void test_service_hold_ends_where_batond_does(void **state)
{
	(void)state;
	service->config->hold_ms = 60000;
	carry_out("start", NULL);
	fake(1, 0)->cannot_leave = true;
	forget_calls();
	service_shutdown(service, "batond is shutting down");
	drive_until(service_run(service)->machine.state == ROLLOUT_LEAVING);
	assert_non_null(strstr(calls, PUBLISH_ALL "; " REFUSE_ALL(0, 0)));
	fake_left(1, 0);
	changed();
	drive_until(n_ended == 2);
}

/* A replacement is no end: who can be taken by nobody for a moment waits. */
static void test_service_hold_goes_on_through_a_rollout(void **state)
{
	(void)state;
	service->config->hold_ms = 60000;
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	forget_calls();
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	assert_null(strstr(calls, "hold"));
	assert_holding(true);
}

static void test_service_hold_has_no_effect_on_lower_tiers(void **state)
{
	(void)state;
	service->config->hold_ms = 5000;
	service->config->steering = STEERING_CBPF;
	carry_out("start", NULL);
	carry_out("restart", NULL);
	carry_out("stop", NULL);
	assert_null(strstr(calls, "hold"));
	assert_null(strstr(calls, "expire"));
}

static void test_service_hold_that_cannot_be_switched_on_is_survived(void **state)
{
	(void)state;
	service->config->hold_ms = 5000;
	fake_steer_failure.function = "steer_hold";
	fake_steer_failure.code = -EIO;
	carry_out("start", NULL);
	assert_int_equal(service->last.exit, 0);
	assert_named(true);
}

static void test_service_hold_follows_the_configuration(void **state)
{
	struct service_config *config;
	const char *order_after;

	(void)state;
	carry_out("start", NULL);
	forget_calls();
	for (uint64_t hold_ms = 5000; hold_ms <= 10000; hold_ms += 5000) {
		config = make_config("/bin/web", ENDPOINT_0);
		config->hold_ms = hold_ms;
		assert_int_equal(reconfigure(config, &order_after, &err), 0);
		assert_null(order_after);
		assert_calls(HOLD_ALL);
		assert_int_equal(service->hold.queues[0].hold_ms, hold_ms);
		assert_int_equal(service->hold.queues[1].hold_ms, hold_ms);
		assert_holding(true);
	}
	wait_there(1, 0);
	config = make_config("/bin/web", ENDPOINT_0);
	assert_int_equal(reconfigure(config, &order_after, &err), 0);
	assert_calls(REFUSE_ALL(1, 0));
	assert_holding(false);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_hold_is_off_by_default),
		TEST(test_service_hold_begins_before_the_program),
		TEST(test_service_hold_of_nobody_releases_nobody),
		TEST(test_service_hold_releases_half_open_ones_too),
		TEST(test_service_hold_ends_with_new_sockets),
		TEST(test_service_hold_that_cannot_be_released_waits_on),
		TEST(test_service_hold_resets_who_waits_too_long),
		TEST(test_service_hold_ends_where_it_is_stopped),
		TEST(test_service_hold_ends_where_batond_does),
		TEST(test_service_hold_goes_on_through_a_rollout),
		TEST(test_service_hold_has_no_effect_on_lower_tiers),
		TEST(test_service_hold_that_cannot_be_switched_on_is_survived),
		TEST(test_service_hold_follows_the_configuration),
	};
#undef TEST

	return cmocka_run_group_tests_name("service hold", tests, NULL, NULL);
}
