/* SPDX-License-Identifier: BSD-2-Clause */
/* Rollouts that do not reach what was asked for: the old generation stays, and people learn why. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/rollout/run_fixture.h"

/* The new generation's instance has failed, as its agent reports it. */
static void fail_new(const char *why)
{
	change(fake_fail(2, 0, why));
}

/* ---- before the shift ----------------------------------------------------------------------- */

static void test_run_new_fails_to_start_stops_and_old_is_untouched(void **state)
{
	(void)state;
	fake(2, 0)->not_listening = true;
	begin_replace("restart");
	drive_to(ROLLOUT_STARTING);
	memcpy(fake_there(2, 0)->tail, "boom\n", 6);
	fail_new("exited with status 1");
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "start", "generation 2: instance 0 exited with status 1");
	assert_calls("start 2.0; stop 2.0; hook on_failure; done 2.0");
	assert_steps("start stop");
	assert_string_equal(result.words.text, "boom\n");
	assert_string_equal(result.probe, "");
	assert_int_equal(result.replaces, 1);
}

/* What the agent cannot even begin is the instance's failure. */
static void test_run_start_that_returns_an_error_fails_by_the_instance(void **state)
{
	(void)state;
	fake(2, 0)->start_error = -ENOENT;
	begin_start();
	drive_to_end();
	assert_int_equal(result.exit, 3);
	assert_int_equal(result.replaces, 0);
	assert_string_equal(result.reason,
			    "generation 2: instance 0 agent: No such file or directory");
	assert_calls("start 2.0; hook on_failure; done 2.0");
}

static void test_run_new_fails_while_verified_names_instance_and_last_probe(void **state)
{
	(void)state;
	config.instances = 2;
	fake(2, 1)->answer = (struct probe_result){
		.status = 503, .text = "GET /: 503 is not in 200-299", .body = "no database"};
	fake(2, 0)->not_healthy = true;
	begin_replace("restart");
	drive_to(ROLLOUT_VERIFYING);
	change(fake(2, 1)->unhealthy = true);
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "verify",
		      "generation 2: instance 1 turned unhealthy: GET /: 503 is not in 200-299");
	assert_string_equal(result.probe, "GET /: 503 is not in 200-299: no database");
	assert_calls("start 2.0; start 2.1; check 2.0; check 2.1; stop 2.1; stop 2.0; "
		     "hook on_failure; done 2.1; done 2.0");
	assert_steps("start verify stop");
	assert_step("start", true, "generation 2, pid 200, 201");
}

static void test_run_start_timeout_before_it_listens(void **state)
{
	(void)state;
	config.health.start_timeout_ms = 30;
	fake(2, 0)->not_listening = true;
	begin_replace("restart");
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "start", "generation 2 was not running within 30ms");
	assert_true(number_of(event_named("start"), "took_ms") >= 29);
	assert_string_equal(result.probe, "");
	assert_calls("start 2.0; stop 2.0; hook on_failure; done 2.0");
}

static void test_run_start_timeout_before_it_is_healthy_has_the_last_answer(void **state)
{
	(void)state;
	config.health.start_timeout_ms = 30;
	fake(2, 0)->not_healthy = true;
	fake(2, 0)->answer = (struct probe_result){.text = "connect: Connection refused"};
	begin_replace("restart");
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "verify", "generation 2 was not healthy within 30ms");
	/* Without an answer's body there is nothing to put after a colon. */
	assert_string_equal(result.probe, "connect: Connection refused");
	assert_calls("start 2.0; check 2.0; stop 2.0; hook on_failure; done 2.0");
}

/* The blame goes to the first that is not healthy, not to the first. */
static void test_run_start_timeout_with_one_healthy_blames_the_other(void **state)
{
	(void)state;
	config.health.start_timeout_ms = 30;
	config.instances = 2;
	fake(2, 1)->answer = (struct probe_result){.text = "GET /: 500", .body = "x"};
	fake(2, 1)->not_healthy = true;
	begin_replace("restart");
	drive_to_end();
	assert_string_equal(result.probe, "GET /: 500: x");
}

static void test_run_start_timeout_with_good_or_no_answers_has_no_probe(void **state)
{
	(void)state;
	config.health.start_timeout_ms = 30;
	fake(2, 0)->not_healthy = true;
	begin_replace("restart");
	drive_to_end();
	assert_string_equal(result.probe, "");
	assert_string_equal(result.reason, "generation 2 was not healthy within 30ms");
}

static void test_run_start_timeout_without_ready_says_so(void **state)
{
	(void)state;
	config.health.kind = HEALTH_KIND_NOTIFY;
	config.health.start_timeout_ms = 30;
	fake(2, 0)->not_healthy = true;
	begin_replace("restart");
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "verify", "generation 2 did not send READY=1 within 30ms");
}

/* Starting and verifying have one deadline together. */
static void test_run_start_timeout_is_not_renewed_by_listening(void **state)
{
	uint64_t before, after;

	(void)state;
	fake(2, 0)->not_listening = fake(2, 0)->not_healthy = true;
	begin_replace("restart");
	drive_to(ROLLOUT_STARTING);
	assert_int_equal(sd_event_source_get_time(run.timer.source, &before), 0);
	drive_until(clock_monotonic_ms() * 1000 + 5000 * 1000 > before + 2000);
	change(fake_listen(2, 0));
	drive_to(ROLLOUT_VERIFYING);
	assert_int_equal(sd_event_source_get_time(run.timer.source, &after), 0);
	assert_int_equal(before, after);
}

/* What has become true by the deadline, but was not looked at yet, counts. */
static void test_run_start_timeout_looks_once_more(void **state)
{
	(void)state;
	config.health.start_timeout_ms = 30;
	fake(2, 0)->not_healthy = true;
	begin_replace("restart");
	drive_to(ROLLOUT_VERIFYING);
	fake(2, 0)->not_healthy = false; /* nobody says so */
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_int_equal(result.exit, 0);
}

static void test_run_shift_that_cannot_be_published_stops_the_new(void **state)
{
	(void)state;
	publish_error = -EIO;
	begin_replace("restart");
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "shift", "steer: Input/output error");
	assert_steps("start verify shift stop");
	/* Nobody keeps a table that names the new one, and the old one is still the steady one. */
	assert_calls("start 2.0; check 2.0; publish 2.0 backup 1.0; publish 1.0; stop 2.0; "
		     "hook on_failure; done 2.0");
	assert_true(fake_there(1, 0)->steady);
	assert_int_equal(fake_there(1, 0)->role, INSTANCE_IN);
}

/* A server may have closed one of them since it was started. */
static void test_run_shift_without_every_socket_is_not_published(void **state)
{
	(void)state;
	sockets_error = -ENOENT;
	begin_replace("restart");
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "shift", "sockets: No such file or directory");
	assert_calls("start 2.0; check 2.0; publish 1.0; stop 2.0; hook on_failure; done 2.0");
}

static void test_run_failed_start_that_does_not_stop_is_killed(void **state)
{
	(void)state;
	fake(2, 0)->not_listening = fake(2, 0)->cannot_stop = true;
	begin_replace("restart");
	run.machine.policy.stop_timeout_ms = 30;
	drive_to(ROLLOUT_STARTING);
	fail_new("exited with status 1");
	drive_to_end();
	assert_calls("start 2.0; stop 2.0; hook on_failure; kill 2.0; done 2.0");
	assert_int_equal(result.exit, 3);
}

/* ---- after the shift ------------------------------------------------------------------------ */

static void test_run_new_fails_while_settling_flips_back(void **state)
{
	(void)state;
	fake(1, 0)->queued = 1;
	fake(2, 0)->live = 4;
	begin_replace("restart");
	drive_to(ROLLOUT_SETTLING);
	assert_calls("start 2.0; check 2.0; publish 2.0 backup 1.0; steady 1.0 off; "
		     "hook after_shift");
	fail_new("was killed by SIGSEGV");
	/* The new one has had real connections: it goes as carefully as any other. */
	drive_to(ROLLOUT_DRAINING);
	assert_calls("publish 1.0 backup 2.0; hook on_rollback; steady 1.0 on; publish 1.0; "
		     "uncheck 2.0; leave 2.0");
	assert_int_equal(run.drain_began_with, 4);
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
	begin_replace("upgrade");
	drive_to(ROLLOUT_BAKING);
	i = fake_there(2, 0);
	i->checkers[0].last = (struct probe_result){.text = "GET /: 500", .body = "oops"};
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
	begin_replace("restart");
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
	begin_replace("restart");
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
	begin_replace("restart");
	drive_to(ROLLOUT_SETTLING);
	fake(1, 0)->dead = true;
	fail_new("exited with status 1");
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_ptr_equal(current, new);
}

static void test_run_new_fails_after_the_old_was_told_to_leave_goes_on(void **state)
{
	(void)state;
	fake(1, 0)->live = 1;
	begin_replace("restart");
	drive_to(ROLLOUT_DRAINING);
	fail_new("exited with status 1");
	turn();
	assert_int_equal(run.machine.state, ROLLOUT_DRAINING);
	change(fake(1, 0)->live = 0);
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_string_equal(result.reason, "");
}

/* A rollout that was undone has nobody left to fail. */
static void test_run_undone_once_is_not_undone_again(void **state)
{
	(void)state;
	begin_replace("restart");
	drive_to(ROLLOUT_SETTLING);
	fake(2, 0)->queued = 1;
	fail_new("exited with status 1");
	drive_until(fake(2, 0)->queue_looks >= 3);
	fake(1, 0)->dead = true;
	fake(2, 0)->queued = 0;
	drive_to_end();
	assert_int_equal(result.exit, 4);
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
	begin_replace("restart");
	drive_to(ROLLOUT_SETTLING);
	fail_new("exited with status 1");
	drive_to_end();
	assert_int_equal(result.exit, 4); /* not 5: being rolled back matters more */
	assert_int_equal(result.cut, 2);
	json = run_result_json(&result);
	assert_int_equal(number_of(json, "cut"), 2);
	assert_string_equal(text_of(json, "message"), "generation 1 keeps serving");
	json_decref(json);
}

/* ---- by request ----------------------------------------------------------------------------- */

static void test_run_abort_while_starting_fails_the_rollout(void **state)
{
	(void)state;
	fake(2, 0)->not_listening = true;
	begin_replace("restart");
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
	begin_replace("restart");
	drive_to(ROLLOUT_VERIFYING);
	run_abort(&run, false, "rolled back by request");
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "verify", "rolled back by request");
}

static void test_run_abort_while_baking_flips_back(void **state)
{
	(void)state;
	config.rollout.bake_ms = 60000;
	begin_replace("restart");
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
	begin_replace("restart");
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
	begin_replace("restart");
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

/* Before the loop has turned even once. */
static void test_run_abort_at_once_starts_nothing(void **state)
{
	(void)state;
	begin_replace("restart");
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
	begin_replace("restart");
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
	begin_replace("restart");
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

/* ---- what is told of it -------------------------------------------------------------------- */

static void test_run_result_has_the_tail_of_the_one_to_blame(void **state)
{
	(void)state;
	config.instances = 2;
	strcpy(fake(2, 0)->tail, "all is well\n");
	strcpy(fake(2, 1)->tail, "panic\n");
	fake(2, 1)->not_listening = true;
	begin_replace("restart");
	drive_to(ROLLOUT_STARTING);
	change(fake_fail(2, 1, "exited with status 1"));
	drive_to_end();
	assert_string_equal(result.words.text, "panic\n");
}

static void test_run_start_timeout_names_what_it_listens_on_instead(void **state)
{
	struct instance *i;

	(void)state;
	config.health.start_timeout_ms = 30;
	fake(2, 0)->not_listening = true;
	begin_replace("restart");
	drive_to(ROLLOUT_STARTING);
	i = fake_there(2, 0);
	strcpy(i->strangers[0], "127.0.0.1:81");
	i->n_strangers = 1;
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "start",
		      "generation 2 was not running within 30ms; it listens on 127.0.0.1:81, which "
		      "\"listen\" does not name");
}

/* ---- where the rest cannot be published ----------------------------------------------------- */

static void test_run_leave_goes_on_where_the_last_table_is_refused(void **state)
{
	(void)state;
	fake(1, 0)->queued = 1;
	begin_replace("restart");
	drive_to(ROLLOUT_SETTLING);
	publish_error = -EIO;
	change(fake(1, 0)->queued = 0);
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_non_null(strstr(calls, "leave 1.0"));
}

/* ---- last words -------------------------------------------------------------------------------
 */

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
	begin_replace("restart");
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
	begin_replace("restart");
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
	begin_replace("restart");
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
	begin_replace("restart");
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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_new_fails_to_start_stops_and_old_is_untouched),
		TEST(test_run_start_that_returns_an_error_fails_by_the_instance),
		TEST(test_run_new_fails_while_verified_names_instance_and_last_probe),
		TEST(test_run_start_timeout_before_it_listens),
		TEST(test_run_start_timeout_before_it_is_healthy_has_the_last_answer),
		TEST(test_run_start_timeout_with_one_healthy_blames_the_other),
		TEST(test_run_start_timeout_with_good_or_no_answers_has_no_probe),
		TEST(test_run_start_timeout_without_ready_says_so),
		TEST(test_run_start_timeout_is_not_renewed_by_listening),
		TEST(test_run_start_timeout_looks_once_more),
		TEST(test_run_shift_that_cannot_be_published_stops_the_new),
		TEST(test_run_failed_start_that_does_not_stop_is_killed),
		TEST(test_run_new_fails_while_settling_flips_back),
		TEST(test_run_new_turns_unhealthy_while_baking_flips_back),
		TEST(test_run_flip_back_that_cannot_be_published_goes_on),
		TEST(test_run_new_fails_with_the_old_gone_cannot_flip_back),
		TEST(test_run_new_fails_after_the_old_was_told_to_leave_goes_on),
		TEST(test_run_undone_once_is_not_undone_again),
		TEST(test_run_drain_deadline_when_rolled_back_is_counted),
		TEST(test_run_abort_while_starting_fails_the_rollout),
		TEST(test_run_abort_while_verifying_fails_the_rollout),
		TEST(test_run_abort_while_baking_flips_back),
		TEST(test_run_abort_while_settling_flips_back),
		TEST(test_run_abort_while_verifying_drains_what_may_have_been_seen),
		TEST(test_run_abort_at_once_starts_nothing),
		TEST(test_run_abort_of_what_is_undone_keeps_the_reason),
		TEST(test_run_abort_while_draining_is_too_late),
		TEST(test_run_flip_back_that_cannot_be_published_keeps_the_reason),
		TEST(test_run_shift_without_every_socket_is_not_published),
		TEST(test_run_result_has_the_tail_of_the_one_to_blame),
		TEST(test_run_start_timeout_names_what_it_listens_on_instead),
		TEST(test_run_leave_goes_on_where_the_last_table_is_refused),
		TEST(test_run_start_timeout_asks_for_the_last_words),
		TEST(test_run_unhealthy_while_baking_asks_for_the_last_words),
		TEST(test_run_without_an_answer_tells_what_is_known),
		TEST(test_run_undone_because_of_a_server_that_had_ended_is_told_by_its_exit),
	};
#undef TEST

	return cmocka_run_group_tests_name("run undone", tests, NULL, NULL);
}
