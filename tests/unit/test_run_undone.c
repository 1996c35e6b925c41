/* SPDX-License-Identifier: BSD-2-Clause */
/* Rollouts that do not reach what was asked for: the old generation stays, and people learn why. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/run_fixture.h"

/* The new generation's instance has failed, as its agent reports it. */
static void fail_new(const char *why)
{
	struct instance *i = &new->instances[0];

	i->failed = true;
	snprintf(i->failure, sizeof(i->failure), "%s", why);
	change(fake_generations[2].failed = i);
}

static void assert_undone(enum rollout_outcome outcome, const char *step, const char *reason)
{
	assert_true(ended);
	assert_int_equal(result.outcome, outcome);
	assert_int_equal(result.exit, outcome == ROLLOUT_FAILED ? 3 : 4);
	assert_string_equal(result.step, step);
	assert_string_equal(result.reason, reason);
	assert_step(step, false, reason);
	assert_int_equal(result.generation, 2);
	assert_ptr_equal(service.current, old);
}

/* ---- before the shift ----------------------------------------------------------------------- */

static void test_run_new_fails_to_start_stops_and_old_is_untouched(void **state)
{
	(void)state;
	fake_generations[2].not_listening = true;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_STARTING);
	memcpy(new->instances[0].tail, "boom\n", 6);
	new->instances[0].checkers[0].last_ms = 0;
	fail_new("exited with status 1");
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "start", "generation 2: instance 0 exited with status 1");
	assert_calls("start 2; stop 2");
	assert_steps("start stop");
	assert_string_equal(result.tail, "boom\n");
	assert_string_equal(result.probe, "");
	assert_int_equal(result.replaces, 1);
}

/* What the agent cannot even begin is the instance's failure. */
static void test_run_start_that_returns_an_error_fails_by_the_instance(void **state)
{
	(void)state;
	fake_generations[2].not_listening = true;
	fake_generations[2].start_error = -ENOENT;
	fail_new("agent: /none: No such file or directory");
	run_begin(&run, &service, "start", new, NULL);
	service.current = NULL;
	drive_to_end();
	assert_int_equal(result.exit, 3);
	assert_int_equal(result.replaces, 0);
	assert_string_equal(result.reason,
			    "generation 2: instance 0 agent: /none: No such file or directory");
	assert_calls("start 2; stop 2");
}

static void test_run_new_fails_while_verified_names_instance_and_last_probe(void **state)
{
	struct instance *second = &new->instances[1];

	(void)state;
	new->n_instances = 2;
	*second = new->instances[0];
	second->index = 1;
	second->checkers[0].last = (struct probe_result){
		.status = 503, .text = "GET /: 503 is not in 200-299", .body = "no database"};
	fake_generations[2].not_healthy = true;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_VERIFYING);
	second->checkers[0].health.state = HEALTH_UNHEALTHY;
	change(fake_generations[2].failed = second);
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "verify",
		      "generation 2: instance 1 turned unhealthy: GET /: 503 is not in 200-299");
	assert_string_equal(result.probe, "GET /: 503 is not in 200-299: no database");
	assert_calls("start 2; check 2; stop 2");
	assert_steps("start verify stop");
	assert_step("start", true, "generation 2, pid 102, 102");
}

static void test_run_start_timeout_before_it_listens(void **state)
{
	(void)state;
	config.health.start_timeout_ms = 30;
	fake_generations[2].not_listening = true;
	run_begin(&run, &service, "restart", new, old);
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "start", "generation 2 was not running within 30ms");
	assert_true(number_of(event_named("start"), "took_ms") >= 29);
	assert_string_equal(result.probe, "");
	assert_calls("start 2; stop 2");
}

static void test_run_start_timeout_before_it_is_healthy_has_the_last_answer(void **state)
{
	struct checker *checker = &new->instances[0].checkers[0];

	(void)state;
	config.health.start_timeout_ms = 30;
	fake_generations[2].not_healthy = true;
	checker->health.state = HEALTH_UNKNOWN;
	checker->last = (struct probe_result){.text = "connect: Connection refused"};
	run_begin(&run, &service, "restart", new, old);
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "verify", "generation 2 was not healthy within 30ms");
	/* Without an answer's body there is nothing to put after a colon. */
	assert_string_equal(result.probe, "connect: Connection refused");
	assert_calls("start 2; check 2; stop 2");
}

/* The blame goes to the first that is not healthy, not to the first. */
static void test_run_start_timeout_with_one_healthy_blames_the_other(void **state)
{
	struct instance *second = &new->instances[1];

	(void)state;
	config.health.start_timeout_ms = 30;
	new->n_instances = 2;
	*second = new->instances[0];
	second->checkers[0].health.state = HEALTH_UNKNOWN;
	second->checkers[0].last = (struct probe_result){.text = "GET /: 500", .body = "x"};
	fake_generations[2].not_healthy = true;
	run_begin(&run, &service, "restart", new, old);
	drive_to_end();
	assert_string_equal(result.probe, "GET /: 500: x");
}

static void test_run_start_timeout_with_good_or_no_answers_has_no_probe(void **state)
{
	struct checker *checker = &new->instances[0].checkers[0];

	(void)state;
	config.health.start_timeout_ms = 30;
	fake_generations[2].not_healthy = true;
	checker->health.state = HEALTH_UNKNOWN; /* one good answer, but two are wanted */
	run_begin(&run, &service, "restart", new, old);
	drive_to_end();
	assert_string_equal(result.probe, "");
	assert_string_equal(result.reason, "generation 2 was not healthy within 30ms");
}

static void test_run_start_timeout_without_ready_says_so(void **state)
{
	(void)state;
	config.health.kind = HEALTH_NOTIFY;
	config.health.start_timeout_ms = 30;
	fake_generations[2].not_healthy = true;
	new->instances[0].checkers[0].last_ms = 0;
	run_begin(&run, &service, "restart", new, old);
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "verify", "generation 2 did not send READY=1 within 30ms");
}

/* Starting and verifying have one deadline together. */
static void test_run_start_timeout_is_not_renewed_by_listening(void **state)
{
	uint64_t before, after;

	(void)state;
	fake_generations[2].not_listening = fake_generations[2].not_healthy = true;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_STARTING);
	assert_int_equal(sd_event_source_get_time(run.timer, &before), 0);
	drive_until(clock_monotonic_ms() * 1000 + 5000 * 1000 > before + 2000);
	change(fake_generations[2].not_listening = false);
	drive_to(ROLLOUT_VERIFYING);
	assert_int_equal(sd_event_source_get_time(run.timer, &after), 0);
	assert_int_equal(before, after);
}

/* What has become true by the deadline, but was not looked at yet, counts. */
static void test_run_start_timeout_looks_once_more(void **state)
{
	(void)state;
	config.health.start_timeout_ms = 30;
	fake_generations[2].not_healthy = true;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_VERIFYING);
	fake_generations[2].not_healthy = false; /* nobody says so */
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_int_equal(result.exit, 0);
}

static void test_run_shift_that_cannot_be_published_stops_the_new(void **state)
{
	(void)state;
	publish_error = -EIO;
	run_begin(&run, &service, "restart", new, old);
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "shift", "steer: Input/output error");
	assert_steps("start verify shift stop");
	/* Nobody keeps a table that names the new one, and the old one is still the steady one. */
	assert_calls("start 2; check 2; publish 2 1; publish 1 0; stop 2");
	assert_false(fake_generations[1].left);
	assert_false(fake_generations[1].stopped);
	assert_true(fake_generations[2].stopped);
}

static void test_run_failed_start_that_does_not_stop_is_killed(void **state)
{
	(void)state;
	fake_generations[2].not_listening = fake_generations[2].cannot_stop = true;
	run_begin(&run, &service, "restart", new, old);
	run.machine.policy.stop_timeout_ms = 30;
	drive_to(ROLLOUT_STARTING);
	fail_new("exited with status 1");
	drive_to_end();
	assert_calls("start 2; stop 2; kill 2");
	assert_int_equal(result.exit, 3);
}

/* ---- after the shift ------------------------------------------------------------------------ */

static void test_run_new_fails_while_settling_flips_back(void **state)
{
	(void)state;
	fake_generations[1].queued = 1;
	fake_generations[2].live = 4;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_SETTLING);
	assert_calls("start 2; check 2; publish 2 1; steady 1 off");
	fail_new("was killed by SIGSEGV");
	/* The new one has had real connections: it goes as carefully as any other. */
	drive_to(ROLLOUT_DRAINING);
	assert_calls("steady 1 on; publish 1 0; publish 1 0; uncheck 2; leave 2");
	assert_int_equal(run.drain_began_with, 4);
	change(fake_generations[2].live = 0);
	drive_to_end();
	assert_calls("stop 2");
	assert_int_equal(result.outcome, ROLLOUT_ROLLED_BACK);
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.step, "settle");
	assert_string_equal(result.reason, "generation 2: instance 0 was killed by SIGSEGV");
	assert_ptr_equal(service.current, old);
	assert_steps("start verify shift settle shift settle leave drain stop");
	assert_step("settle", false, "generation 2: instance 0 was killed by SIGSEGV");
	assert_string_equal(text_of(events[4].details, "message"),
			    "back: new connections go to generation 1");
	assert_string_equal(text_of(events[5].details, "message"),
			    "queue of generation 2 is empty");
	assert_step("leave", true, "generation 2 is out of the group");
	assert_step("drain", true, "4 connections ended");
	assert_step("stop", true, "generation 2 exited with status 0");
	assert_false(fake_generations[1].left);
}

static void test_run_new_turns_unhealthy_while_baking_flips_back(void **state)
{
	struct instance *i = &new->instances[0];

	(void)state;
	config.rollout.bake_ms = 60000;
	run_begin(&run, &service, "upgrade", new, old);
	drive_to(ROLLOUT_BAKING);
	i->checkers[0].last = (struct probe_result){.text = "GET /: 500", .body = "oops"};
	memcpy(i->tail, "panic\n", 7);
	change(fake_generations[2].failed = i);
	drive_to_end();
	assert_undone(ROLLOUT_ROLLED_BACK, "bake",
		      "generation 2: instance 0 turned unhealthy: GET /: 500");
	assert_string_equal(result.probe, "GET /: 500: oops");
	assert_string_equal(result.tail, "panic\n");
}

static void test_run_flip_back_that_cannot_be_published_goes_on(void **state)
{
	(void)state;
	config.rollout.bake_ms = 60000;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_BAKING);
	publish_error = -EIO;
	forget_calls();
	fail_new("exited with status 1");
	drive_to_end();
	assert_calls("steady 1 on; publish 1 0; publish 1 0; uncheck 2; leave 2; stop 2");
	assert_int_equal(result.exit, 4);
	assert_string_equal(events[5].name, "shift");
	assert_string_equal(text_of(events[5].details, "message"),
			    "the table could not be published: steer: Input/output error");
}

static void test_run_new_fails_with_the_old_gone_cannot_flip_back(void **state)
{
	(void)state;
	fake_generations[1].queued = 1;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_SETTLING);
	fake_generations[1].dead = true;
	fail_new("exited with status 1");
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_ptr_equal(service.current, new);
}

static void test_run_new_fails_after_the_old_was_told_to_leave_goes_on(void **state)
{
	(void)state;
	fake_generations[1].live = 1;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_DRAINING);
	fail_new("exited with status 1");
	turn();
	assert_int_equal(run.machine.state, ROLLOUT_DRAINING);
	change(fake_generations[1].live = 0);
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_string_equal(result.reason, "");
}

/* A rollout that was undone has nobody left to fail. */
static void test_run_undone_once_is_not_undone_again(void **state)
{
	(void)state;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_SETTLING);
	fake_generations[2].queued = 1;
	fail_new("exited with status 1");
	drive_until(fake_generations[2].queue_looks >= 3);
	fake_generations[1].dead = true;
	fake_generations[2].queued = 0;
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
	fake_generations[2].live = 2;
	run_begin(&run, &service, "restart", new, old);
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
	fake_generations[2].not_listening = true;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_STARTING);
	run_abort(&run, "rolled back by request");
	assert_true(poked);
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "start", "rolled back by request");
	assert_calls("start 2; stop 2");
}

static void test_run_abort_while_verifying_fails_the_rollout(void **state)
{
	(void)state;
	fake_generations[2].not_healthy = true;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_VERIFYING);
	run_abort(&run, "rolled back by request");
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "verify", "rolled back by request");
}

static void test_run_abort_while_baking_flips_back(void **state)
{
	(void)state;
	config.rollout.bake_ms = 60000;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_BAKING);
	forget_calls();
	run_abort(&run, "batond is shutting down");
	/* At once, not when the loop is back on top. */
	assert_calls("steady 1 on; publish 1 0");
	assert_int_equal(run.machine.state, ROLLOUT_SETTLING);
	drive_to_end();
	assert_undone(ROLLOUT_ROLLED_BACK, "bake", "batond is shutting down");
}

static void test_run_abort_while_settling_flips_back(void **state)
{
	(void)state;
	fake_generations[1].queued = 1;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_SETTLING);
	run_abort(&run, "rolled back by request");
	drive_to_end();
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.step, "settle");
}

/* Before the loop has turned even once. */
static void test_run_abort_at_once_starts_nothing(void **state)
{
	(void)state;
	run_begin(&run, &service, "restart", new, old);
	run_abort(&run, "rolled back by request");
	drive_to_end();
	assert_calls("");
	assert_steps("");
	assert_int_equal(result.exit, 3);
	assert_string_equal(result.reason, "rolled back by request");
}

static void test_run_abort_of_what_is_undone_keeps_the_reason(void **state)
{
	(void)state;
	fake_generations[2].not_listening = fake_generations[2].cannot_stop = true;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_STARTING);
	fail_new("exited with status 1");
	drive_to(ROLLOUT_STOPPING);
	run_abort(&run, "batond is shutting down");
	change(fake_generations[2].stopped = true);
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "start", "generation 2: instance 0 exited with status 1");
}

static void test_run_abort_while_draining_is_too_late(void **state)
{
	(void)state;
	fake_generations[1].live = 1;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_DRAINING);
	forget_calls();
	run_abort(&run, "rolled back by request");
	assert_int_equal(run.machine.state, ROLLOUT_DRAINING);
	change(fake_generations[1].live = 0);
	drive_to_end();
	assert_calls("stop 1");
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_int_equal(result.exit, 0);
	assert_string_equal(result.reason, "");
}

/* ---- where the rest cannot be published ----------------------------------------------------- */

static void test_run_leave_goes_on_where_the_last_table_is_refused(void **state)
{
	(void)state;
	fake_generations[1].queued = 1;
	run_begin(&run, &service, "restart", new, old);
	drive_to(ROLLOUT_SETTLING);
	publish_error = -EIO;
	change(fake_generations[1].queued = 0);
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_true(fake_generations[1].left);
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
		TEST(test_run_abort_at_once_starts_nothing),
		TEST(test_run_abort_of_what_is_undone_keeps_the_reason),
		TEST(test_run_abort_while_draining_is_too_late),
		TEST(test_run_leave_goes_on_where_the_last_table_is_refused),
	};
#undef TEST

	return cmocka_run_group_tests_name("run undone", tests, NULL, NULL);
}
