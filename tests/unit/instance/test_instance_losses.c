/* SPDX-License-Identifier: BSD-2-Clause */
/* Endpoints that an instance does not serve any more: closed, shut down, or not to be steered. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/instance/instance_fixture.h"

#define CLOSED  "nothing of it listens on " ADDRESS_1 " any more: its server has closed the socket"
#define SHUT    "nothing of it listens on " ADDRESS_1 " any more: its server has shut the socket down"
#define NOWHERE "a socket that its server listens on gets no connections: "

static void run_healthy(void)
{
	run_instance();
	for (size_t k = 0; k < 2; k++)
		i->checks.list[k].checker.health.state = HEALTH_HEALTHY;
	assert_true(instance_is_healthy(i));
}

static void hear_set(uint32_t serial)
{
	report.serial = serial;
	hear(REPORT_SOCKETS, report.n_sockets);
}

/* The set without that of endpoint 1. */
static void lose_one(void)
{
	add_socket(0, 101);
	hear_set(2);
}

static void fail_steer(const char *function, int code)
{
	fake_steer_failure.function = function;
	fake_steer_failure.address = ADDRESS_1;
	fake_steer_failure.code = code;
}

/* That takes at most a second, but is no matter of a moment. */
static void assert_lost(const char *why)
{
	char text[PROBE_TEXT_MAX];
	uint64_t began_ms = clock_monotonic_ms();
	unsigned changes = n_changes;

	assert_true(instance_is_healthy(i));
	assert_null(instance_loss_text(i, 1, text));
	drive_until(instance_is_unhealthy(i));
	assert_in_range(clock_monotonic_ms() - began_ms, 200, 900);
	assert_int_equal(n_changes, changes + 1);
	assert_false(instance_is_healthy(i));
	assert_string_equal(instance_last_answer(i)->text, why);
	assert_false(instance_last_answer(i)->ok);
	assert_null(instance_loss_text(i, 0, text));
	assert_string_equal(instance_loss_text(i, 1, text), why);
	assert_in_range(clock_realtime_ms() - i->losses[1].since_realtime_ms, 200, 60000);
}

static void assert_well(void)
{
	char text[PROBE_TEXT_MAX];

	assert_false(instance_is_unhealthy(i));
	assert_true(instance_is_healthy(i));
	assert_null(instance_loss_text(i, 1, text));
	assert_int_equal(i->losses[1].since_ms, 0);
	assert_false(timer_is_set(&i->loss_timer));
}

static void test_losses_endpoint_without_a_socket_is_unhealthy(void **state)
{
	(void)state;
	run_healthy();
	lose_one();
	assert_lost(CLOSED);
	assert_true(instance_is_serving(i));
	/* It is served again: nothing is left of it. */
	add_socket(0, 101);
	add_socket(1, 105)->own = true;
	hear_set(3);
	assert_well();
}

/* It closes what it was passed, and takes its time before it binds its own. */
static void test_losses_of_what_was_passed_are_none_before_it_was_served(void **state)
{
	char text[PROBE_TEXT_MAX];

	(void)state;
	config.mode = SOCKETS_AUTO;
	run_instance();
	for (size_t k = 0; k < i->checks.n; k++)
		if (i->checks.list[k].endpoint == 1)
			i->checks.list[k].checker.health.state = HEALTH_UNKNOWN;
	lose_one();
	assert_false(timer_is_set(&i->loss_timer));
	assert_false(instance_is_unhealthy(i));
	assert_null(instance_loss_text(i, 1, text));
	/* Its own it is to keep. */
	add_socket(0, 101);
	add_socket(1, 105)->own = true;
	hear_set(3);
	lose_one();
	assert_true(timer_is_set(&i->loss_timer));
	drive_until(instance_is_unhealthy(i));
	assert_string_equal(instance_loss_text(i, 1, text), CLOSED);
}

static void test_losses_name_where_it_listens_instead(void **state)
{
	(void)state;
	run_healthy();
	report.n_strangers = 1;
	strcpy(report.strangers[0], "0.0.0.0:81");
	lose_one();
	assert_lost(CLOSED ", and listens on 0.0.0.0:81, which the service does not declare");
}

/* A server that closes one socket and then binds the next is not at fault for it. */
static void test_losses_of_a_moment_are_none(void **state)
{
	(void)state;
	run_healthy();
	lose_one();
	assert_true(timer_is_set(&i->loss_timer));
	add_socket(0, 101);
	add_socket(1, 105);
	hear_set(3);
	assert_well();
}

/* Fewer workers, or its successor has one, too. */
static void test_losses_are_none_while_one_socket_is_left(void **state)
{
	(void)state;
	run_healthy();
	add_socket(0, 101);
	add_socket(1, 102);
	add_socket(1, 105);
	hear_set(2);
	add_socket(0, 101);
	add_socket(1, 105);
	hear_set(3);
	assert_well();
}

static void test_losses_of_a_socket_that_is_shut_down_end_when_it_listens_again(void **state)
{
	(void)state;
	run_healthy();
	endpoint_1.table.buckets[1000].primary = 6;
	forget_calls();
	add_socket(0, 101);
	add_socket(1, 102)->deaf = true;
	hear_set(2);
	assert_calls("");
	assert_int_equal(i->sockets.n, 1);
	assert_int_equal(i->sockets_version, 2);
	instance_release_unused(i);
	assert_lost(SHUT);
	/* The kernel has emptied its slot. */
	add_socket(0, 101);
	add_socket(1, 102);
	hear_set(3);
	assert_calls("rejoin " ADDRESS_1 " 6");
	assert_int_equal(i->sockets.n, 2);
	assert_well();
}

/* Its slot may be another's by then. */
static void test_losses_of_a_socket_that_has_lost_its_slot_end_by_another(void **state)
{
	(void)state;
	run_healthy();
	memset(&endpoint_1.table, 0xff, sizeof(endpoint_1.table));
	add_socket(0, 101);
	add_socket(1, 102)->deaf = true;
	hear_set(2);
	instance_release_unused(i);
	forget_calls();
	add_socket(0, 101);
	add_socket(1, 102);
	hear_set(3);
	assert_calls("join " ADDRESS_1 " fd 2 slot 7");
	assert_well();
}

static void test_losses_socket_that_cannot_join_is_one(void **state)
{
	(void)state;
	run_healthy();
	fail_steer("steer_join", -EINVAL);
	add_socket(0, 101);
	add_socket(1, 102);
	add_socket(1, 105);
	hear_set(2);
	assert_notes("sockets: instance 0: steer_join " ADDRESS_1 ": Invalid argument");
	assert_int_equal(i->sockets.n, 2);
	assert_lost(NOWHERE "steer_join " ADDRESS_1 ": Invalid argument");
	fake_steer_failure.function = NULL;
	add_socket(0, 101);
	add_socket(1, 102);
	hear_set(3);
	assert_well();
}

static void test_losses_socket_that_cannot_be_put_back_is_one(void **state)
{
	(void)state;
	run_healthy();
	fail_steer("steer_rejoin", -EIO);
	add_socket(0, 101);
	add_socket(1, 102);
	hear_set(2);
	assert_lost(NOWHERE "steer_rejoin " ADDRESS_1 ": Input/output error");
	/* Also if the set has changed since. */
	fake_steer_failure.function = NULL;
	forget_calls();
	add_socket(0, 101);
	add_socket(1, 102);
	add_socket(0, 106);
	hear_set(3);
	assert_calls("rejoin " ADDRESS_1 " 6; join " ADDRESS_0 " fd 6 slot 5");
	assert_well();
}

static void test_losses_socket_that_cannot_be_taken_is_one(void **state)
{
	(void)state;
	run_healthy();
	strcpy(report.trouble, "listens on " ADDRESS_1 " with MPTCP, which cannot be steered");
	report.trouble_endpoint = 1;
	add_socket(0, 101);
	add_socket(1, 102);
	hear_set(2);
	assert_lost("its server listens on " ADDRESS_1 " with MPTCP, which cannot be steered");
	add_socket(0, 101);
	add_socket(1, 102);
	hear_set(3);
	assert_well();
}

/* An IPv6 socket beside an IPv4 one: the kernel has them in two groups. */
static void test_losses_socket_of_the_other_family_is_one(void **state)
{
	struct report_socket *twin;

	(void)state;
	run_healthy();
	add_socket(0, 101);
	add_socket(1, 102);
	twin = add_socket(1, 105);
	twin->own = true;
	strcpy(twin->address, "[::ffff:127.0.0.1]:81");
	hear_set(2);
	assert_lost(NOWHERE
		    "[::ffff:127.0.0.1]:81: the kernel does not steer between it and " ADDRESS_1);
}

static void test_losses_report_without_descriptors_is_one(void **state)
{
	(void)state;
	run_healthy();
	add_sockets(&report);
	hear(REPORT_SOCKETS, 1);
	drive_until(instance_is_unhealthy(i));
	assert_string_equal(instance_last_answer(i)->text,
			    NOWHERE "the agent sent 1 descriptors for 2 sockets");
}

/* Somebody has emptied it: the agent still has the socket. */
static void test_losses_empty_slot_is_asked_for(void **state)
{
	(void)state;
	run_healthy();
	instance_look_slots(i);
	assert_calls("");
	endpoint_1.empty[6] = true;
	instance_look_slots(i);
	assert_calls("order family 0 declared");
	i->phase = INSTANCE_LEAVING;
	instance_look_slots(i);
	assert_calls("");
}

/* Its rollout waits for it, or its agent starts it again. */
static void test_losses_are_none_before_it_has_joined_or_while_no_server_runs(void **state)
{
	(void)state;
	config.mode = SOCKETS_INHERIT;
	assert_started();
	hear(REPORT_HELLO, 1);
	report.pid = 600;
	hear(REPORT_STARTED, 0);
	add_socket(0, 101);
	hear_set(2);
	hear_set(3);
	assert_false(timer_is_set(&i->loss_timer));
	add_sockets(&report);
	hear_set(4);
	assert_true(instance_has_joined(i));
	lose_one();
	assert_true(timer_is_set(&i->loss_timer));
	report.restarting = true;
	hear(REPORT_EXITED, 0);
	assert_false(timer_is_set(&i->loss_timer));
	/* The next one has yet to bind it ... */
	report.pid = 601;
	hear(REPORT_STARTED, 0);
	assert_false(timer_is_set(&i->loss_timer));
	/* ... and may lose it, too. */
	add_sockets(&report);
	hear_set(5);
	lose_one();
	assert_true(timer_is_set(&i->loss_timer));
}

static void test_losses_of_one_that_goes_are_none(void **state)
{
	(void)state;
	run_healthy();
	lose_one();
	drive_until(instance_is_unhealthy(i));
	instance_leave(i);
	assert_false(instance_is_unhealthy(i));
	hear(REPORT_LEFT, 0);
	assert_false(i->has_loss);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_losses_endpoint_without_a_socket_is_unhealthy),
		TEST(test_losses_of_what_was_passed_are_none_before_it_was_served),
		TEST(test_losses_name_where_it_listens_instead),
		TEST(test_losses_of_a_moment_are_none),
		TEST(test_losses_are_none_while_one_socket_is_left),
		TEST(test_losses_of_a_socket_that_is_shut_down_end_when_it_listens_again),
		TEST(test_losses_of_a_socket_that_has_lost_its_slot_end_by_another),
		TEST(test_losses_socket_that_cannot_join_is_one),
		TEST(test_losses_socket_that_cannot_be_put_back_is_one),
		TEST(test_losses_socket_that_cannot_be_taken_is_one),
		TEST(test_losses_socket_of_the_other_family_is_one),
		TEST(test_losses_report_without_descriptors_is_one),
		TEST(test_losses_empty_slot_is_asked_for),
		TEST(test_losses_are_none_before_it_has_joined_or_while_no_server_runs),
		TEST(test_losses_of_one_that_goes_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
