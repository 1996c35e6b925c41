/* SPDX-License-Identifier: BSD-2-Clause */
/* A checker whose instance has several sockets, others than before, or none. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/health/checker_fixture.h"

/* The slot and the cookie that the probe under way goes to. */
static void assert_asked(uint16_t slot)
{
	struct sockaddr_in source = {.sin_family = AF_INET};

	fake.queued = 1;
	assert_true(fake.under_way);
	assert_int_equal(fake.probe.callbacks->on_bind(fake.probe.userdata,
						       (const struct sockaddr *)&source),
			 0);
	assert_int_equal(fake.pinned, slot);
	assert_int_equal(fake.probe.callbacks->on_connected(fake.probe.userdata), 0);
	assert_int_equal(fake.asked, COOKIE + slot - SLOT);
}

static void ask_next(void)
{
	int n = fake.starts;

	make_due();
	run_until_started(n + 1);
}

/* A server that has one per worker: none of them must stay unasked. */
static void test_checker_each_probe_goes_to_the_next_socket(void **state)
{
	(void)state;
	start_with(3);
	run_until_started(1);
	for (int k = 0; k < 7; k++) {
		assert_asked((uint16_t)(SLOT + k % 3));
		finish(true);
		ask_next();
	}
	finish(true);
}

/* Whoever gets it answers; better than no check at all. */
static void test_checker_where_nothing_can_be_pinned_it_asks_without(void **state)
{
	struct sockaddr_in source = {.sin_family = AF_INET};

	(void)state;
	fake.tier = STEER_HASH;
	start();
	run_until_started(1);
	assert_int_equal(fake.probe.callbacks->on_bind(fake.probe.userdata,
						       (const struct sockaddr *)&source),
			 0);
	assert_int_equal(fake.pins, 0);
	finish(true);
}

static void test_checker_retarget_asks_the_new_sockets_and_keeps_the_verdict(void **state)
{
	uint64_t before, after;

	(void)state;
	start();
	run_until_started(1);
	next_answer(true);
	next_answer(true);
	assert_int_equal(checker.health.state, HEALTH_HEALTHY);
	assert_true(sd_event_source_get_time(checker.timer.source, &before) >= 0);
	checker_retarget(&checker, others, 2);
	assert_int_equal(checker.health.state, HEALTH_HEALTHY);
	/* In its time: the server is the same. */
	assert_true(sd_event_source_get_time(checker.timer.source, &after) >= 0);
	assert_int_equal(before, after);
	for (int k = 0; k < 2; k++) {
		ask_next();
		assert_in_range(checker.asked.slot, SLOT + 1, SLOT + 2);
		assert_asked(checker.asked.slot);
		finish(true);
	}
	assert_int_equal(told.answers, 4);
	assert_int_equal(told.changes, 1);
}

static void test_checker_retarget_gives_up_a_probe_of_a_socket_that_is_gone(void **state)
{
	(void)state;
	start();
	run_until_started(1);
	checker_retarget(&checker, others, 2);
	assert_int_equal(fake.cancels, 1);
	assert_null(checker.probe);
	run_until_started(2); /* although the interval is an hour */
	assert_in_range(checker.asked.slot, SLOT + 1, SLOT + 2);
	assert_int_equal(told.answers, 0);
	finish(true);
}

static void test_checker_retarget_lets_a_probe_of_a_socket_that_stays_go_on(void **state)
{
	const struct checker_socket more[] = {{SLOT + 1, COOKIE + 1}, {SLOT, COOKIE}};

	(void)state;
	start();
	run_until_started(1);
	checker_retarget(&checker, more, 2);
	assert_int_equal(fake.cancels, 0);
	assert_asked(SLOT);
	finish(true);
	assert_int_equal(told.answers, 1);
}

/* A slot is given away again: another socket in it is another socket. */
static void test_checker_retarget_tells_sockets_by_cookie_too(void **state)
{
	const struct checker_socket same_slot = {SLOT, COOKIE + 1};

	(void)state;
	start();
	run_until_started(1);
	checker_retarget(&checker, &same_slot, 1);
	assert_int_equal(fake.cancels, 1);
	run_until_started(2);
	assert_int_equal(checker.asked.cookie, COOKIE + 1);
	finish(true);
}

static void test_checker_retarget_from_within_on_answer_counts_from_the_next_on(void **state)
{
	(void)state;
	start();
	run_until_started(1);
	told.retarget = true;
	finish(true);
	assert_int_equal(fake.cancels, 0);
	ask_next();
	assert_in_range(checker.asked.slot, SLOT + 1, SLOT + 2);
	finish(true);
}

static void test_checker_retarget_of_a_stopped_one_does_nothing(void **state)
{
	(void)state;
	checker_retarget(&checker, others, 2); /* never started */
	assert_null(checker.timer.source);
	start();
	run_until_started(1);
	checker_stop(&checker);
	checker_retarget(&checker, others, 2);
	assert_null(checker.timer.source);
	run_for(20);
	assert_int_equal(fake.starts, 1);
}

/* Its slot may be somebody else's by now, who would answer in its place. */
static void test_checker_without_a_socket_fails_until_there_is_one(void **state)
{
	(void)state;
	health.unhealthy = 1;
	start();
	run_until_started(1);
	next_answer(true);
	next_answer(true);
	ask_next();
	checker_retarget(&checker, NULL, 0);
	assert_int_equal(fake.cancels, 1);
	run_for(20);
	assert_int_equal(fake.starts, 3);
	assert_int_equal(told.answers, 3);
	assert_false(told.last.ok);
	assert_string_equal(told.last.text, "nothing listens on 127.0.0.1:8080");
	assert_int_equal(checker.health.state, HEALTH_UNHEALTHY);
	checker_retarget(&checker, others, 1);
	ask_next();
	assert_asked(SLOT + 1);
	finish(true);
}

static void test_checker_start_without_a_socket_waits_for_one(void **state)
{
	(void)state;
	start_with(0);
	run_for(20);
	assert_int_equal(fake.starts, 0);
	assert_int_equal(told.answers, 1);
	assert_int_equal(checker.health.state, HEALTH_UNKNOWN);
	checker_retarget(&checker, others, 2);
	ask_next();
	finish(true);
	next_answer(true);
	assert_int_equal(checker.health.state, HEALTH_HEALTHY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_checker_##name, setup, teardown)
		TEST(each_probe_goes_to_the_next_socket),
		TEST(where_nothing_can_be_pinned_it_asks_without),
		TEST(retarget_asks_the_new_sockets_and_keeps_the_verdict),
		TEST(retarget_gives_up_a_probe_of_a_socket_that_is_gone),
		TEST(retarget_lets_a_probe_of_a_socket_that_stays_go_on),
		TEST(retarget_tells_sockets_by_cookie_too),
		TEST(retarget_from_within_on_answer_counts_from_the_next_on),
		TEST(retarget_of_a_stopped_one_does_nothing),
		TEST(without_a_socket_fails_until_there_is_one),
		TEST(start_without_a_socket_waits_for_one),
	};

	return cmocka_run_group_tests_name("checker sockets", tests, NULL, NULL);
}
