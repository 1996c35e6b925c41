/* SPDX-License-Identifier: BSD-2-Clause */
/* When those that go have no connections left, and what is told of them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/rollout/run_fixture.h"

/* The server of the old instance ends by itself. */
static void server_ends(int code, int sig)
{
	struct instance *i = fake_there(1, 0);

	fake(1, 0)->exited = true;
	i->ran = true;
	i->pid = 0;
	i->ending = ENDING_TOLD;
	i->exit_code = code;
	i->exit_signal = sig;
}

/* ---- by looking at them --------------------------------------------------------------------- */

static void test_run_drain_polls_until_no_connection_is_left(void **state)
{
	(void)state;
	fake(1, 0)->live = 2;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	assert_int_equal(run.drain.began_with, 2);
	fake(1, 0)->live = 1;
	turn();
	turn();
	assert_int_equal(run.machine.state, ROLLOUT_DRAINING);
	fake(1, 0)->live = 0; /* nobody says so */
	drive_to_end();
	assert_step("drain", true, "2 connections ended");
}

static void test_run_drain_ends_with_the_server(void **state)
{
	(void)state;
	fake(1, 0)->live = 2;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	change(server_ends(0, 0));
	drive_to_end();
	assert_int_equal(result.cut, 0);
	assert_int_equal(result.exit, 0);
}

/* However often something happens: the daemon has other things to do than to count. */
static void test_run_drain_counts_rarely_where_counting_is_slow(void **state)
{
	uint64_t began_ms, took_ms = 0;

	(void)state;
	fake(1, 0)->live = 2;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	fake(1, 0)->busy_takes_ms = 10;
	fake(1, 0)->busy_looks = 0;
	for (began_ms = clock_monotonic_ms(); took_ms < 250;) {
		host_poke(&host);
		turn();
		took_ms = clock_monotonic_ms() - began_ms;
	}
	assert_in_range(fake(1, 0)->busy_looks, 1, 2 + took_ms / 100);
	/* The server's end is not counted, but told. */
	change(server_ends(0, 0));
	look();
	assert_int_equal(run.machine.state, ROLLOUT_ENDED);
}

static void test_run_drain_deadline_counts_what_is_cut(void **state)
{
	(void)state;
	old_config.drain.timeout_ms = 40;
	fake(1, 0)->live = 5;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	fake(1, 0)->live = 3;
	drive_to_end();
	assert_step("drain", true, "3 of 5 connections left at the deadline");
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_int_equal(result.cut, 3);
	assert_int_equal(result.exit, 5);
}

/* Nor are connections that cannot be counted none, at the deadline either. */
static void test_run_drain_deadline_ends_what_cannot_be_asked(void **state)
{
	(void)state;
	old_config.drain.timeout_ms = 40;
	fake(1, 0)->live = 4;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	fake(1, 0)->live = 0;
	fake(1, 0)->ask_error = -ENOBUFS;
	drive_to_end();
	assert_true(number_of(event_named("drain"), "took_ms") >= 39);
	assert_int_equal(result.cut, 4);
	assert_int_equal(result.exit, 5);
}

/* Where nothing asks for that, what is left is not closed: the server may end it as it likes. */
static void test_run_drain_deadline_without_force_closes_nothing(void **state)
{
	(void)state;
	old_config.drain.timeout_ms = 40;
	fake(1, 0)->live = 5;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_int_equal(result.cut, 5);
	assert_null(strstr(calls, "cut"));
}

static void test_run_drain_deadline_with_force_closes_what_is_left(void **state)
{
	(void)state;
	have_old(2);
	old_config.drain.timeout_ms = 40;
	old_config.drain.force = true;
	fake(1, 0)->live = 5;
	fake(1, 1)->live = 2;
	fake(1, 0)->cannot_stop = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	forget_calls();
	drive_to(ROLLOUT_STOPPING);
	/* Before the stop: by then it is known whose they are. */
	assert_calls("hook after_drain; cut 1.0; cut 1.1; stop 1.0; stop 1.1");
	change(fake_stopped(1, 0));
	drive_to_end();
	assert_step("drain", true, "7 of 7 connections left at the deadline");
	assert_int_equal(result.cut, 7);
	assert_int_equal(result.exit, 5);
}

static void test_run_drain_that_ends_in_time_closes_nothing_by_force(void **state)
{
	(void)state;
	old_config.drain.force = true;
	fake(1, 0)->live = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	change(fake(1, 0)->live = 0);
	drive_to_end();
	assert_int_equal(result.exit, 0);
	assert_null(strstr(calls, "cut"));
}

/* The server goes all the same, and its connections with it. */
static void test_run_drain_force_that_fails_stops_all_the_same(void **state)
{
	(void)state;
	old_config.drain.timeout_ms = 40;
	old_config.drain.force = true;
	fake(1, 0)->live = 5;
	fake(1, 0)->cut_error = -EPERM;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_non_null(strstr(calls, "cut 1.0; stop 1.0; done 1.0"));
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_int_equal(result.cut, 5);
}

/* A shutdown has its own deadline. */
static void test_run_drain_of_a_shutdown_is_shorter(void **state)
{
	(void)state;
	old_config.drain.timeout_ms = 60000;
	old_config.drain.shutdown_timeout_ms = 40;
	fake(1, 0)->live = 5;
	begin_stop(true);
	drive_to_end();
	assert_int_equal(result.cut, 5);
	assert_int_equal(result.exit, 5);
}

/* The service is to end: whoever drains already, or will, has no longer than that. */
static void test_run_drain_under_way_is_cut_short(void **state)
{
	uint64_t end_ms;

	(void)state;
	old_config.drain.timeout_ms = 60000;
	fake(1, 0)->live = 5;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	end_ms = clock_monotonic_ms() + 40;
	run_limit_drain(&run, end_ms);
	assert_int_equal(run.deadline_ms, end_ms);
	/* Nobody makes it longer again. */
	run_limit_drain(&run, end_ms + 60000);
	assert_int_equal(run.deadline_ms, end_ms);
	drive_to_end();
	assert_int_equal(result.cut, 5);
	assert_int_equal(result.exit, 5);
}

static void test_run_drain_to_come_is_cut_short(void **state)
{
	uint64_t end_ms;

	(void)state;
	old_config.drain.timeout_ms = 60000;
	fake(1, 0)->live = 5;
	fake(1, 0)->queued = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_SETTLING);
	end_ms = clock_monotonic_ms() + 200;
	run_limit_drain(&run, end_ms);
	/* Settling has a deadline of its own. */
	assert_true(run.deadline_ms > end_ms);
	change(fake(1, 0)->queued = 0);
	drive_to(ROLLOUT_DRAINING);
	assert_int_equal(run.deadline_ms, end_ms);
	drive_to_end();
	assert_int_equal(result.cut, 5);
}

static void test_run_drain_that_is_shorter_stays_so(void **state)
{
	uint64_t deadline_ms;

	(void)state;
	fake(1, 0)->live = 5;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	deadline_ms = run.deadline_ms;
	run_limit_drain(&run, deadline_ms + 60000);
	assert_int_equal(run.deadline_ms, deadline_ms);
}

/* ---- by the kernel's counters --------------------------------------------------------------- */

static void count_in_kernel(uint64_t live)
{
	fake(1, 0)->counted = true;
	fake(1, 0)->count = (struct tap_count){.accepted = 100, .live = live};
	wiring.tap = &tap;
	for (uint32_t k = 0; k < old->instances.n; k++)
		assert_int_equal(tap_attach(&tap, "", 1, k, false, NULL), 0);
	forget_calls();
}

/* Of each instance the kernel says when its last connection ends. */
static void test_run_drain_watches_every_instance(void **state)
{
	(void)state;
	have_old(2);
	count_in_kernel(2);
	fake(1, 0)->live = 2;
	fake(1, 1)->counted = true;
	fake(1, 1)->count.live = fake(1, 1)->live = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	assert_non_null(strstr(calls, "leave 1.0; leave 1.1; tap watch 1.0; tap watch 1.1"));
	assert_int_equal(run.drain.began_with, 3);
	change(fake(1, 0)->count.live = 0);
	look();
	assert_int_equal(run.machine.state, ROLLOUT_DRAINING);
	change(fake(1, 1)->count.live = 0);
	look();
	assert_int_equal(run.machine.state, ROLLOUT_ENDED);
}

/* Counting has missed nothing; the list may still have what only the kernel ends. */
static void test_run_drain_ends_when_the_counters_say_so(void **state)
{
	(void)state;
	count_in_kernel(3);
	fake(1, 0)->live = 3;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	assert_int_equal(run.drain.began_with, 3);
	fake(1, 0)->count.live = 0;
	drive_to_end();
	assert_int_equal(result.cut, 0);
	assert_step("drain", true, "3 connections ended");
}

/* The counters go on counting what the server has closed and the client has not. */
static void test_run_drain_ends_when_the_list_is_empty(void **state)
{
	(void)state;
	count_in_kernel(3);
	fake(1, 0)->live = 3;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	fake(1, 0)->live = 0;
	drive_to_end();
	assert_int_equal(result.cut, 0);
	assert_int_equal(result.exit, 0);
}

static void test_run_drain_deadline_cuts_the_least_that_is_known(void **state)
{
	(void)state;
	old_config.drain.timeout_ms = 40;
	count_in_kernel(9);
	fake(1, 0)->live = 9;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	fake(1, 0)->count.live = 6;
	fake(1, 0)->live = 4;
	drive_to_end();
	assert_int_equal(result.cut, 4);
	assert_step("drain", true, "4 of 9 connections left at the deadline");
}

static void test_run_drain_deadline_believes_the_counters_where_they_say_less(void **state)
{
	(void)state;
	old_config.drain.timeout_ms = 40;
	count_in_kernel(9);
	fake(1, 0)->live = 9;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	fake(1, 0)->count.live = 2; /* the others have migrated */
	drive_to_end();
	assert_int_equal(result.cut, 2);
}

static void test_run_drain_tells_how_many_were_reset(void **state)
{
	(void)state;
	count_in_kernel(7);
	fake(1, 0)->count.reset = 5; /* earlier */
	fake(1, 0)->live = 7;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	fake(1, 0)->count.reset = 8;
	change(fake(1, 0)->count.live = 0);
	drive_to_end();
	assert_step("drain", true, "7 connections ended: 3 reset");
}

/* ---- who has ended them ---------------------------------------------------------------------- */

static void test_run_drain_tells_who_has_ended_them(void **state)
{
	(void)state;
	count_in_kernel(9);
	fake(1, 0)->count.by_client = 100; /* earlier */
	fake(1, 0)->live = 9;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	fake(1, 0)->count.by_client = 103;
	fake(1, 0)->count.by_server = 4;
	fake(1, 0)->count.at_exit = 1;
	fake(1, 0)->count.reset = 1;
	fake(1, 0)->count.live = 0;
	change(server_ends(0, 0));
	drive_to_end();
	assert_step("drain", true,
		    "9 connections ended: 3 finished by clients, 5 closed by the server, 1 reset");
	assert_int_equal(result.cut_by_server, 0);
	assert_int_equal(result.exit, 0);
}

static void cut_four(int code, int sig)
{
	count_in_kernel(6);
	old_config.drain.signal = SIGTERM;
	fake(1, 0)->live = 6;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	fake(1, 0)->count.by_client = 2;
	fake(1, 0)->count.cut = 1;
	fake(1, 0)->count.at_exit = 3;
	fake(1, 0)->count.live = 0;
	change(server_ends(code, sig));
	drive_to_end();
}

static void test_run_drain_server_that_dies_of_its_signal_has_cut_what_it_had(void **state)
{
	static const struct {
		int code, sig;
		const char *why;
	} cases[] = {
		{0, SIGTERM, ": it does not drain on SIGTERM (drain.signal?)"},
		{128 + SIGTERM, 0, ": it does not drain on SIGTERM (drain.signal?)"},
		{3, 0,
		 ": it exited with status 3 while it drained; does it drain on SIGTERM "
		 "(drain.signal)?"},
		{0, SIGSEGV, ": it was killed by SIGSEGV while it drained"},
	};

	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		char expected[192];

		if (k > 0) {
			tear_down(state);
			set_up(state);
		}
		cut_four(cases[k].code, cases[k].sig);
		assert_step("drain", true,
			    "6 connections ended: 2 finished by clients, 4 cut by the server");
		snprintf(expected, sizeof(expected), "4 connections were cut by the server%s",
			 cases[k].why);
		assert_string_equal(result.lost, expected);
		assert_int_equal(result.cut, 0);
		assert_int_equal(result.cut_by_server, 4);
		assert_int_equal(result.outcome, ROLLOUT_DONE);
		assert_int_equal(result.exit, 5);
	}
}

/* Nothing that comes reaches it any more, but it still has what it has accepted. */
static void test_run_drain_server_that_dies_in_the_bake_has_cut_what_it_had(void **state)
{
	(void)state;
	config.rollout.bake_ms = 60000;
	count_in_kernel(6);
	fake(1, 0)->count.cut = 7; /* earlier */
	fake(1, 0)->live = 6;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_BAKING);
	fake(1, 0)->count.by_client = 2;
	fake(1, 0)->count.at_exit = 4;
	fake(1, 0)->count.live = fake(1, 0)->live = 0;
	change(server_ends(0, SIGKILL));
	run_promote(&run);
	drive_to_end();
	assert_string_equal(result.lost, "4 connections were cut by the server: it was killed by "
					 "SIGKILL before it was told to drain");
	assert_int_equal(result.cut_by_server, 4);
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_int_equal(result.exit, 5);
}

static void test_run_drain_server_that_did_not_answer_has_cut_one(void **state)
{
	(void)state;
	cut_four(0, 0);
	assert_string_equal(
		result.lost,
		"1 connection was cut by the server, which had not answered in full: does "
		"it drain on SIGTERM (drain.signal)?");
	assert_int_equal(result.cut_by_server, 1);
	assert_int_equal(result.exit, 5);
}

static void test_run_drain_that_is_expected_to_cut_is_no_failure(void **state)
{
	(void)state;
	old_config.drain.expect_cut = true;
	cut_four(0, SIGTERM);
	assert_int_equal(result.cut_by_server, 4);
	assert_int_equal(result.exit, 0);
}

/* It does not know which were left open: then all that the server has ended. */
static void test_run_drain_tap_that_cannot_tell_blames_a_bad_end(void **state)
{
	(void)state;
	fake_tap_blind = true;
	count_in_kernel(6);
	old_config.drain.signal = SIGTERM;
	fake(1, 0)->live = 6;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	fake(1, 0)->count.by_client = 1;
	fake(1, 0)->count.by_server = 3;
	fake(1, 0)->count.reset = 2;
	fake(1, 0)->count.live = 0;
	change(server_ends(0, SIGTERM));
	drive_to_end();
	fake_tap_blind = false;
	assert_int_equal(result.cut_by_server, 5);
	assert_int_equal(result.exit, 5);
}

static void test_run_drain_without_counters_takes_the_last_look(void **state)
{
	(void)state;
	fake(1, 0)->live = 5;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	fake(1, 0)->live = 3;
	drive_until(run.drain.seen == 3);
	fake(1, 0)->live = 0;
	change(server_ends(0, SIGTERM));
	drive_to_end();
	assert_int_equal(result.cut_by_server, 3);
	assert_int_equal(result.exit, 5);
}

/* How it ended is not known yet: it may have cut all of them. */
static void test_run_drain_waits_to_hear_how_the_server_ended(void **state)
{
	(void)state;
	fake(1, 0)->live = 5;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	fake(1, 0)->live = 0;
	change(fake(1, 0)->exited = true);
	turn();
	assert_int_equal(run.machine.state, ROLLOUT_DRAINING);
	change(server_ends(0, 0));
	drive_to_end();
	assert_int_equal(result.exit, 0);
}

/* ---- idle ones ------------------------------------------------------------------------------ */

static void test_run_drain_does_not_wait_for_idle_ones(void **state)
{
	(void)state;
	old_config.drain.idle_timeout_ms = 1234;
	fake(1, 0)->live = 10;
	fake(1, 0)->idle = 3;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	drive_until(fake(1, 0)->busy_looks >= 2);
	assert_int_equal(fake(1, 0)->idle_ms, 1234);
	assert_int_equal(run.machine.state, ROLLOUT_DRAINING);
	fake(1, 0)->live = 3;
	drive_to_end();
	assert_step("drain", true, "7 connections ended; 3 idle ones were not waited for");
	/* Nobody was waited for in vain: this is no deadline that cut them. */
	assert_int_equal(result.cut, 0);
	assert_int_equal(result.exit, 0);
}

static void test_run_drain_of_idle_ones_only_ends_none(void **state)
{
	(void)state;
	old_config.drain.idle_timeout_ms = 1000;
	count_in_kernel(3);
	fake(1, 0)->live = fake(1, 0)->idle = 3;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_step("drain", true, "0 connections ended; 3 idle ones were not waited for");
}

static void test_run_drain_without_idle_timeout_waits_for_all(void **state)
{
	(void)state;
	old_config.drain.timeout_ms = 100;
	fake(1, 0)->live = fake(1, 0)->idle = 3;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_int_equal(fake(1, 0)->idle_ms, 0);
	assert_int_equal(result.cut, 3);
}

/* ---- servers that cannot drain -------------------------------------------------------------- */

/* It goes on listening, where no connection comes any more. */
static void test_run_old_that_cannot_drain_stays_until_it_is_empty(void **state)
{
	(void)state;
	old_config.drain.wait = DRAIN_WAIT_CONNECTIONS;
	fake(1, 0)->live = 2;
	begin_replace(RUN_ORDER_RESTART);
	assert_true(run.machine.policy.old_stays);
	assert_false(run.machine.policy.new_stays);
	drive_to(ROLLOUT_DRAINING);
	assert_calls("start 2.0; check 2.0; publish 2.0 backup 1.0; steady 1.0 off; "
		     "hook after_shift; steady 2.0 on; commit; "
		     "publish 2.0; uncheck 1.0");
	assert_int_equal(run.drain.began_with, 2);
	change(fake(1, 0)->live = 0);
	drive_to_end();
	assert_calls("hook after_drain; stop 1.0; done 1.0");
	assert_steps("start verify shift settle drain stop");
	assert_int_equal(result.exit, 0);
}

static void test_run_old_that_cannot_drain_is_cut_at_the_deadline(void **state)
{
	(void)state;
	old_config.drain.wait = DRAIN_WAIT_CONNECTIONS;
	old_config.drain.timeout_ms = 40;
	fake(1, 0)->live = 2;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_int_equal(result.cut, 2);
	assert_int_equal(result.exit, 5);
	assert_null(strstr(calls, "leave"));
}

static void test_run_new_that_cannot_drain_stays_when_rolled_back(void **state)
{
	(void)state;
	config.drain.wait = DRAIN_WAIT_CONNECTIONS;
	config.rollout.bake_ms = 60000;
	fake(2, 0)->live = 1;
	begin_replace(RUN_ORDER_RESTART);
	assert_false(run.machine.policy.old_stays);
	assert_true(run.machine.policy.new_stays);
	drive_to(ROLLOUT_BAKING);
	forget_calls();
	run_abort(&run, false, "rolled back by request");
	drive_to(ROLLOUT_DRAINING);
	assert_calls(
		"publish 1.0 backup 2.0; hook on_rollback; steady 1.0 on; publish 1.0; uncheck 2.0");
	change(fake(2, 0)->live = 0);
	drive_to_end();
	assert_calls("stop 2.0; done 2.0");
	assert_int_equal(result.exit, 4);
}

static void test_run_stop_of_one_that_cannot_drain_waits_for_it(void **state)
{
	(void)state;
	old_config.drain.wait = DRAIN_WAIT_CONNECTIONS;
	fake(1, 0)->live = 1;
	begin_stop(false);
	drive_to(ROLLOUT_DRAINING);
	assert_calls("publish nothing backup 1.0; steady 1.0 off; publish nothing; uncheck 1.0");
	change(fake(1, 0)->live = 0);
	drive_to_end();
	assert_calls("hook after_drain; stop 1.0; done 1.0");
}

/* Where a socket that listens gets connections, it has to leave all the same. */
static void test_run_old_that_cannot_drain_leaves_where_nothing_can_be_steered(void **state)
{
	(void)state;
	wiring.tier = STEER_HASH;
	config.drain.wait = old_config.drain.wait = DRAIN_WAIT_CONNECTIONS;
	begin_replace(RUN_ORDER_RESTART);
	assert_false(run.machine.policy.old_stays);
	assert_false(run.machine.policy.new_stays);
	drive_to_end();
	assert_non_null(strstr(calls, "leave 1.0"));
	assert_steps("start verify shift settle leave drain stop");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_drain_polls_until_no_connection_is_left),
		TEST(test_run_drain_ends_with_the_server),
		TEST(test_run_drain_counts_rarely_where_counting_is_slow),
		TEST(test_run_drain_deadline_counts_what_is_cut),
		TEST(test_run_drain_deadline_ends_what_cannot_be_asked),
		TEST(test_run_drain_deadline_without_force_closes_nothing),
		TEST(test_run_drain_deadline_with_force_closes_what_is_left),
		TEST(test_run_drain_that_ends_in_time_closes_nothing_by_force),
		TEST(test_run_drain_force_that_fails_stops_all_the_same),
		TEST(test_run_drain_of_a_shutdown_is_shorter),
		TEST(test_run_drain_under_way_is_cut_short),
		TEST(test_run_drain_to_come_is_cut_short),
		TEST(test_run_drain_that_is_shorter_stays_so),
		TEST(test_run_drain_watches_every_instance),
		TEST(test_run_drain_ends_when_the_counters_say_so),
		TEST(test_run_drain_ends_when_the_list_is_empty),
		TEST(test_run_drain_deadline_cuts_the_least_that_is_known),
		TEST(test_run_drain_deadline_believes_the_counters_where_they_say_less),
		TEST(test_run_drain_tells_how_many_were_reset),
		TEST(test_run_drain_tells_who_has_ended_them),
		TEST(test_run_drain_server_that_dies_of_its_signal_has_cut_what_it_had),
		TEST(test_run_drain_server_that_dies_in_the_bake_has_cut_what_it_had),
		TEST(test_run_drain_server_that_did_not_answer_has_cut_one),
		TEST(test_run_drain_that_is_expected_to_cut_is_no_failure),
		TEST(test_run_drain_tap_that_cannot_tell_blames_a_bad_end),
		TEST(test_run_drain_without_counters_takes_the_last_look),
		TEST(test_run_drain_waits_to_hear_how_the_server_ended),
		TEST(test_run_drain_does_not_wait_for_idle_ones),
		TEST(test_run_drain_of_idle_ones_only_ends_none),
		TEST(test_run_drain_without_idle_timeout_waits_for_all),
		TEST(test_run_old_that_cannot_drain_stays_until_it_is_empty),
		TEST(test_run_old_that_cannot_drain_is_cut_at_the_deadline),
		TEST(test_run_new_that_cannot_drain_stays_when_rolled_back),
		TEST(test_run_stop_of_one_that_cannot_drain_waits_for_it),
		TEST(test_run_old_that_cannot_drain_leaves_where_nothing_can_be_steered),
	};
#undef TEST

	return cmocka_run_group_tests_name("run drain", tests, NULL, NULL);
}
