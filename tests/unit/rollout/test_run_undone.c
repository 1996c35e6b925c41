/* SPDX-License-Identifier: BSD-2-Clause */
/* Rollouts that do not reach what was asked for: the old generation stays, and people learn why. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/view/run_json.h"
#include "tests/unit/rollout/run_fixture.h"

/* ---- before the shift ----------------------------------------------------------------------- */

static void test_run_new_fails_to_start_stops_and_old_is_untouched(void **state)
{
	(void)state;
	fake(2, 0)->not_listening = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_STARTING);
	memcpy(fake_there(2, 0)->tail, "boom\n", 6);
	fail_new("exited with status 1");
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "start", "generation 2: instance 0 exited with status 1");
	assert_calls("start 2.0; stop 2.0; hook on_failure; done 2.0");
	assert_steps("start stop");
	assert_string_equal(result.words.text, "boom\n");
	assert_true(result.culprit.known && result.culprit.instance == 0);
	assert_string_equal(result.probe, "");
	assert_int_equal(result.replaces, 1);
}

/* ---- after the shift ------------------------------------------------------------------------ */

static void test_run_new_fails_while_settling_flips_back(void **state)
{
	(void)state;
	fake(1, 0)->queued = 1;
	fake(2, 0)->live = 4;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_SETTLING);
	assert_calls("start 2.0; check 2.0; publish 2.0 backup 1.0; steady 1.0 off; "
		     "hook after_shift");
	fail_new("was killed by SIGSEGV");
	/* The new one has had real connections: it goes as carefully as any other. */
	drive_to(ROLLOUT_DRAINING);
	assert_calls("publish 1.0 backup 2.0; hook on_rollback; steady 1.0 on; publish 1.0; "
		     "uncheck 2.0; leave 2.0");
	assert_int_equal(run.drain.began_with, 4);
	change(fake(2, 0)->live = 0);
	drive_to_end();
	assert_calls("stop 2.0; done 2.0");
	assert_int_equal(result.outcome, ROLLOUT_ROLLED_BACK);
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.step, "settle");
	assert_string_equal(result.reason, "generation 2: instance 0 was killed by SIGSEGV");
	assert_ptr_equal(current, old);
	assert_steps("start verify shift settle shift settle leave drain stop");
	assert_step("settle", false, "generation 2: instance 0 was killed by SIGSEGV");
	assert_string_equal(text_of(events[4].details, "message"),
			    "back: new connections go to generation 1");
	assert_string_equal(text_of(events[5].details, "message"),
			    "queue of generation 2 is empty");
	assert_step("leave", true, "generation 2 is out of the group");
	assert_step("drain", true, "4 connections ended");
	assert_step("stop", true, "generation 2 exited with status 0");
	assert_false(instance_has_left(fake_there(1, 0)));
}

static void test_run_new_turns_unhealthy_while_baking_flips_back(void **state)
{
	struct instance *i;

	(void)state;
	config.rollout.bake_ms = 60000;
	begin_replace(RUN_ORDER_UPGRADE);
	drive_to(ROLLOUT_BAKING);
	i = fake_there(2, 0);
	i->checks.list[0].checker.last =
		(struct probe_result){.text = "GET /: 500", .body = "oops"};
	memcpy(i->tail, "panic\n", 7);
	change(fake(2, 0)->unhealthy = true);
	drive_to_end();
	assert_undone(ROLLOUT_ROLLED_BACK, "bake",
		      "generation 2: instance 0 turned unhealthy: GET /: 500");
	assert_string_equal(result.probe, "GET /: 500: oops");
	assert_string_equal(result.words.text, "panic\n");
}

static void test_run_flip_back_that_cannot_be_published_goes_on(void **state)
{
	(void)state;
	config.rollout.bake_ms = 60000;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_BAKING);
	publish_error = -EIO;
	forget_calls();
	fail_new("exited with status 1");
	drive_to_end();
	assert_calls("publish 1.0 backup 2.0; hook on_rollback; steady 1.0 on; publish 1.0; "
		     "uncheck 2.0; leave 2.0; stop 2.0; done 2.0");
	assert_int_equal(result.exit, 4);
	assert_string_equal(events[5].name, "shift");
	assert_string_equal(text_of(events[5].details, "message"),
			    "the table could not be published: steer: Input/output error");
}

static void test_run_flip_back_that_cannot_be_published_keeps_the_reason(void **state)
{
	(void)state;
	config.rollout.bake_ms = 60000;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_BAKING);
	publish_error = -EIO;
	run_abort(&run, false, "rolled back by request");
	drive_to_end();
	assert_string_equal(result.reason, "rolled back by request");
}

static void test_run_new_fails_with_the_old_gone_cannot_flip_back(void **state)
{
	(void)state;
	fake(1, 0)->queued = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_SETTLING);
	fake(1, 0)->dead = true;
	fail_new("exited with status 1");
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_ptr_equal(current, new);
}

/* A rollout that was undone has nobody left to fail. */
static void test_run_undone_once_is_not_undone_again(void **state)
{
	(void)state;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_SETTLING);
	fake(2, 0)->queued = 1;
	fail_new("exited with status 1");
	drive_until(fake(2, 0)->queue_looks >= 3);
	fake(1, 0)->dead = true;
	fake(2, 0)->queued = 0;
	drive_to_end();
	assert_int_equal(result.exit, 8);
	assert_string_equal(result.reason, "generation 2: instance 0 exited with status 1");
	/* It settled; no deadline had to end it. */
	assert_true(result.took_ms < config.rollout.settle_timeout_ms);
}

static void test_run_drain_deadline_when_rolled_back_is_counted(void **state)
{
	json_t *json;

	(void)state;
	old_config.drain.timeout_ms = 30;
	fake(2, 0)->live = 2;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_SETTLING);
	fail_new("exited with status 1");
	drive_to_end();
	assert_int_equal(result.exit, 4); /* not 5: being rolled back matters more */
	assert_int_equal(result.cut, 2);
	json = run_result_json(&result);
	assert_int_equal(number_of(json, "cut"), 2);
	assert_string_equal(text_of(json, "message"), "generation 1 serves again; 2 "
						      "connections were cut at the deadline");
	json_decref(json);
}

/* ---- by request ----------------------------------------------------------------------------- */

static void test_run_abort_while_starting_fails_the_rollout(void **state)
{
	(void)state;
	fake(2, 0)->not_listening = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_STARTING);
	run_abort(&run, false, "rolled back by request");
	assert_true(poked);
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "start", "rolled back by request");
	assert_calls("start 2.0; stop 2.0; hook on_failure; done 2.0");
}

static void test_run_abort_while_verifying_fails_the_rollout(void **state)
{
	(void)state;
	fake(2, 0)->not_healthy = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_VERIFYING);
	run_abort(&run, false, "rolled back by request");
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "verify", "rolled back by request");
}

static void test_run_abort_while_baking_flips_back(void **state)
{
	(void)state;
	config.rollout.bake_ms = 60000;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_BAKING);
	forget_calls();
	run_abort(&run, false, "batond is shutting down");
	/* At once, not when the loop is back on top. */
	assert_calls("publish 1.0 backup 2.0; hook on_rollback; steady 1.0 on");
	assert_int_equal(run.machine.state, ROLLOUT_SETTLING);
	drive_to_end();
	assert_undone(ROLLOUT_ROLLED_BACK, "bake", "batond is shutting down");
}

static void test_run_abort_while_settling_flips_back(void **state)
{
	(void)state;
	fake(1, 0)->queued = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_SETTLING);
	run_abort(&run, false, "rolled back by request");
	drive_to_end();
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.step, "settle");
}

/* Where a socket gets connections as soon as it listens, it has to be left like any other. */
static void test_run_abort_while_verifying_drains_what_may_have_been_seen(void **state)
{
	(void)state;
	wiring.tier = STEER_HASH;
	fake(2, 0)->not_healthy = true;
	fake(2, 0)->live = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_VERIFYING);
	forget_calls();
	run_abort(&run, false, "aborted by request");
	drive_to(ROLLOUT_DRAINING);
	assert_non_null(strstr(calls, "leave 2.0"));
	change(fake(2, 0)->live = 0);
	drive_to_end();
	assert_int_not_equal(result.exit, 0);
	assert_false(instance_has_left(fake_there(1, 0)));
	assert_ptr_equal(current, old);
}

/* Nothing keeps an IPv4 socket from taking what instances on IPv4-mapped ones would get. */
static void test_run_abort_beside_mapped_without_a_tap_drains_what_may_have_been_seen(void **state)
{
	struct steer mapped = {};

	(void)state;
	assert_int_equal(address_parse("[::ffff:127.0.0.1]:80", &mapped.address, NULL), 0);
	wiring.endpoints[0] = &mapped;
	fake(2, 0)->not_healthy = true;
	fake(2, 0)->live = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_VERIFYING);
	forget_calls();
	run_abort(&run, false, "aborted by request");
	drive_to(ROLLOUT_DRAINING);
	assert_non_null(strstr(calls, "leave 2.0"));
	change(fake(2, 0)->live = 0);
	drive_to_end();
	assert_int_not_equal(result.exit, 0);
	assert_ptr_equal(current, old);
	wiring.endpoints[0] = NULL;
}

/* Before the loop has turned even once. */
static void test_run_abort_at_once_starts_nothing(void **state)
{
	(void)state;
	begin_replace(RUN_ORDER_RESTART);
	run_abort(&run, false, "rolled back by request");
	drive_to_end();
	assert_calls("hook on_failure");
	assert_steps("");
	assert_int_equal(result.exit, 3);
	assert_string_equal(result.reason, "rolled back by request");
}

static void test_run_abort_of_what_is_undone_keeps_the_reason(void **state)
{
	(void)state;
	fake(2, 0)->not_listening = fake(2, 0)->cannot_stop = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_STARTING);
	fail_new("exited with status 1");
	drive_to(ROLLOUT_STOPPING);
	run_abort(&run, false, "batond is shutting down");
	change(fake_stopped(2, 0));
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "start", "generation 2: instance 0 exited with status 1");
}

static void test_run_abort_while_draining_is_too_late(void **state)
{
	(void)state;
	fake(1, 0)->live = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	forget_calls();
	run_abort(&run, false, "rolled back by request");
	assert_int_equal(run.machine.state, ROLLOUT_DRAINING);
	change(fake(1, 0)->live = 0);
	drive_to_end();
	assert_calls("hook after_drain; stop 1.0; done 1.0");
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_int_equal(result.exit, 0);
	assert_string_equal(result.reason, "");
}

/* ---- last words ----------------------------------------------------------------------------- */

/* The agent's answer to what it was asked when the rollout failed. */
static void answer_words(const char *words)
{
	struct instance *i = fake_there(2, 0);

	strcpy(i->tail, words);
	i->tail_stdout = true;
	i->tail_realtime_ms = 1700000000042;
	change(i->asked = false);
}

static void test_run_start_timeout_asks_for_the_last_words(void **state)
{
	(void)state;
	config.health.start_timeout_ms = 30;
	fake(2, 0)->not_healthy = true;
	fake(2, 0)->answers = true;
	fake(2, 0)->cannot_stop = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_STOPPING);
	assert_int_equal(fake(2, 0)->asked, 1);
	answer_words("waiting for the database\n");
	turn();
	/* What it says on its way out is not why it failed. */
	strcpy(fake_there(2, 0)->tail, "good bye\n");
	change(fake_stopped(2, 0));
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "verify", "generation 2 was not healthy within 30ms");
	assert_string_equal(result.words.text, "waiting for the database\n");
	assert_true(result.words.is_stdout);
	assert_int_equal(result.words.realtime_ms, 1700000000042);
}

static void test_run_unhealthy_while_baking_asks_for_the_last_words(void **state)
{
	(void)state;
	config.rollout.bake_ms = 60000;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_BAKING);
	fake(2, 0)->answers = true;
	change(fake(2, 0)->unhealthy = true);
	drive_until(fake(2, 0)->asked == 1);
	answer_words("503: cache is down\n");
	drive_to_end();
	assert_string_equal(result.words.text, "503: cache is down\n");
}

/* It answers no more: what is known by then has to do. */
static void test_run_without_an_answer_tells_what_is_known(void **state)
{
	(void)state;
	config.rollout.bake_ms = 60000;
	strcpy(fake(2, 0)->tail, "started\n");
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_BAKING);
	fake(2, 0)->answers = true;
	change(fake(2, 0)->unhealthy = true);
	drive_to_end();
	assert_int_equal(fake(2, 0)->asked, 1);
	assert_string_equal(result.words.text, "started\n");
}

/* The first cause: it had ended before anything was made of that. */
static void test_run_undone_because_of_a_server_that_had_ended_is_told_by_its_exit(void **state)
{
	struct instance *i;

	(void)state;
	sockets_error = -ENOENT;
	fake(2, 0)->answers = true;
	fake(2, 0)->cannot_stop = true;
	fake(2, 0)->dead = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_STOPPING);
	assert_int_equal(fake(2, 0)->asked, 1);
	i = fake_there(2, 0);
	i->ended_itself = true;
	strcpy(i->failure, "exited with status 7");
	answer_words("database: connection refused\n");
	change(fake_stopped(2, 0));
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_FAILED);
	assert_string_equal(result.step, "shift");
	assert_string_equal(result.reason, "generation 2: instance 0 exited with status 7");
	assert_string_equal(result.words.text, "database: connection refused\n");
}

/* @status: of the last answer that was bad; then the server ends. */
static void end_after_answer(uint16_t status, const char *text, bool itself)
{
	fake(2, 0)->answers = true;
	fake(2, 0)->answer = (struct probe_result){.status = status};
	strcpy(fake(2, 0)->answer.text, text);
	fake(2, 0)->not_healthy = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_VERIFYING);
	fake_there(2, 0)->ended_itself = itself;
	fail_new("exited with status 7");
	answer_words("bye\n");
	drive_to_end();
	assert_string_equal(result.reason, "generation 2: instance 0 exited with status 7");
}

static void test_run_ended_server_is_told_by_what_it_had_answered(void **state)
{
	(void)state;
	end_after_answer(503, "GET /: 503 is not in 200-299", true);
	assert_string_equal(result.probe, "GET /: 503 is not in 200-299");
}

static void test_run_ended_server_is_not_told_by_answering_no_more(void **state)
{
	(void)state;
	end_after_answer(0, "GET /: Connection reset by peer", false);
	assert_string_equal(result.probe, "");
}

static void test_run_server_that_had_ended_is_not_told_by_answering_no_more(void **state)
{
	(void)state;
	end_after_answer(0, "connect: Connection refused", true);
	assert_string_equal(result.probe, "");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_new_fails_to_start_stops_and_old_is_untouched),
		TEST(test_run_new_fails_while_settling_flips_back),
		TEST(test_run_new_turns_unhealthy_while_baking_flips_back),
		TEST(test_run_flip_back_that_cannot_be_published_goes_on),
		TEST(test_run_flip_back_that_cannot_be_published_keeps_the_reason),
		TEST(test_run_new_fails_with_the_old_gone_cannot_flip_back),
		TEST(test_run_undone_once_is_not_undone_again),
		TEST(test_run_drain_deadline_when_rolled_back_is_counted),
		TEST(test_run_abort_while_starting_fails_the_rollout),
		TEST(test_run_abort_while_verifying_fails_the_rollout),
		TEST(test_run_abort_while_baking_flips_back),
		TEST(test_run_abort_while_settling_flips_back),
		TEST(test_run_abort_while_verifying_drains_what_may_have_been_seen),
		TEST(test_run_abort_beside_mapped_without_a_tap_drains_what_may_have_been_seen),
		TEST(test_run_abort_at_once_starts_nothing),
		TEST(test_run_abort_of_what_is_undone_keeps_the_reason),
		TEST(test_run_abort_while_draining_is_too_late),
		TEST(test_run_start_timeout_asks_for_the_last_words),
		TEST(test_run_unhealthy_while_baking_asks_for_the_last_words),
		TEST(test_run_without_an_answer_tells_what_is_known),
		TEST(test_run_undone_because_of_a_server_that_had_ended_is_told_by_its_exit),
		TEST(test_run_ended_server_is_told_by_what_it_had_answered),
		TEST(test_run_ended_server_is_not_told_by_answering_no_more),
		TEST(test_run_server_that_had_ended_is_not_told_by_answering_no_more),
	};
#undef TEST

	return cmocka_run_group_tests_name("run undone", tests, NULL, NULL);
}
