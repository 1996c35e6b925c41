/* SPDX-License-Identifier: BSD-2-Clause */
/* When a checker asks, what it makes of the answers, and its end. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/health/checker_fixture.h"

/* ---- when it asks --------------------------------------------------------------------------- */

static void test_checker_start_probes_at_once_the_target(void **state)
{
	(void)state;
	start();
	assert_int_equal(fake.starts, 0); /* the loop's turn, not the caller's */
	run_until_started(1);
	assert_ptr_equal(fake.health, &health);
	assert_ptr_equal(fake.address, &address);
	assert_int_equal(told.answers, 0);
	assert_int_equal(checker.health.state, HEALTH_UNKNOWN);
	assert_int_equal(checker.last_ms, 0);
}

static void test_checker_next_probe_is_an_interval_after_the_answer(void **state)
{
	uint64_t from, answered;

	(void)state;
	health.interval_ms = 50;
	start();
	run_until_started(1);
	/* Not an interval after the question: the probe is still under way. */
	run_for(120);
	assert_int_equal(fake.starts, 1);
	from = clock_monotonic_ms();
	finish(true);
	answered = clock_monotonic_ms();
	check_next(from, answered);
	assert_int_equal(fake.starts, 1);
	run_until_started(2);
	assert_true(fake.started_ms >= from + health.interval_ms);
	from = clock_monotonic_ms();
	finish(false);
	check_next(from, clock_monotonic_ms());
	run_until_started(3);
	assert_true(fake.started_ms >= from + health.interval_ms);
}

static void test_checker_long_interval_asks_once(void **state)
{
	(void)state;
	start();
	run_until_started(1);
	finish(true);
	run_for(60);
	assert_int_equal(fake.starts, 1);
}

/* ---- what it makes of the answers ----------------------------------------------------------- */

static void test_checker_answers_become_a_verdict(void **state)
{
	static const struct {
		bool ok, changes;
		enum health_state state;
	} steps[] = {
		{false, false, HEALTH_UNKNOWN},  {true, false, HEALTH_UNKNOWN},
		{false, false, HEALTH_UNKNOWN},  {true, false, HEALTH_UNKNOWN},
		{true, true, HEALTH_HEALTHY},    {false, false, HEALTH_HEALTHY},
		{false, false, HEALTH_HEALTHY},  {false, true, HEALTH_UNHEALTHY},
		{true, false, HEALTH_UNHEALTHY}, {true, true, HEALTH_HEALTHY},
	};
	int changes = 0;

	(void)state;
	start();
	run_until_started(1);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		next_answer(steps[i].ok);
		changes += steps[i].changes;
		assert_int_equal(told.answers, i + 1);
		assert_int_equal(told.changes, changes);
		assert_int_equal(checker.health.state, steps[i].state);
	}
}

static void test_checker_latest_answer_is_kept(void **state)
{
	uint64_t from;

	(void)state;
	start();
	run_until_started(1);
	from = clock_monotonic_ms();
	finish(true);
	assert_in_range(checker.last_ms, from, clock_monotonic_ms());
	assert_true(checker.last.ok);
	assert_null(checker.probe);
	next_answer(false);
	assert_false(checker.last.ok);
	assert_int_equal(checker.last.status, 503);
	assert_string_equal(checker.last.text, "an answer");
	assert_int_equal(told.last.status, 503);
	assert_string_equal(told.last.text, "an answer");
}

/* A connect check does so itself. */
static void test_checker_named_answers_begin_with_the_address(void **state)
{
	char expected[64];

	(void)state;
	named = true;
	start();
	run_until_started(1);
	finish(true);
	snprintf(expected, sizeof(expected), "%s: an answer", address.text);
	assert_string_equal(checker.last.text, expected);
	assert_string_equal(told.last.text, expected);
	health.kind = HEALTH_KIND_CONNECT;
	next_answer(true);
	assert_string_equal(told.last.text, "an answer");
}

static void test_checker_probe_that_cannot_start_is_not_asked(void **state)
{
	char long_text[2 * PROBE_TEXT_MAX];
	uint64_t from;

	(void)state;
	fake.result = -EMFILE;
	fake.error = "socket: Too many open files";
	start();
	from = clock_monotonic_ms();
	run_until_started(1);
	assert_int_equal(told.answers, 1);
	assert_false(told.last.ok);
	assert_int_equal(told.last.status, 0);
	assert_true(told.last.unasked);
	assert_string_equal(told.last.text, "not asked: socket: Too many open files");
	assert_string_equal(checker.last.text, "not asked: socket: Too many open files");
	assert_int_equal(checker.health.failures, 0);
	assert_false(checker.has_bad);
	assert_null(checker.probe);
	/* It goes on, sooner than after an interval of an hour, and a text of any length fits. */
	health.interval_ms = 1000;
	check_next(from, clock_monotonic_ms());
	health.interval_ms = HOUR_MS;
	memset(long_text, 'x', sizeof(long_text));
	long_text[sizeof(long_text) - 1] = '\0';
	fake.error = long_text;
	make_due();
	run_until_started(2);
	assert_int_equal(told.answers, 2);
	assert_int_equal(strlen(told.last.text), PROBE_TEXT_MAX - 1);
	fake.result = 0;
	next_answer(true);
	next_answer(true);
	assert_int_equal(checker.health.state, HEALTH_HEALTHY);
}

static void test_checker_probes_that_are_not_asked_count_neither_way(void **state)
{
	(void)state;
	start();
	run_until_started(1);
	next_answer(true);
	next_answer(true);
	assert_int_equal(checker.health.state, HEALTH_HEALTHY);
	next_answer(false);
	next_answer(false);
	for (int k = 0; k < 4; k++) {
		make_due();
		run_until_started(5 + k);
		fake.under_way = false;
		fake.probe.callbacks->on_done(
			fake.probe.userdata,
			&(struct probe_result){.unasked = true, .text = "not asked: no"});
	}
	assert_int_equal(checker.health.state, HEALTH_HEALTHY);
	assert_int_equal(checker.health.failures, 2);
	assert_string_equal(checker.bad.text, "an answer");
	assert_string_equal(checker.last.text, "not asked: no");
	assert_int_equal(told.answers, 8);
	next_answer(false);
	assert_int_equal(checker.health.state, HEALTH_UNHEALTHY);
	assert_int_equal(told.changes, 2);
}

static void late_answer(int starts)
{
	make_due();
	run_until_started(starts);
	fake.under_way = false;
	fake.probe.callbacks->on_done(
		fake.probe.userdata,
		&(struct probe_result){.took_ms = health.timeout_ms + 2500, .text = "no answer"});
}

static void test_checker_answer_after_batond_stood_still_is_excused_once(void **state)
{
	(void)state;
	health.unhealthy = 1;
	start();
	run_until_started(1);
	next_answer(true);
	next_answer(true);
	late_answer(3);
	assert_int_equal(checker.health.state, HEALTH_HEALTHY);
	assert_true(checker.last.unasked);
	assert_string_equal(checker.last.text, "not judged: batond itself stood still while it "
					       "asked, for 2500 ms");
	next_answer(true);
	late_answer(5);
	assert_int_equal(checker.health.state, HEALTH_HEALTHY);
	late_answer(6);
	assert_int_equal(checker.health.state, HEALTH_UNHEALTHY);
	assert_string_equal(checker.bad.text, "no answer");
}

/* ---- restart -------------------------------------------------------------------------------- */

static void test_checker_restart_forgets_and_probes_at_once(void **state)
{
	(void)state;
	start();
	run_until_started(1);
	next_answer(true);
	next_answer(true);
	assert_int_equal(checker.health.state, HEALTH_HEALTHY);
	checker_restart(&checker);
	assert_int_equal(checker.health.state, HEALTH_UNKNOWN);
	assert_int_equal(fake.cancels, 0); /* none was under way */
	run_until_started(3);              /* although the interval is an hour */
	finish(true);
	assert_int_equal(checker.health.state, HEALTH_UNKNOWN); /* the old answers do not count */
	next_answer(true);
	assert_int_equal(checker.health.state, HEALTH_HEALTHY);
	assert_int_equal(told.changes, 2);
}

static void test_checker_restart_cancels_the_probe_under_way(void **state)
{
	(void)state;
	start();
	run_until_started(1);
	next_answer(true);
	make_due();
	run_until_started(2);
	/* Whatever it will say is about the server that is gone. */
	checker_restart(&checker);
	assert_int_equal(fake.cancels, 1);
	assert_int_equal(checker.health.successes, 0);
	run_until_started(3);
	assert_int_equal(told.answers, 1);
	finish(true);
	assert_int_equal(told.answers, 2);
	assert_int_equal(checker.health.state, HEALTH_UNKNOWN);
}

static void test_checker_restart_from_within_on_answer_probes_at_once(void **state)
{
	(void)state;
	start();
	run_until_started(1);
	told.restart = true;
	finish(true);
	assert_int_equal(checker.health.successes, 0);
	run_until_started(2);
	/* The same where the answer was that no probe could be started. */
	finish(true);
	fake.result = -EMFILE;
	fake.error = "no";
	told.restart = true;
	make_due();
	run_until_started(3);
	assert_int_equal(told.answers, 3);
	fake.result = 0;
	run_until_started(4);
}

static void test_checker_restart_of_a_stopped_one_does_nothing(void **state)
{
	(void)state;
	checker_restart(&checker); /* never started */
	assert_null(checker.timer.source);
	start();
	run_until_started(1);
	next_answer(true);
	checker_stop(&checker);
	checker_restart(&checker);
	assert_null(checker.timer.source);
	run_for(20);
	assert_int_equal(fake.starts, 1);
}

/* ---- stop ----------------------------------------------------------------------------------- */

static void test_checker_stop_cancels_and_asks_no_more(void **state)
{
	(void)state;
	health.interval_ms = 1;
	start();
	run_until_started(1);
	checker_stop(&checker);
	assert_int_equal(fake.cancels, 1);
	assert_null(checker.probe);
	assert_null(checker.timer.source);
	assert_false(checker.running);
	run_for(20);
	assert_int_equal(fake.starts, 1);
	assert_int_equal(told.answers, 0);
	checker_stop(&checker);
	assert_int_equal(fake.cancels, 1);
}

static void test_checker_stop_between_probes_ends_them(void **state)
{
	(void)state;
	health.interval_ms = 1;
	start();
	run_until_started(1);
	finish(true);
	checker_stop(&checker);
	assert_int_equal(fake.cancels, 0);
	run_for(20);
	assert_int_equal(fake.starts, 1);
}

static void test_checker_stop_before_the_first_probe_leaves_none(void **state)
{
	(void)state;
	checker_stop(&checker); /* never started */
	start();
	checker_stop(&checker);
	run_for(20);
	assert_int_equal(fake.starts, 0);
}

static void test_checker_stop_from_within_on_answer_ends_it(void **state)
{
	(void)state;
	health.interval_ms = 1;
	start();
	run_until_started(1);
	told.stop = true;
	finish(true);
	assert_null(checker.timer.source);
	run_for(20);
	assert_int_equal(fake.starts, 1);
	/* The same where the answer was that no probe could be started: in the timer itself. */
	fake.result = -EMFILE;
	fake.error = "no";
	told.stop = true;
	start();
	run_until_started(2);
	assert_null(checker.timer.source);
	run_for(20);
	assert_int_equal(fake.starts, 2);
	assert_int_equal(told.answers, 2);
}

/* ---- what the probe asks back --------------------------------------------------------------- */

static void test_checker_probe_is_pinned_to_the_slot(void **state)
{
	struct sockaddr_in source = {.sin_family = AF_INET, .sin_port = htons(40000)};
	const struct sockaddr *sa = (const struct sockaddr *)&source;

	(void)state;
	start();
	run_until_started(1);
	assert_int_equal(fake.probe.callbacks->on_bind(fake.probe.userdata, sa), 0);
	assert_int_equal(fake.pins, 1);
	assert_int_equal(fake.pinned, SLOT);
	assert_ptr_equal(fake.source, sa);
	/* Without a pin it must not go on: anybody could answer. */
	fake.pin_result = -ENOSPC;
	assert_int_equal(fake.probe.callbacks->on_bind(fake.probe.userdata, sa), -ENOSPC);
	fake.source = NULL;
	fake.probe.callbacks->on_close(fake.probe.userdata, sa);
	assert_int_equal(fake.unpins, 1);
	assert_ptr_equal(fake.source, sa);
	finish(true);
}

static void test_checker_connected_is_accepted_once_the_queue_is_empty(void **state)
{
	(void)state;
	health.kind = HEALTH_KIND_CONNECT;
	start();
	run_until_started(1);
	fake.queued = 1;
	assert_int_equal(fake.probe.callbacks->on_connected(fake.probe.userdata), 0);
	assert_int_equal(fake.asked, COOKIE);
	fake.queued = 0;
	assert_int_equal(fake.probe.callbacks->on_connected(fake.probe.userdata), 1);
	fake.diag_result = -ENOENT; /* it does not listen any more */
	assert_int_equal(fake.probe.callbacks->on_connected(fake.probe.userdata), -ENOENT);
	finish(false);
}

/* A server that has much to do always has somebody in its queue. */
static void test_checker_connected_is_accepted_although_others_wait(void **state)
{
	struct sockaddr_in source = {.sin_family = AF_INET, .sin_port = htons(40000)};

	(void)state;
	health.kind = HEALTH_KIND_CONNECT;
	start();
	run_until_started(1);
	assert_int_equal(fake.probe.callbacks->on_bind(fake.probe.userdata, (void *)&source), 0);
	fake.state = TCP_ESTABLISHED;
	fake.waits = true;
	fake.queued = 5;
	assert_int_equal(fake.probe.callbacks->on_connected(fake.probe.userdata), 0);
	fake.waits = false;
	assert_int_equal(fake.probe.callbacks->on_connected(fake.probe.userdata), 1);
	/* Its server may have closed it already, or it is only half open (TCP_DEFER_ACCEPT). */
	fake.state = 0;
	assert_int_equal(fake.probe.callbacks->on_connected(fake.probe.userdata), 0);
	fake.queued = 0;
	assert_int_equal(fake.probe.callbacks->on_connected(fake.probe.userdata), 1);
	fake.state = TCP_SYN_RECV;
	assert_int_equal(fake.probe.callbacks->on_connected(fake.probe.userdata), 1);
	finish(true);
}

static void answer(bool ok, unsigned n)
{
	finish(ok);
	run_until_started((int)n);
}

/* Of one that was condemned and answers well once more, the answer that condemned it counts. */
static void test_checker_bad_answer_is_kept_until_it_is_well(void **state)
{
	(void)state;
	health.interval_ms = 1;
	start();
	run_until_started(1);
	assert_false(checker.has_bad);
	answer(true, 2);
	answer(true, 3);
	assert_int_equal(checker.health.state, HEALTH_HEALTHY);
	for (unsigned n = 0; n < health.unhealthy; n++)
		answer(false, 4 + n);
	assert_int_equal(checker.health.state, HEALTH_UNHEALTHY);
	assert_true(checker.has_bad);
	checker.bad.took_ms = 4711;
	answer(false, 4 + health.unhealthy);
	answer(true, 5 + health.unhealthy);
	assert_true(checker.last.ok);
	assert_false(checker.bad.ok);
	assert_int_equal(checker.bad.took_ms, 4711);
	answer(true, 6 + health.unhealthy);
	assert_int_equal(checker.health.state, HEALTH_HEALTHY);
	assert_false(checker.has_bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_checker_##name, setup, teardown)
		TEST(start_probes_at_once_the_target),
		TEST(next_probe_is_an_interval_after_the_answer),
		TEST(long_interval_asks_once),
		TEST(answers_become_a_verdict),
		TEST(bad_answer_is_kept_until_it_is_well),
		TEST(latest_answer_is_kept),
		TEST(named_answers_begin_with_the_address),
		TEST(probe_that_cannot_start_is_not_asked),
		TEST(probes_that_are_not_asked_count_neither_way),
		TEST(answer_after_batond_stood_still_is_excused_once),
		TEST(restart_forgets_and_probes_at_once),
		TEST(restart_cancels_the_probe_under_way),
		TEST(restart_from_within_on_answer_probes_at_once),
		TEST(restart_of_a_stopped_one_does_nothing),
		TEST(stop_cancels_and_asks_no_more),
		TEST(stop_between_probes_ends_them),
		TEST(stop_before_the_first_probe_leaves_none),
		TEST(stop_from_within_on_answer_ends_it),
		TEST(probe_is_pinned_to_the_slot),
		TEST(connected_is_accepted_once_the_queue_is_empty),
		TEST(connected_is_accepted_although_others_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
