/* SPDX-License-Identifier: BSD-2-Clause */
/* What the operator has a say in: before_start, gates, and the hooks that nothing waits for. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/view/run_json.h"
#include "tests/unit/rollout/run_fixture.h"

static char *program[] = {(char *)"/x", NULL};

/* ---- before_start --------------------------------------------------------------------------- */

static void test_run_before_start_runs_before_anything_is_started(void **state)
{
	(void)state;
	config.hooks.command[HOOK_BEFORE_START] = program;
	config.hooks.timeout_ms = 1234;
	begin_replace(RUN_ORDER_RESTART);
	assert_int_equal(run.machine.policy.prepare_timeout_ms, 1234 + 5000);
	drive_to(ROLLOUT_PREPARING);
	assert_calls("command");
	end_command(0, "exited with status 0");
	drive_to_end();
	assert_steps("prepare start verify shift settle leave drain stop");
	assert_step("prepare", true, "before_start exited with status 0");
	assert_int_equal(result.exit, 0);
	assert_memory_equal(calls, "start 2.0; ", 11);
}

static void assert_not_prepared(const char *reason)
{
	assert_undone(ROLLOUT_FAILED, "prepare", reason);
	assert_steps("prepare");
	assert_int_equal(new->instances.n, 0);
	assert_int_equal(fake_there(1, 0)->role, INSTANCE_IN);
}

static void test_run_before_start_that_fails_starts_nothing(void **state)
{
	(void)state;
	config.hooks.command[HOOK_BEFORE_START] = program;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_PREPARING);
	end_command(1, "exited with status 1: no database");
	drive_to_end();
	assert_not_prepared("before_start exited with status 1: no database");
	assert_calls("command; hook on_failure");
}

static void test_run_before_start_that_is_killed_or_late_starts_nothing(void **state)
{
	struct command_result killed = {.exit_signal = SIGKILL, .text = "was killed by SIGKILL"};

	(void)state;
	config.hooks.command[HOOK_BEFORE_START] = program;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_PREPARING);
	pending_command = NULL;
	command.on_done(command.userdata, &killed);
	drive_to_end();
	assert_not_prepared("before_start was killed by SIGKILL");
	ended = false;
	run_done(&run);
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_PREPARING);
	pending_command = NULL;
	command.on_done(command.userdata,
			&(struct command_result){.timed_out = true, .text = "took longer than 1s"});
	drive_to_end();
	assert_int_equal(result.exit, 3);
	assert_string_equal(result.reason, "before_start took longer than 1s");
}

static void test_run_before_start_that_cannot_be_run_starts_nothing(void **state)
{
	(void)state;
	config.hooks.command[HOOK_BEFORE_START] = program;
	start_error = -ENOENT;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_not_prepared("before_start exec /x: No such file or directory");
}

static void test_run_before_start_that_cannot_be_made_starts_nothing(void **state)
{
	(void)state;
	config.hooks.command[HOOK_BEFORE_START] = program;
	command_error = -ENOMEM;
	begin_replace(RUN_ORDER_RESTART);
	drive_to_end();
	assert_not_prepared("before_start environment: Cannot allocate memory");
}

/* The command has a deadline of its own; this one is for where that is not kept. */
static void test_run_before_start_deadline_cancels_it(void **state)
{
	(void)state;
	config.hooks.command[HOOK_BEFORE_START] = program;
	begin_replace(RUN_ORDER_RESTART);
	run.machine.policy.prepare_timeout_ms = 30;
	drive_to_end();
	assert_not_prepared("before_start was not done within 30ms");
	assert_calls("command; cancel command; hook on_failure");
}

static void test_run_before_start_is_cancelled_by_an_abort(void **state)
{
	(void)state;
	config.hooks.command[HOOK_BEFORE_START] = program;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_PREPARING);
	run_abort(&run, false, "aborted by request");
	assert_calls("command; cancel command; hook on_failure");
	drive_to_end();
	assert_not_prepared("aborted by request");
}

static void test_run_before_start_is_not_for_a_stop(void **state)
{
	(void)state;
	old_config.hooks.command[HOOK_BEFORE_START] = program;
	begin_stop(false);
	drive_to_end();
	assert_null(strstr(calls, "command"));
	assert_int_equal(result.exit, 0);
}

static void test_run_done_cancels_before_start(void **state)
{
	(void)state;
	config.hooks.command[HOOK_BEFORE_START] = program;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_PREPARING);
	run_done(&run);
	assert_calls("command; cancel command");
}

/* ---- gates ---------------------------------------------------------------------------------- */

static void begin_with_gates(unsigned points)
{
	gate_points = points;
	begin_replace(RUN_ORDER_RESTART);
}

static void test_run_gates_have_the_time_of_the_longest_point(void **state)
{
	(void)state;
	begin_with_gates(ROLLOUT_GATE_SHIFT);
	assert_int_equal(run.machine.policy.gates, ROLLOUT_GATE_SHIFT);
	/* The fixture's: 100 ms times the point. */
	assert_int_equal(run.machine.policy.gate_timeout_ms, 100 * ROLLOUT_GATE_LEAVE + 5000);
}

static void test_run_gate_that_passes_lets_it_go_on(void **state)
{
	(void)state;
	begin_with_gates(ROLLOUT_GATE_SHIFT);
	drive_to(ROLLOUT_GATING);
	assert_calls("start 2.0; check 2.0; ask shift");
	assert_ptr_equal(question.config, &config);
	assert_string_equal(fake_ports_last, "2.0");
	assert_string_equal(environment_get(question.command.environment, "BATON_PROBE_PORTS"),
			    "61000-61015");
	assert_int_equal(fake_ports_open, 1);
	answer_gates(GATES_PASSED, "smoke passed");
	assert_int_equal(fake_ports_open, 0);
	drive_to_end();
	assert_steps("start verify gate shift settle leave drain stop");
	assert_step("gate", true, "smoke passed");
	assert_int_equal(result.exit, 0);
}

/* Those of earlier batches serve already. */
static void test_run_gate_at_the_shift_asks_the_batch(void **state)
{
	(void)state;
	be_rolling(2, 2, 1, 0);
	gate_points = ROLLOUT_GATE_SHIFT | ROLLOUT_GATE_LEAVE;
	begin_replace(RUN_ORDER_RESTART);
	for (unsigned k = 0; k < 2; k++) {
		drive_until(pending_gates);
		assert_string_equal(fake_ports_last, k == 0 ? "2.0" : "2.1");
		answer_gates(GATES_PASSED, "smoke passed");
		drive_until(pending_gates);
		assert_string_equal(fake_ports_last, k == 0 ? "2.0" : "2.0 2.1");
		answer_gates(GATES_PASSED, "smoke passed");
	}
	drive_to_end();
	assert_int_equal(result.exit, 0);
}

static void test_run_gate_that_refuses_the_shift_fails_the_rollout(void **state)
{
	(void)state;
	begin_with_gates(ROLLOUT_GATE_SHIFT);
	drive_to(ROLLOUT_GATING);
	forget_calls();
	strcpy(fake_there(2, 0)->tail, "cannot find the template\n");
	answer_gates(GATES_REFUSED, "gate smoke: exited with status 1");
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "gate", "gate smoke: exited with status 1");
	assert_int_equal(fake(2, 0)->asked, 1);
	assert_string_equal(result.words.text, "cannot find the template\n");
	assert_false(result.culprit.known); /* who can tell? */
	assert_calls("stop 2.0; hook on_failure; done 2.0");
}

static void test_run_gate_that_refuses_the_leave_flips_back(void **state)
{
	(void)state;
	begin_with_gates(ROLLOUT_GATE_LEAVE);
	drive_to(ROLLOUT_GATING);
	assert_calls("start 2.0; check 2.0; publish 2.0 backup 1.0; steady 1.0 off; "
		     "hook after_shift; ask leave");
	answer_gates(GATES_REFUSED, "gate smoke: exited with status 1");
	drive_to_end();
	assert_undone(ROLLOUT_ROLLED_BACK, "gate", "gate smoke: exited with status 1");
	assert_calls("publish 1.0 backup 2.0; hook on_rollback; steady 1.0 on; publish 1.0; "
		     "uncheck 2.0; leave 2.0; stop 2.0; done 2.0");
}

static void test_run_gate_that_is_unsure_waits_for_somebody(void **state)
{
	json_t *json;

	(void)state;
	begin_with_gates(ROLLOUT_GATE_LEAVE);
	drive_to(ROLLOUT_GATING);
	assert_false(run_can_promote(&run));
	answer_gates(GATES_UNSURE, "gate smoke: 3 of 10 connections");
	drive_to(ROLLOUT_WAITING);
	assert_string_equal(events[n_events - 1].name, "waiting");
	assert_string_equal(text_of(event_named("waiting"), "reason"),
			    "gate smoke: 3 of 10 connections");
	assert_string_equal(text_of(event_named("waiting"), "message"),
			    "gate smoke: 3 of 10 connections; \"baton promote web\" goes on, "
			    "\"baton abort web\" goes back");
	json = run_status_json(&run);
	assert_string_equal(text_of(json, "waiting"), "gate");
	assert_in_range(number_of(json, "waiting_ms"), 1, 60000);
	json_decref(json);
	assert_true(run_can_promote(&run));
	forget_calls();
	run_promote(&run);
	drive_to_end();
	assert_steps("start verify shift settle gate waiting wait leave drain stop");
	assert_step("gate", true, "gate smoke: 3 of 10 connections");
	assert_step("wait", true, "promoted");
	assert_int_equal(result.exit, 0);
	/* It is not asked again. */
	assert_null(strstr(calls, "ask"));
}

static void test_run_wait_that_nobody_ends_goes_back(void **state)
{
	(void)state;
	config.rollout.promote_timeout_ms = 30;
	begin_with_gates(ROLLOUT_GATE_SHIFT);
	drive_to(ROLLOUT_GATING);
	answer_gates(GATES_UNSURE, "gate smoke: nobody knows");
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "wait", "nobody promoted it within 30ms");
}

static void test_run_wait_ends_with_an_abort_or_a_failure(void **state)
{
	(void)state;
	begin_with_gates(ROLLOUT_GATE_LEAVE);
	drive_to(ROLLOUT_GATING);
	answer_gates(GATES_UNSURE, "gate smoke: nobody knows");
	drive_to(ROLLOUT_WAITING);
	change(fake_fail(2, 0, "was killed by SIGSEGV"));
	drive_to_end();
	assert_undone(ROLLOUT_ROLLED_BACK, "wait",
		      "generation 2: instance 0 was killed by SIGSEGV");
}

static void test_run_gate_that_cannot_be_asked_refuses(void **state)
{
	(void)state;
	ask_error = -ENOMEM;
	begin_with_gates(ROLLOUT_GATE_SHIFT);
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "gate", "gate: timer: Cannot allocate memory");
}

static void test_run_gate_without_environment_refuses(void **state)
{
	(void)state;
	command_error = -ENOMEM;
	begin_with_gates(ROLLOUT_GATE_SHIFT);
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "gate", "gate: environment: Cannot allocate memory");
	assert_null(strstr(calls, "ask"));
}

static void test_run_gate_deadline_refuses_and_cancels(void **state)
{
	(void)state;
	begin_with_gates(ROLLOUT_GATE_SHIFT);
	run.machine.policy.gate_timeout_ms = 30;
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "gate", "the gates did not answer within 30ms");
	assert_calls("start 2.0; check 2.0; ask shift; cancel gates; stop 2.0; hook on_failure; "
		     "done 2.0");
}

static void test_run_gate_is_cancelled_where_the_new_one_fails(void **state)
{
	(void)state;
	begin_with_gates(ROLLOUT_GATE_SHIFT);
	drive_to(ROLLOUT_GATING);
	forget_calls();
	change(fake_fail(2, 0, "exited with status 1"));
	drive_to_end();
	assert_calls("cancel gates; stop 2.0; hook on_failure; done 2.0");
	assert_undone(ROLLOUT_FAILED, "gate", "generation 2: instance 0 exited with status 1");
}

/* What does not run has not passed, whatever somebody says who asked it earlier. */
static void test_run_gate_that_passes_too_late_does_not_count(void **state)
{
	(void)state;
	begin_with_gates(ROLLOUT_GATE_SHIFT);
	drive_to(ROLLOUT_GATING);
	fake_fail(2, 0, "exited with status 1");
	answer_gates(GATES_PASSED, "smoke passed");
	drive_to_end();
	assert_undone(ROLLOUT_FAILED, "gate", "generation 2: instance 0 exited with status 1");
}

static void test_run_gate_is_cancelled_by_an_abort(void **state)
{
	(void)state;
	begin_with_gates(ROLLOUT_GATE_LEAVE);
	drive_to(ROLLOUT_GATING);
	forget_calls();
	run_abort(&run, false, "aborted by request");
	assert_memory_equal(calls, "cancel gates; publish 1.0 backup 2.0; ", 38);
	drive_to_end();
	assert_undone(ROLLOUT_ROLLED_BACK, "gate", "aborted by request");
}

static void test_run_done_cancels_the_gates(void **state)
{
	(void)state;
	begin_with_gates(ROLLOUT_GATE_SHIFT);
	drive_to(ROLLOUT_GATING);
	forget_calls();
	run_done(&run);
	assert_calls("cancel gates");
	assert_null(run.environment);
	assert_int_equal(fake_ports_open, 0);
}

static void test_run_gates_of_all_points_are_asked_in_turn(void **state)
{
	(void)state;
	config.rollout.strategy = ROLLOUT_CANARY;
	config.rollout.n_steps = 2;
	config.rollout.steps[0] = (struct rollout_weight){.weight = 10, .dwell_ms = 20};
	config.rollout.steps[1] = (struct rollout_weight){.weight = 100};
	steered = 7; /* of whoever had its slot before */
	begin_with_gates(ROLLOUT_GATE_SHIFT | ROLLOUT_GATE_STEP | ROLLOUT_GATE_LEAVE);
	drive_until(pending_gates);
	assert_int_equal(question.point, ROLLOUT_GATE_SHIFT);
	answer_gates(GATES_PASSED, "all gates passed");
	drive_until(pending_gates);
	assert_int_equal(question.point, ROLLOUT_GATE_STEP);
	assert_int_equal(run.machine.weight, 10);
	assert_true(question.connections_known);
	assert_int_equal(question.connections, 0);
	steered = 19;
	answer_gates(GATES_PASSED, "all gates passed");
	drive_until(pending_gates);
	assert_int_equal(question.point, ROLLOUT_GATE_LEAVE);
	/* Since the shift. */
	assert_int_equal(question.connections, 12);
	answer_gates(GATES_PASSED, "all gates passed");
	drive_to_end();
	assert_steps("start verify gate shift hold gate shift settle gate leave drain stop");
	assert_int_equal(result.exit, 0);
}

static void test_run_gate_says_where_nothing_counts_connections(void **state)
{
	(void)state;
	steered_error = -ENODATA;
	begin_with_gates(ROLLOUT_GATE_LEAVE);
	drive_until(pending_gates);
	assert_false(question.connections_known);
	answer_gates(GATES_PASSED, "all gates passed");
	drive_to_end();
	assert_int_equal(result.exit, 0);
}

static void test_run_gate_is_asked_in_each_cycle(void **state)
{
	(void)state;
	have_old(2);
	config.instances = 2;
	config.rollout.strategy = ROLLOUT_ROLLING;
	begin_with_gates(ROLLOUT_GATE_SHIFT);
	drive_until(pending_gates);
	answer_gates(GATES_PASSED, "all gates passed");
	drive_until(pending_gates);
	answer_gates(GATES_REFUSED, "gate smoke: no");
	drive_to_end();
	/* Nobody asks before what was is put back. */
	assert_null(pending_gates);
	assert_int_equal(result.exit, 4);
	assert_string_equal(result.reason, "gate smoke: no");
	assert_int_equal(old->instances.n, 2);
}

static void test_run_gates_are_not_for_a_stop(void **state)
{
	(void)state;
	gate_points = ROLLOUT_GATE_SHIFT | ROLLOUT_GATE_LEAVE;
	begin_stop(false);
	drive_to_end();
	assert_null(strstr(calls, "ask"));
}

/* ---- hooks ---------------------------------------------------------------------------------- */

static void test_run_hooks_of_a_rollout_that_succeeds(void **state)
{
	(void)state;
	fake(1, 0)->live = 1;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_DRAINING);
	assert_non_null(strstr(calls, "publish 2.0 backup 1.0; steady 1.0 off; hook after_shift"));
	assert_null(strstr(calls, "after_drain"));
	forget_calls();
	change(fake(1, 0)->live = 0);
	drive_to_end();
	assert_calls("hook after_drain; stop 1.0; done 1.0");
}

/* What the new one drains when it is undone is no hook's business. */
static void test_run_hooks_of_a_rollout_that_is_rolled_back(void **state)
{
	(void)state;
	config.rollout.bake_ms = 60000;
	begin_replace(RUN_ORDER_RESTART);
	drive_to(ROLLOUT_BAKING);
	forget_calls();
	run_abort(&run, false, "aborted by request");
	drive_to_end();
	assert_calls("publish 1.0 backup 2.0; hook on_rollback; steady 1.0 on; publish 1.0; "
		     "uncheck 2.0; leave 2.0; stop 2.0; done 2.0");
}

static void test_run_hooks_of_a_first_start_that_fails(void **state)
{
	(void)state;
	fake(2, 0)->not_listening = true;
	begin_start();
	drive_to(ROLLOUT_STARTING);
	change(fake_fail(2, 0, "exited with status 1"));
	drive_to_end();
	assert_calls("start 2.0; stop 2.0; hook on_failure; done 2.0");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_run_before_start_runs_before_anything_is_started),
		TEST(test_run_before_start_that_fails_starts_nothing),
		TEST(test_run_before_start_that_is_killed_or_late_starts_nothing),
		TEST(test_run_before_start_that_cannot_be_run_starts_nothing),
		TEST(test_run_before_start_that_cannot_be_made_starts_nothing),
		TEST(test_run_before_start_deadline_cancels_it),
		TEST(test_run_before_start_is_cancelled_by_an_abort),
		TEST(test_run_before_start_is_not_for_a_stop),
		TEST(test_run_done_cancels_before_start),
		TEST(test_run_gates_have_the_time_of_the_longest_point),
		TEST(test_run_gate_that_passes_lets_it_go_on),
		TEST(test_run_gate_at_the_shift_asks_the_batch),
		TEST(test_run_gate_that_refuses_the_shift_fails_the_rollout),
		TEST(test_run_gate_that_refuses_the_leave_flips_back),
		TEST(test_run_gate_that_is_unsure_waits_for_somebody),
		TEST(test_run_wait_that_nobody_ends_goes_back),
		TEST(test_run_wait_ends_with_an_abort_or_a_failure),
		TEST(test_run_gate_that_cannot_be_asked_refuses),
		TEST(test_run_gate_without_environment_refuses),
		TEST(test_run_gate_deadline_refuses_and_cancels),
		TEST(test_run_gate_is_cancelled_where_the_new_one_fails),
		TEST(test_run_gate_that_passes_too_late_does_not_count),
		TEST(test_run_gate_is_cancelled_by_an_abort),
		TEST(test_run_done_cancels_the_gates),
		TEST(test_run_gates_of_all_points_are_asked_in_turn),
		TEST(test_run_gate_says_where_nothing_counts_connections),
		TEST(test_run_gate_is_asked_in_each_cycle),
		TEST(test_run_gates_are_not_for_a_stop),
		TEST(test_run_hooks_of_a_rollout_that_succeeds),
		TEST(test_run_hooks_of_a_rollout_that_is_rolled_back),
		TEST(test_run_hooks_of_a_first_start_that_fails),
	};
#undef TEST

	return cmocka_run_group_tests_name("run operator", tests, NULL, NULL);
}
