/* SPDX-License-Identifier: BSD-2-Clause */
/* Rollouts in several cycles or steps, and those of some instances of a generation only. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/rollout/run_fixture.h"

/* How often @what is among the calls. */
static unsigned times(const char *what)
{
	unsigned n = 0;

	for (const char *at = calls; (at = strstr(at, what)); at += strlen(what))
		n++;
	return n;
}

static void assert_result_says(const char *message)
{
	json_t *json = run_result_json(&result);

	assert_string_equal(text_of(json, "message"), message);
	json_decref(json);
}

static void be_rolling(uint32_t n_old, uint32_t n_new, uint32_t surge, uint32_t unavailable)
{
	have_old(n_old);
	config.instances = n_new;
	config.rollout.strategy = ROLLOUT_ROLLING;
	config.rollout.max_surge = surge;
	config.rollout.max_unavailable = unavailable;
}

/* ---- rolling -------------------------------------------------------------------------------- */

static void test_run_rolling_replaces_one_after_the_other(void **state)
{
	(void)state;
	be_rolling(3, 3, 1, 0);
	begin_replace("restart");
	drive_to_end();
	assert_calls(
		"start 2.0; check 2.0; publish 1.1,1.2,2.0 backup 1.0; steady 1.0 off; "
		"publish 1.1,1.2,2.0; uncheck 1.0; leave 1.0; stop 1.0; done 1.0; "
		"start 2.1; check 2.1; publish 1.2,2.0,2.1 backup 1.1; steady 1.1 off; "
		"publish 1.2,2.0,2.1; uncheck 1.1; leave 1.1; stop 1.1; done 1.1; "
		"start 2.2; check 2.2; publish 2.0,2.1,2.2 backup 1.2; steady 1.2 off; "
		"hook after_shift; steady 2.0 on; steady 2.1 on; steady 2.2 on; commit; "
		"publish 2.0,2.1,2.2; uncheck 1.2; leave 1.2; hook after_drain; stop 1.2; done 1.2");
	assert_int_equal(fake_instances_most, 4);
	assert_int_equal(fewest_named, 3);
	assert_int_equal(result.exit, 0);
	assert_ptr_equal(current, new);
	assert_int_equal(old->instances.n, 0);
	assert_int_equal(new->instances.n, 3);
}

static void test_run_rolling_tells_each_batch(void **state)
{
	(void)state;
	be_rolling(2, 2, 1, 0);
	fake(1, 1)->exit_signal = SIGTERM;
	begin_replace("restart");
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

/* What does not work goes before what does; then the lowest index. */
static void test_run_rolling_sends_away_what_does_not_work_first(void **state)
{
	(void)state;
	be_rolling(4, 4, 1, 0);
	fake(1, 2)->unhealthy = true;
	fake_fail(1, 3, "exited with status 1");
	begin_replace("restart");
	drive_to_end();
	assert_non_null(strstr(calls, "publish 1.0,1.1,1.3,2.0 backup 1.2"));
	assert_non_null(strstr(calls, "publish 1.0,1.1,2.0,2.1 backup 1.3"));
	assert_non_null(strstr(calls, "publish 1.1,2.0,2.1,2.2 backup 1.0"));
	assert_non_null(strstr(calls, "publish 2.0,2.1,2.2,2.3 backup 1.1"));
}

static void test_run_rolling_without_surge_makes_room_first(void **state)
{
	(void)state;
	be_rolling(3, 3, 0, 1);
	begin_replace("restart");
	drive_to_end();
	assert_memory_equal(calls, "publish 1.1,1.2 backup 1.0; steady 1.0 off; ", 44);
	assert_int_equal(fake_instances_most, 3);
	assert_int_equal(fewest_named, 2);
	assert_int_equal(times("done 1."), 3);
	assert_int_equal(result.exit, 0);
}

static void test_run_rolling_in_batches_keeps_within_both_limits(void **state)
{
	(void)state;
	be_rolling(5, 5, 2, 1);
	begin_replace("restart");
	drive_to_end();
	assert_int_equal(fake_instances_most, 7);
	assert_int_equal(fewest_named, 4);
	assert_int_equal(times("start 2."), 5);
	assert_int_equal(times("done 1."), 5);
	assert_int_equal(times("commit"), 1);
	assert_int_equal(times("hook after_shift"), 1);
	assert_int_equal(times("hook after_drain"), 1);
	assert_null(strstr(calls, "done 2."));
}

/* Both could be 0 for one instance only: then one more it is. */
static void test_run_rolling_of_one_instance_starts_the_other_first(void **state)
{
	(void)state;
	be_rolling(1, 1, 0, 1);
	begin_replace("restart");
	drive_to_end();
	assert_int_equal(fake_instances_most, 2);
	assert_int_equal(fewest_named, 1);
}

/* Those that have left are started again, in the places of those that did not work. */
static void test_run_rolling_that_fails_starts_the_old_ones_again(void **state)
{
	(void)state;
	be_rolling(3, 3, 1, 0);
	fake(2, 1)->not_listening = true;
	begin_replace("restart");
	drive_until(fake(2, 1)->instance);
	assert_null(fake(1, 0)->instance);
	forget_calls();
	change(fake_fail(2, 1, "exited with status 1"));
	drive_to_end();
	assert_calls("publish 1.1,1.2,2.0; hook on_rollback; "
		     "publish 1.1,1.2,2.0; uncheck 2.1; leave 2.1; stop 2.1; done 2.1; "
		     "start 1.0; check 1.0; publish 1.1,1.2,1.0 backup 2.0; steady 1.0 on; "
		     "publish 1.1,1.2,1.0; uncheck 2.0; leave 2.0; stop 2.0; done 2.0");
	assert_int_equal(result.outcome, ROLLOUT_ROLLED_BACK);
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.step, "start");
	assert_string_equal(result.reason, "generation 2: instance 1 exited with status 1");
	assert_int_equal(fake_instances_most, 4);
	assert_int_equal(fewest_named, 3);
	assert_int_equal(old->instances.n, 3);
	assert_int_equal(new->instances.n, 0);
	assert_ptr_equal(current, old);
}

/* Before a new one was ever in service, but with an old one gone to make room. */
static void test_run_rolling_without_surge_that_fails_early_has_failed(void **state)
{
	(void)state;
	be_rolling(3, 3, 0, 1);
	fake(2, 0)->not_listening = true;
	begin_replace("restart");
	drive_until(fake(2, 0)->instance);
	change(fake_fail(2, 0, "exited with status 1"));
	forget_calls();
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_FAILED);
	assert_int_equal(times("hook on_failure"), 1);
	assert_int_equal(times("hook on_rollback"), 0);
	assert_string_equal(result.step, "start");
	assert_string_equal(result.reason, "generation 2: instance 0 exited with status 1");
	assert_int_equal(old->instances.n, 3);
	assert_int_equal(new->instances.n, 0);
	for (size_t k = 0; k < 3; k++) {
		assert_int_equal(old->instances.list[k]->role, INSTANCE_IN);
		assert_true(old->instances.list[k]->steady);
	}
}

/* An old one that cannot be had any more is done without; who heals that is the service. */
static void test_run_rolling_back_does_without_what_cannot_be_started(void **state)
{
	(void)state;
	be_rolling(3, 3, 1, 0);
	fake(2, 1)->not_listening = true;
	begin_replace("restart");
	drive_until(fake(2, 1)->instance);
	fake(1, 0)->start_error = -EIO;
	forget_calls();
	change(fake_fail(2, 1, "exited with status 1"));
	drive_to_end();
	assert_non_null(strstr(calls, "start 1.0; done 1.0; publish 1.1,1.2 backup 2.0; "));
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.reason, "generation 2: instance 1 exited with status 1");
	assert_int_equal(old->instances.n, 2);
	assert_int_equal(new->instances.n, 0);
}

static void test_run_rolling_back_kills_what_is_not_healthy_in_time(void **state)
{
	(void)state;
	be_rolling(3, 3, 1, 0);
	config.health.start_timeout_ms = 50;
	fake(2, 1)->not_listening = true;
	begin_replace("restart");
	drive_until(fake(2, 1)->instance);
	fake(1, 0)->not_healthy = true;
	forget_calls();
	drive_to_end();
	assert_non_null(strstr(calls, "start 1.0; check 1.0; kill 1.0; done 1.0; "));
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.reason, "generation 2 was not running within 50ms");
	assert_int_equal(old->instances.n, 2);
}

/* Those on their way out are seen off first. */
static void test_run_rolling_abort_while_draining_turns_round_afterwards(void **state)
{
	(void)state;
	be_rolling(2, 2, 1, 0);
	fake(1, 0)->live = 1;
	begin_replace("restart");
	drive_to(ROLLOUT_DRAINING);
	run_abort(&run, false, "aborted by request");
	assert_int_equal(run.machine.state, ROLLOUT_DRAINING);
	forget_calls();
	change(fake(1, 0)->live = 0);
	drive_to_end();
	assert_calls("stop 1.0; done 1.0; publish 1.1,2.0; hook on_rollback; "
		     "start 1.0; check 1.0; publish 1.1,1.0 backup 2.0; steady 1.0 on; "
		     "publish 1.1,1.0; uncheck 2.0; leave 2.0; stop 2.0; done 2.0");
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.reason, "aborted by request");
}

static void test_run_rolling_new_that_fails_while_draining_turns_round_afterwards(void **state)
{
	(void)state;
	be_rolling(2, 2, 1, 0);
	fake(1, 0)->live = 1;
	begin_replace("restart");
	drive_to(ROLLOUT_DRAINING);
	change(fake_fail(2, 0, "was killed by SIGSEGV"));
	look();
	assert_int_equal(run.machine.state, ROLLOUT_DRAINING);
	/* What is asked for then changes nothing about why. */
	run_abort(&run, false, "aborted by request");
	change(fake(1, 0)->live = 0);
	drive_to_end();
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.reason, "generation 2: instance 0 was killed by SIGSEGV");
	assert_int_equal(old->instances.n, 2);
}

/* Everything is to end: nothing is started only to be stopped. */
static void test_run_rolling_quit_starts_nothing_again(void **state)
{
	(void)state;
	be_rolling(3, 3, 1, 0);
	fake(2, 1)->not_listening = true;
	begin_replace("restart");
	drive_until(fake(2, 1)->instance);
	forget_calls();
	run_abort(&run, true, "batond is shutting down");
	drive_to_end();
	assert_null(strstr(calls, "start"));
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.reason, "batond is shutting down");
	assert_int_equal(old->instances.n, 2);
	assert_int_equal(new->instances.n, 0);
}

/* ---- past the point of no return ------------------------------------------------------------ */

/* Both old ones go at once, before the last two new ones are there. */
static void go_past_commit(void)
{
	be_rolling(2, 4, 0, 2);
	fake(2, 2)->not_listening = true;
	begin_replace("restart");
	drive_until(fake(2, 3)->instance);
	assert_true(run.machine.committed);
	assert_ptr_equal(current, new);
	forget_calls();
}

static void test_run_committed_batch_that_fails_is_done_without(void **state)
{
	(void)state;
	go_past_commit();
	change(fake_fail(2, 2, "exited with status 1"));
	drive_to_end();
	assert_calls("kill 2.2; done 2.2; kill 2.3; done 2.3");
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_int_equal(result.exit, 0);
	assert_int_equal(new->instances.n, 2);
	assert_int_equal(result.missing, 2);
	assert_result_says("generation 2 serves with 2 of 4 instances, generation 1 is gone; 2 "
			   "instances could not be started");
}

/* What serves already is the service's to heal. */
static void test_run_committed_batch_goes_on_where_another_one_fails(void **state)
{
	(void)state;
	go_past_commit();
	change(fake_fail(2, 0, "exited with status 1"));
	look();
	assert_int_equal(run.machine.state, ROLLOUT_STARTING);
	change(fake_listen(2, 2));
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_int_equal(new->instances.n, 4);
}

static void test_run_committed_batch_is_given_up_when_all_is_to_end(void **state)
{
	(void)state;
	go_past_commit();
	run_abort(&run, true, "batond is shutting down");
	assert_calls("kill 2.2; done 2.2; kill 2.3; done 2.3");
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_string_equal(result.reason, "");
}

static void test_run_committed_abort_is_too_late(void **state)
{
	(void)state;
	go_past_commit();
	run_abort(&run, false, "aborted by request");
	change(fake_listen(2, 2));
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_string_equal(result.reason, "");
	assert_int_equal(new->instances.n, 4);
}

/* They are meant to serve: the service tries again, as soon as anything changes. */
static void test_run_committed_batch_that_cannot_be_published_stays(void **state)
{
	(void)state;
	go_past_commit();
	publish_error = -EIO;
	change(fake_listen(2, 2));
	drive_to_end();
	assert_calls("check 2.2; check 2.3; publish 2.0,2.1,2.2,2.3; steady 2.2 on; steady 2.3 on");
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	for (size_t k = 0; k < 4; k++) {
		assert_int_equal(new->instances.list[k]->role, INSTANCE_IN);
		assert_true(new->instances.list[k]->steady);
	}
}

/* ---- canary --------------------------------------------------------------------------------- */

static void be_canary(uint32_t n)
{
	have_old(n);
	config.instances = n;
	config.rollout.strategy = ROLLOUT_CANARY;
	config.rollout.n_steps = 3;
	config.rollout.steps[0] = (struct rollout_weight){.weight = 10, .dwell_ms = 30};
	config.rollout.steps[1] = (struct rollout_weight){.weight = 50, .manual = true};
	config.rollout.steps[2] = (struct rollout_weight){.weight = 100};
}

static void drive_to_step(size_t step)
{
	drive_until(run.machine.state == ROLLOUT_DWELLING && run.machine.step == step);
}

static void test_run_canary_shifts_step_by_step(void **state)
{
	(void)state;
	be_canary(2);
	begin_replace("restart");
	drive_to_step(0);
	assert_calls("start 2.0; start 2.1; check 2.0; check 2.1; "
		     "publish 1.0,1.1,2.0,2.1 canary 2 10%");
	assert_true(fake_there(1, 0)->steady);
	assert_false(fake_there(2, 0)->steady);
	drive_to_step(1);
	assert_calls("publish 1.0,1.1,2.0,2.1 canary 2 50%");
	assert_true(run_can_promote(&run));
	run_promote(&run);
	drive_to_end();
	assert_calls("publish 2.0,2.1 backup 1.0,1.1; steady 1.0 off; steady 1.1 off; "
		     "hook after_shift; steady 2.0 on; steady 2.1 on; commit; publish 2.0,2.1; "
		     "uncheck 1.0; uncheck 1.1; leave 1.0; leave 1.1; hook after_drain; "
		     "stop 1.0; stop 1.1; done 1.0; done 1.1");
	assert_int_equal(result.exit, 0);
	assert_null(published.canary);
}

static void test_run_canary_tells_shares_and_holds(void **state)
{
	(void)state;
	be_canary(1);
	begin_replace("restart");
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

/* A step that would end by itself can be cut short, too. */
static void test_run_canary_promote_ends_a_hold(void **state)
{
	(void)state;
	be_canary(1);
	config.rollout.steps[0].dwell_ms = 60000;
	begin_replace("restart");
	drive_to(ROLLOUT_DWELLING);
	assert_true(run_can_promote(&run));
	run_promote(&run);
	drive_to_step(1);
}

static void test_run_canary_that_nobody_promotes_goes_back(void **state)
{
	(void)state;
	be_canary(1);
	config.rollout.promote_timeout_ms = 40;
	begin_replace("restart");
	drive_to_step(1);
	forget_calls();
	drive_to_end();
	assert_calls("publish 1.0 backup 2.0; hook on_rollback; publish 1.0; uncheck 2.0; "
		     "leave 2.0; stop 2.0; done 2.0");
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.step, "hold");
	assert_string_equal(result.reason, "nobody promoted it within 40ms");
	assert_null(published.canary);
}

static void test_run_canary_that_fails_while_held_goes_back(void **state)
{
	(void)state;
	be_canary(1);
	config.rollout.steps[0].dwell_ms = 60000;
	begin_replace("restart");
	drive_to(ROLLOUT_DWELLING);
	change(fake(2, 0)->unhealthy = true);
	drive_to_end();
	assert_undone(ROLLOUT_ROLLED_BACK, "hold",
		      "generation 2: instance 0 turned unhealthy: " FAKE_ANSWER);
	assert_true(fake_there(1, 0)->steady);
}

static void test_run_canary_abort_while_held_goes_back(void **state)
{
	(void)state;
	be_canary(1);
	config.rollout.steps[0].dwell_ms = 60000;
	begin_replace("restart");
	drive_to(ROLLOUT_DWELLING);
	run_abort(&run, false, "aborted by request");
	drive_to_end();
	assert_undone(ROLLOUT_ROLLED_BACK, "hold", "aborted by request");
}

/* Nobody is left to share with. */
static void test_run_canary_gets_all_when_the_old_ones_are_gone(void **state)
{
	(void)state;
	be_canary(1);
	config.rollout.steps[0].dwell_ms = 60000;
	begin_replace("restart");
	drive_to(ROLLOUT_DWELLING);
	forget_calls();
	change(fake(1, 0)->dead = true);
	drive_to_end();
	assert_int_equal(result.exit, 0);
	assert_memory_equal(calls, "publish 2.0 backup 1.0; ", 24);
}

/* There is no way back: the service tries again, as soon as anything changes. */
static void test_run_canary_that_gets_all_without_a_table_for_it_goes_on(void **state)
{
	(void)state;
	be_canary(1);
	config.rollout.steps[0].dwell_ms = 60000;
	begin_replace("restart");
	drive_to(ROLLOUT_DWELLING);
	publish_error = -EIO;
	change(fake(1, 0)->dead = true);
	drive_to_end();
	assert_int_equal(result.outcome, ROLLOUT_DONE);
	assert_string_equal(result.reason, "");
	assert_null(published.canary);
	assert_int_equal(fake_there(2, 0)->role, INSTANCE_IN);
	assert_true(fake_there(2, 0)->steady);
}

/* A table that shares otherwise is not kept in part. */
static void test_run_canary_step_that_cannot_be_published_goes_back(void **state)
{
	(void)state;
	be_canary(1);
	begin_replace("restart");
	drive_to(ROLLOUT_DWELLING);
	forget_calls();
	publish_error = -EIO;
	drive_to_end();
	assert_memory_equal(calls,
			    "publish 1.0,2.0 canary 2 50%; publish 1.0,2.0 canary 2 10%; "
			    "publish 1.0 backup 2.0; ",
			    83);
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.reason, "steer: Input/output error");
}

static void test_run_canary_of_a_first_start_has_no_steps(void **state)
{
	(void)state;
	be_canary(1);
	begin_start();
	drive_to_end();
	assert_calls("start 2.0; check 2.0; publish 2.0; steady 2.0 on; hook after_shift; commit");
}

static void test_run_status_json_says_what_it_waits_for(void **state)
{
	json_t *json;

	(void)state;
	be_canary(2);
	config.rollout.steps[0].dwell_ms = 60000;
	begin_replace("upgrade");
	drive_to(ROLLOUT_DWELLING);
	json = run_status_json(&run);
	assert_string_equal(text_of(json, "order"), "upgrade");
	assert_string_equal(text_of(json, "step"), "hold");
	assert_string_equal(text_of(json, "strategy"), "canary");
	assert_int_equal(number_of(json, "weight"), 10);
	assert_string_equal(text_of(json, "waiting"), "hold");
	assert_in_range(number_of(json, "waiting_ms"), 1, 60000);
	assert_int_equal(number_of(json_object_get(json, "instances"), "old"), 2);
	assert_int_equal(number_of(json_object_get(json, "instances"), "new"), 2);
	json_decref(json);
	run_promote(&run);
	drive_to_step(1);
	json = run_status_json(&run);
	assert_int_equal(number_of(json, "weight"), 50);
	assert_string_equal(text_of(json, "waiting"), "promote");
	json_decref(json);
}

static void test_run_status_json_of_one_that_waits_for_nobody_has_nulls(void **state)
{
	json_t *json;

	(void)state;
	fake(2, 0)->not_healthy = true;
	begin_replace("restart");
	drive_to(ROLLOUT_VERIFYING);
	json = run_status_json(&run);
	assert_string_equal(text_of(json, "step"), "verify");
	assert_string_equal(text_of(json, "strategy"), "blue-green");
	assert_true(json_is_null(json_object_get(json, "weight")));
	assert_true(json_is_null(json_object_get(json, "waiting")));
	assert_true(json_is_null(json_object_get(json, "waiting_ms")));
	assert_null(json_object_get(json, "reason"));
	json_decref(json);
	assert_false(run_can_promote(&run));
	run_promote(&run);
	assert_int_equal(run.machine.state, ROLLOUT_VERIFYING);
	fake(2, 0)->cannot_stop = true;
	run_abort(&run, false, "aborted by request");
	json = run_status_json(&run);
	assert_string_equal(text_of(json, "reason"), "aborted by request");
	json_decref(json);
}

static void test_run_promote_ends_the_bake(void **state)
{
	(void)state;
	config.rollout.bake_ms = 60000;
	begin_replace("restart");
	drive_to(ROLLOUT_BAKING);
	assert_true(run_can_promote(&run));
	run_promote(&run);
	drive_to_end();
	assert_int_equal(result.exit, 0);
}

/* ---- some instances of a generation --------------------------------------------------------- */

/* With everything configured that is not for it. */
static void begin_partial(const char *order, uint32_t n_new, struct instances goes)
{
	gate_points = ROLLOUT_GATE_SHIFT | ROLLOUT_GATE_LEAVE;
	old_config.hooks.command[HOOK_BEFORE_START] = (char *[]){(char *)"/x", NULL};
	old_config.rollout.bake_ms = 60000;
	old_config.rollout.strategy = ROLLOUT_CANARY;
	forget_calls();
	run_begin(&run, &host,
		  &(struct run_plan){
			  .order = order,
			  .id = ++last_rollout,
			  .new = n_new > 0 ? old : NULL,
			  .old = goes.n > 0 ? old : NULL,
			  .n_new = n_new,
			  .goes = &goes,
			  .partial = true,
		  });
}

static void test_run_scale_up_adds_instances(void **state)
{
	(void)state;
	begin_partial("scale", 2, (struct instances){});
	drive_to_end();
	assert_calls("start 1.1; start 1.2; check 1.1; check 1.2; publish 1.0,1.1,1.2; "
		     "steady 1.1 on; steady 1.2 on; commit");
	assert_steps("start verify shift");
	assert_step("start", true, "2 instances of generation 1, pid 101, 102");
	assert_step("shift", true, "new connections go to 3 instances of generation 1");
	assert_int_equal(result.exit, 0);
	assert_result_says("2 instances came; generation 1 serves");
}

static void test_run_scale_up_that_fails_keeps_what_was(void **state)
{
	(void)state;
	fake(1, 1)->not_listening = true;
	begin_partial("scale", 1, (struct instances){});
	drive_to(ROLLOUT_STARTING);
	change(fake_fail(1, 1, "exited with status 1"));
	drive_to_end();
	assert_calls("start 1.1; stop 1.1; done 1.1");
	assert_int_equal(result.exit, 3);
	assert_string_equal(result.reason, "generation 1: instance 1 exited with status 1");
	assert_result_says("generation 1 keeps serving");
	assert_true(fake_there(1, 0)->steady);
}

static void test_run_scale_down_takes_instances_away(void **state)
{
	struct instances goes = {};

	(void)state;
	have_old(3);
	instances_add(&goes, fake_there(1, 2));
	begin_partial("scale", 0, goes);
	drive_to_end();
	assert_calls("publish 1.0,1.1 backup 1.2; steady 1.2 off; publish 1.0,1.1; uncheck 1.2; "
		     "leave 1.2; stop 1.2; done 1.2");
	assert_steps("shift settle leave drain stop");
	assert_step("shift", true, "new connections go to 2 instances of generation 1");
	assert_step("leave", true, "instance 2 of generation 1 is out of the group");
	assert_result_says("1 instance went; generation 1 serves");
}

static void test_run_replace_of_one_instance_starts_its_successor_first(void **state)
{
	struct instances goes = {};

	(void)state;
	have_old(2);
	fake(1, 0)->unhealthy = true;
	fake(1, 0)->live = 3;
	old_config.drain.timeout_ms = 30;
	instances_add(&goes, fake_there(1, 0));
	begin_partial("replace", 1, goes);
	drive_to_end();
	assert_calls("start 1.2; check 1.2; publish 1.1,1.2 backup 1.0; steady 1.0 off; "
		     "steady 1.2 on; commit; publish 1.1,1.2; uncheck 1.0; leave 1.0; "
		     "stop 1.0; done 1.0");
	assert_int_equal(result.exit, 5);
	assert_result_says("1 instance came, 1 instance went; generation 1 serves; "
			   "3 connections were cut");
	assert_int_equal(old->instances.n, 2);
}

static void test_run_replace_that_cannot_start_keeps_the_old_one(void **state)
{
	struct instances goes = {};

	(void)state;
	have_old(2);
	fake(1, 2)->start_error = -EIO;
	instances_add(&goes, fake_there(1, 0));
	begin_partial("replace", 1, goes);
	drive_to_end();
	assert_calls("start 1.2; done 1.2");
	assert_int_equal(result.exit, 3);
	assert_int_equal(fake_there(1, 0)->role, INSTANCE_IN);
	assert_true(fake_there(1, 0)->steady);
}

/* ---- instances that go for another reason --------------------------------------------------- */

static void test_run_forgets_an_instance_of_every_set(void **state)
{
	(void)state;
	have_old(2);
	fake(1, 0)->live = fake(1, 1)->live = 1;
	begin_replace("restart");
	drive_to(ROLLOUT_DRAINING);
	host_remove_instance(&host, fake_there(1, 0));
	assert_int_equal(run.side[ROLLOUT_OLD].n, 1);
	assert_int_equal(run.victims.n, 1);
	fake(1, 1)->live = 0;
	drive_to_end();
	assert_int_equal(result.exit, 0);
	assert_int_equal(old->instances.n, 0);
}

static void test_run_without_any_victim_left_ends(void **state)
{
	(void)state;
	fake(1, 0)->live = 1;
	begin_replace("restart");
	drive_to(ROLLOUT_DRAINING);
	change(host_remove_instance(&host, fake_there(1, 0)));
	drive_to_end();
	assert_int_equal(result.exit, 0);
	assert_step("stop", true, "nothing was running");
}

static void test_run_whose_batch_is_forgotten_fails(void **state)
{
	(void)state;
	config.instances = 2;
	fake(2, 1)->not_listening = true;
	begin_replace("restart");
	drive_to(ROLLOUT_STARTING);
	change(host_remove_instance(&host, fake_there(2, 1)));
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "start", "generation 2: not every instance could be made");
}

/* No more fit into a generation, where some of an earlier rollout are still on their way out. */
static void test_run_without_room_for_its_instances_fails(void **state)
{
	(void)state;
	have_old(INSTANCES_MAX);
	begin_partial("scale", 1, (struct instances){});
	drive_to_end();
	assert_calls("");
	assert_int_equal(result.exit, 3);
	assert_string_equal(result.reason, "generation 1: not every instance could be made");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_rolling_replaces_one_after_the_other),
		TEST(test_run_rolling_tells_each_batch),
		TEST(test_run_rolling_sends_away_what_does_not_work_first),
		TEST(test_run_rolling_without_surge_makes_room_first),
		TEST(test_run_rolling_in_batches_keeps_within_both_limits),
		TEST(test_run_rolling_of_one_instance_starts_the_other_first),
		TEST(test_run_rolling_that_fails_starts_the_old_ones_again),
		TEST(test_run_rolling_without_surge_that_fails_early_has_failed),
		TEST(test_run_rolling_back_does_without_what_cannot_be_started),
		TEST(test_run_rolling_back_kills_what_is_not_healthy_in_time),
		TEST(test_run_rolling_abort_while_draining_turns_round_afterwards),
		TEST(test_run_rolling_new_that_fails_while_draining_turns_round_afterwards),
		TEST(test_run_rolling_quit_starts_nothing_again),
		TEST(test_run_committed_batch_that_fails_is_done_without),
		TEST(test_run_committed_batch_goes_on_where_another_one_fails),
		TEST(test_run_committed_batch_is_given_up_when_all_is_to_end),
		TEST(test_run_committed_abort_is_too_late),
		TEST(test_run_committed_batch_that_cannot_be_published_stays),
		TEST(test_run_canary_shifts_step_by_step),
		TEST(test_run_canary_tells_shares_and_holds),
		TEST(test_run_canary_promote_ends_a_hold),
		TEST(test_run_canary_that_nobody_promotes_goes_back),
		TEST(test_run_canary_that_fails_while_held_goes_back),
		TEST(test_run_canary_abort_while_held_goes_back),
		TEST(test_run_canary_gets_all_when_the_old_ones_are_gone),
		TEST(test_run_canary_that_gets_all_without_a_table_for_it_goes_on),
		TEST(test_run_canary_step_that_cannot_be_published_goes_back),
		TEST(test_run_canary_of_a_first_start_has_no_steps),
		TEST(test_run_status_json_says_what_it_waits_for),
		TEST(test_run_status_json_of_one_that_waits_for_nobody_has_nulls),
		TEST(test_run_promote_ends_the_bake),
		TEST(test_run_scale_up_adds_instances),
		TEST(test_run_scale_up_that_fails_keeps_what_was),
		TEST(test_run_scale_down_takes_instances_away),
		TEST(test_run_replace_of_one_instance_starts_its_successor_first),
		TEST(test_run_replace_that_cannot_start_keeps_the_old_one),
		TEST(test_run_forgets_an_instance_of_every_set),
		TEST(test_run_without_any_victim_left_ends),
		TEST(test_run_whose_batch_is_forgotten_fails),
		TEST(test_run_without_room_for_its_instances_fails),
	};
#undef TEST

	return cmocka_run_group_tests_name("run strategies", tests, NULL, NULL);
}
