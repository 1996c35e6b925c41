/* SPDX-License-Identifier: BSD-2-Clause */
/* What a rollout tells of its steps, and why it is undone. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/rollout/run_fixture.h"

/* ---- steps ---------------------------------------------------------------------------------- */

static void test_run_replace_tells_each_step(void **state)
{
	(void)state;
	config.instances = 2;
	fake(1, 0)->live = 7;
	fake(1, 0)->cannot_stop = true;
	fake(1, 0)->exit_signal = SIGTERM;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	change(fake(1, 0)->live = 0);
	drive_to(ROLLOUT_STOPPING);
	change(fake_stopped(1, 0));
	drive_to_end();
	assert_steps("start verify shift settle leave drain stop");
	assert_step("start", true, "generation 2, pid 200, 201");
	assert_step("verify", true, "GET /: 200 OK (2 in a row)");
	assert_step("shift", true, "new connections go to generation 2");
	assert_step("settle", true, "queue of generation 1 is empty");
	assert_step("leave", true, "generation 1 is out of the group");
	assert_step("drain", true, "7 connections ended");
	assert_step("stop", true, "generation 1 was killed by SIGTERM");
	for (size_t k = 0; k < n_events; k++) {
		const json_t *details = events[k].details;

		assert_int_equal(number_of(details, "rollout"), run.id);
		assert_string_equal(text_of(details, "order"), "restart");
		assert_int_equal(number_of(details, "generation"), 2);
		assert_int_equal(number_of(details, "replaces"), 1);
		assert_true(number_of(details, "took_ms") >= 0);
		assert_true(number_of(details, "elapsed_ms") >= number_of(details, "took_ms"));
	}
	/* The queue had to stay empty for that long. */
	assert_true(number_of(event_named("settle"), "took_ms") >= 20);
	assert_true(number_of(event_named("shift"), "took_ms") < 20);
}

static void test_run_replace_messages_name_what_was_unusual(void **state)
{
	(void)state;
	check.kind = HEALTH_KIND_NOTIFY;
	config.rollout.bake_ms = 30;
	have_old(2);
	fake(1, 1)->forced = true;
	for (uint32_t k = 0; k < 2; k++) {
		fake_there(1, k)->killed = true;
		fake(1, k)->exit_signal = SIGKILL;
	}
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_steps("start verify shift settle bake leave drain stop");
	assert_step("verify", true, "READY=1");
	assert_memory_equal(text_of(event_named("bake"), "message"), "generation 1 stood by for ",
			    26);
	assert_true(number_of(event_named("bake"), "took_ms") >= 29);
	assert_step("leave", true,
		    "generation 1 is out of the group (its listening socket had to be shut down)");
	assert_step("drain", true, "0 connections ended");
	assert_step("stop", true, "generation 1 was killed by SIGKILL (it did not stop by itself)");
}

static void test_run_rolling_tells_each_batch(void **state)
{
	(void)state;
	be_rolling(2, 2, 1, 0);
	fake(1, 1)->exit_signal = SIGTERM;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_steps("start verify shift settle leave drain stop "
		     "start verify shift settle leave drain stop");
	assert_event(0, "start", true, "instance 0 of generation 2, pid 200");
	assert_event(2, "shift", true,
		     "1 of generation 2 and 1 of generation 1 share new connections");
	assert_event(3, "settle", true, "queue of instance 0 of generation 1 is empty");
	assert_event(4, "leave", true, "instance 0 of generation 1 is out of the group");
	assert_event(6, "stop", true, "instance 0 of generation 1 exited with status 0");
	assert_event(7, "start", true, "instance 1 of generation 2, pid 201");
	assert_event(9, "shift", true, "new connections go to generation 2");
	assert_event(13, "stop", true, "instance 1 of generation 1 was killed by SIGTERM");
	assert_string_equal(result.reason, "");
}

static void test_run_canary_tells_shares_and_holds(void **state)
{
	(void)state;
	be_canary(1);
	begin_replace(RUN_ORDER_RESTART);
	drive_to_step(1);
	run_promote(&run);
	drive_to_end();
	assert_steps("start verify shift hold shift waiting hold shift settle leave drain stop");
	assert_event(2, "shift", true, "10% of new connections go to generation 2");
	assert_memory_equal(text_of(events[3].details, "message"), "10% for ", 8);
	assert_event(4, "shift", true, "50% of new connections go to generation 2");
	assert_memory_equal(text_of(events[6].details, "message"), "50% for ", 8);
	assert_event(7, "shift", true, "new connections go to generation 2");
	assert_string_equal(text_of(events[5].details, "reason"),
			    "50% of new connections go to generation 2");
	assert_string_equal(text_of(events[5].details, "message"),
			    "50% of new connections go to generation 2; \"baton promote web\" goes "
			    "on, \"baton abort web\" goes back");
	assert_int_equal(number_of(events[5].details, "rollout"), run.id);
}

/* ---- why it is undone ----------------------------------------------------------------------- */

static void test_run_new_fails_while_verified_names_instance_and_last_probe(void **state)
{
	(void)state;
	config.instances = 2;
	fake(2, 1)->answer = (struct probe_result){
		.status = 503, .text = "GET /: 503 is not in 200-299", .body = "no database"};
	fake(2, 0)->not_healthy = true;
	begin_replace(RUN_ORDER_RESTART);
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
	begin_replace(RUN_ORDER_RESTART);
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
	begin_replace(RUN_ORDER_RESTART);
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
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_string_equal(result.probe, "GET /: 500: x");
}

static void test_run_start_timeout_with_good_or_no_answers_has_no_probe(void **state)
{
	(void)state;
	config.health.start_timeout_ms = 30;
	fake(2, 0)->not_healthy = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_string_equal(result.probe, "");
	assert_string_equal(result.reason, "generation 2 was not healthy within 30ms");
}

/* The first asks, the others are told. */
static void replace_by_one_of(size_t n_checks)
{
	static struct health_config several[6];

	for (size_t k = 0; k < 6; k++)
		several[k] = (struct health_config){.kind = HEALTH_KIND_NOTIFY};
	several[0] = check;
	config.health.list = several;
	config.health.n = n_checks;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
}

static void test_run_verify_tells_of_each_check(void **state)
{
	(void)state;
	replace_by_one_of(2);
	assert_step("verify", true, FAKE_ANSWER " (2 in a row); READY=1");
}

static void test_run_verify_tells_of_the_first_of_many_checks(void **state)
{
	(void)state;
	replace_by_one_of(6);
	assert_step("verify", true,
		    FAKE_ANSWER " (2 in a row); READY=1; READY=1; READY=1; and 2 more");
}

/* It has said so, and does not answer. */
static void test_run_start_timeout_with_ready_is_of_what_asks(void **state)
{
	static struct health_config several[2];

	(void)state;
	several[0] = check;
	several[1] = (struct health_config){.kind = HEALTH_KIND_NOTIFY};
	config.health = (struct checks_config){.list = several, .n = 2, .start_timeout_ms = 30};
	fake(2, 0)->not_healthy = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_VERIFYING);
	fake_there(2, 0)->ready = true;
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "verify", "generation 2 was not healthy within 30ms");
}

static void test_run_start_timeout_without_ready_says_so(void **state)
{
	(void)state;
	check.kind = HEALTH_KIND_NOTIFY;
	config.health.start_timeout_ms = 30;
	fake(2, 0)->not_healthy = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "verify", "generation 2 did not send READY=1 within 30ms");
}

static void test_run_result_has_the_tail_of_the_one_to_blame(void **state)
{
	(void)state;
	config.instances = 2;
	strcpy(fake(2, 0)->tail, "all is well\n");
	strcpy(fake(2, 1)->tail, "panic\n");
	fake(2, 1)->not_listening = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_STARTING);
	change(fake_fail(2, 1, "exited with status 1"));
	drive_to_end();
	assert_string_equal(result.words.text, "panic\n");
	assert_true(result.culprit.known && result.culprit.instance == 1);
}

static void test_run_start_timeout_names_what_it_listens_on_instead(void **state)
{
	struct instance *i;

	(void)state;
	config.health.start_timeout_ms = 30;
	fake(2, 0)->not_listening = true;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_STARTING);
	i = fake_there(2, 0);
	strcpy(i->strangers[0], "127.0.0.1:81");
	i->n_strangers = 1;
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "start",
		      "generation 2 was not running within 30ms; it listens on 127.0.0.1:81");
}

/* What is true of one of them is not said of all. */
static void test_run_stop_tells_each_way_to_end(void **state)
{
	(void)state;
	have_old(4);
	fake(1, 1)->exit_signal = SIGKILL;
	fake_there(1, 1)->killed = true;
	fake(1, 2)->exit_code = 3;
	begin_stop(false);
	drive_to_end();
	assert_step(
		"stop", true,
		"generation 1: 2 exited with status 0, 1 was killed by SIGKILL (it did not stop "
		"by itself), 1 exited with status 3");
}

/* Its main process had ended by itself: what was killed is what it had forked. */
static void test_run_stop_tells_what_was_killed_after_the_server_had_ended(void **state)
{
	(void)state;
	fake_there(1, 0)->killed = true;
	begin_stop(false);
	drive_to_end();
	assert_step("stop", true,
		    "generation 1 exited with status 0 (what it left had to be killed)");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_replace_tells_each_step),
		TEST(test_run_replace_messages_name_what_was_unusual),
		TEST(test_run_rolling_tells_each_batch),
		TEST(test_run_canary_tells_shares_and_holds),
		TEST(test_run_new_fails_while_verified_names_instance_and_last_probe),
		TEST(test_run_start_timeout_before_it_listens),
		TEST(test_run_start_timeout_before_it_is_healthy_has_the_last_answer),
		TEST(test_run_start_timeout_with_one_healthy_blames_the_other),
		TEST(test_run_start_timeout_with_good_or_no_answers_has_no_probe),
		TEST(test_run_verify_tells_of_each_check),
		TEST(test_run_verify_tells_of_the_first_of_many_checks),
		TEST(test_run_start_timeout_with_ready_is_of_what_asks),
		TEST(test_run_start_timeout_without_ready_says_so),
		TEST(test_run_result_has_the_tail_of_the_one_to_blame),
		TEST(test_run_start_timeout_names_what_it_listens_on_instead),
		TEST(test_run_stop_tells_each_way_to_end),
		TEST(test_run_stop_tells_what_was_killed_after_the_server_had_ended),
	};
#undef TEST

	return cmocka_run_group_tests_name("run tell", tests, NULL, NULL);
}
