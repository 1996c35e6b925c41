/* SPDX-License-Identifier: BSD-2-Clause */
/* One instance with its agent: what it makes of the reports, and what it orders. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/instance/instance_fixture.h"

/* ---- the server's life ---------------------------------------------------------------------- */

static void test_instance_started_runs(void **state)
{
	(void)state;
	assert_started();
	hear_hello();
	forget_calls();
	report.pid = 600;
	hear(REPORT_STARTED, 0);
	assert_int_equal(i->pid, 600);
	assert_int_equal(i->agent_said, AGENT_RUNNING);
	assert_calls("checker_restart 0; checker_restart 1");
	assert_notes("");
	assert_int_equal(n_changes, 2);
}

static void test_instance_exited_restarting_is_not_failed(void **state)
{
	(void)state;
	run_instance();
	i->ready = true;
	i->checks.list[0].checker.health.state = HEALTH_HEALTHY;
	report.exit_signal = SIGSEGV;
	report.restarting = true;
	report.restart_ms = 200;
	strcpy(report.tail, "assertion failed\n");
	hear(REPORT_EXITED, 0);
	assert_false(instance_has_failed(i));
	assert_int_equal(i->pid, 0);
	assert_int_equal(i->agent_said, AGENT_DELAYING);
	assert_int_equal(i->restarts, 1);
	assert_int_equal(i->exit_signal, SIGSEGV);
	assert_false(i->ready);
	assert_int_equal(i->checks.list[0].checker.health.state, HEALTH_UNKNOWN);
	assert_string_equal(i->tail, "assertion failed\n");
	assert_notes("exited: instance 0 was killed by SIGSEGV; started again in 200 ms");
	/* Its sockets hold what comes meanwhile. */
	assert_true(instance_is_serving(i));
	assert_false(instance_is_healthy(i));
	report.pid = 601;
	hear(REPORT_STARTED, 0);
	assert_notes("restarted: instance 0 runs again, pid 601");
	assert_calls("checker_restart 0; checker_restart 1");
	/* A report without a tail leaves the last one. */
	assert_string_equal(i->tail, "assertion failed\n");
	assert_int_equal(n_changes, 2);
}

/* Nothing was started again: its checks and counters go on as they are. */
static void test_instance_succeeded_goes_on(void **state)
{
	pid_t old;

	(void)state;
	run_instance();
	old = i->pid;
	i->ready = true;
	i->restarts = 1;
	i->checks.list[0].checker.health.state = HEALTH_HEALTHY;
	forget_calls();
	report.pid = 601;
	report.succeeds = old;
	hear(REPORT_STARTED, 0);
	assert_int_equal(i->pid, 601);
	assert_int_equal(i->succeeded_pid, old);
	assert_int_equal(i->restarts, 1);
	assert_true(i->ready);
	assert_int_equal(i->checks.list[0].checker.health.state, HEALTH_HEALTHY);
	assert_calls("");
	assert_notes("succeeded: instance 0 is served by pid 601 now, after pid 600");
	report.pid = 602;
	report.succeeds = 601;
	report.exit_signal = SIGSEGV;
	hear(REPORT_STARTED, 0);
	assert_notes("succeeded: instance 0 is served by pid 602 now, after pid 601, which was "
		     "killed by SIGSEGV");
	/* In the middle of a drain it is as far as it was. */
	instance_leave(i);
	i->agent_said = AGENT_LEFT;
	report.pid = 603;
	report.succeeds = 602;
	report.exit_signal = 0;
	hear(REPORT_STARTED, 0);
	assert_int_equal(i->agent_said, AGENT_LEFT);
}

static void test_instance_exited_for_good_is_failed(void **state)
{
	(void)state;
	run_instance();
	instance_check(i);
	forget_calls();
	report.exit_code = 3;
	hear(REPORT_EXITED, 0);
	assert_true(instance_has_failed(i));
	assert_int_equal(i->pid, 0);
	assert_int_equal(i->agent_said, AGENT_FAILED);
	assert_string_equal(i->failure, "exited with status 3");
	assert_notes("exited: instance 0 exited with status 3");
	assert_calls("checker_stop 0; checker_stop 1");
	assert_false(instance_is_serving(i));
	assert_int_equal(n_changes, 1);
	/* The first reason is the one that counts. */
	strcpy(report.text, "given up");
	hear(REPORT_FAILED, 0);
	assert_string_equal(i->failure, "exited with status 3");
}

/* What can be done about an address that is not shared depends on the daemon and the mode. */
static void test_instance_exited_on_a_taken_address_says_what_to_do(void **state)
{
	static const struct {
		enum socket_mode mode;
		bool hooks;
		const char *bound; /* as the kernel tells; NULL: it does not */
		uid_t bound_uid;
		bool has_uid;
		const char *tail, *says;
	} cases[] = {
		{.mode = SOCKETS_AUTO, .says = "itself and does not share it: switch on"},
		{.mode = SOCKETS_AUTO, .says = "does not work here: for a reason"},
		{.mode = SOCKETS_NATIVE, .hooks = true, .says = "or use mode \"transparent\""},
		{.mode = SOCKETS_AUTO, .hooks = true, .says = "server share exactly what"},
		{.mode = SOCKETS_AUTO, .hooks = true, .bound = ":80", .says = "binds :80"},
		{.mode = SOCKETS_AUTO,
		 .hooks = true,
		 .bound = ADDRESS_0,
		 .bound_uid = 4711,
		 .says = "binds it as uid 4711"},
		/* What the kernel tells counts, not the last words; they do if it tells nothing. */
		{.mode = SOCKETS_AUTO,
		 .hooks = true,
		 .bound = ADDRESS_0,
		 .bound_uid = 4711,
		 .tail = "EADDRINUSE :::80",
		 .says = "binds it as uid 4711"},
		{.mode = SOCKETS_NATIVE, .tail = "EADDRINUSE :::80", .says = "binds :80"},
		{.mode = SOCKETS_NATIVE, .has_uid = true, .says = "binds it as uid 4712"},
	};

	(void)state;
	strcpy(wiring.no_tap, "for a reason");
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		run_instance();
		config.mode = cases[k].mode;
		wiring.tap = cases[k].hooks ? &hooks : NULL;
		hooks.attached[0] = (struct fake_tapped){.generation = 2};
		hooks.n = 1;
		if (cases[k].bound)
			fake_tap_bind(&hooks, 2, 0, cases[k].bound, cases[k].bound_uid);
		report.exit_code = 1;
		report.has_uid = cases[k].has_uid;
		report.uid = 4712;
		strcpy(report.text, "\"Address already in use\"");
		strcpy(report.tail, cases[k].tail ? cases[k].tail : "");
		hear(REPORT_EXITED, 0);
		if (!strstr(i->failure, cases[k].says) ||
		    strncmp(i->failure, "exited with status 1: \"Address already in use\": ", 46))
			fail_msg("%zu: %s", k, i->failure);
		/* The event is about the end only. */
		assert_notes("exited: instance 0 exited with status 1");
		instance_done(i);
		wiring.tap = NULL;
		hooks.n = 0;
		forget_calls();
		reset_instance();
	}
	wiring.no_tap[0] = '\0';
}

static void test_instance_exited_for_a_file_says_which(void **state)
{
	(void)state;
	run_instance();
	report.exit_code = 1;
	strcpy(report.text, "\"Address already in use\"");
	strcpy(report.tail, "bind() to unix:/run/web.sock failed (98: Address already in use)");
	hear(REPORT_EXITED, 0);
	assert_ptr_equal(strstr(i->failure, "exited with status 1: the unix socket that it binds "
					    "(/run/web.sock) is there already"),
			 i->failure);
}

/* It is the address, whatever else it has not got. */
static void test_instance_exited_for_an_address_and_a_lock_says_the_address(void **state)
{
	(void)state;
	run_instance();
	report.exit_code = 1;
	strcpy(report.text, "\"Address already in use\"");
	strcpy(report.tail, "bind: Address already in use\ndatabase is locked");
	hear(REPORT_EXITED, 0);
	assert_non_null(strstr(i->failure, "\"Address already in use\": "));
}

static void test_instance_exited_as_told_is_not_failed(void **state)
{
	(void)state;
	run_instance();
	instance_leave(i);
	hear(REPORT_EXITED, 0);
	assert_false(instance_has_failed(i));
	assert_int_equal(i->pid, 0);
	assert_string_equal(i->failure, "");
	assert_notes("");
	hear(REPORT_FAILED, 0);
	assert_false(instance_has_failed(i));
}

static void test_instance_exited_while_stopping_is_not_failed(void **state)
{
	(void)state;
	run_instance();
	instance_stop(i);
	report.exit_code = 1;
	hear(REPORT_EXITED, 0);
	assert_false(instance_has_failed(i));
	assert_int_equal(i->exit_code, 1);
	assert_notes("");
}

static void test_instance_notify_is_told_once(void **state)
{
	(void)state;
	declared[0].kind = HEALTH_KIND_NOTIFY;
	reset_instance();
	run_instance();
	i->checks.list[1].checker.health.state = HEALTH_HEALTHY;
	i->checks.list[2].checker.health.state = HEALTH_HEALTHY;
	assert_false(instance_is_healthy(i));
	report.ready = true;
	hear(REPORT_NOTIFY, 0);
	assert_true(i->ready);
	assert_true(instance_is_healthy(i));
	assert_notes("ready: instance 0 says READY=1");
	report.ready = true;
	hear(REPORT_NOTIFY, 0);
	assert_notes("");
	hear(REPORT_NOTIFY, 0);
	assert_false(i->ready);
	assert_false(instance_is_healthy(i));
	assert_int_equal(n_changes, 3);
}

static void test_instance_left_is_out_of_the_group(void **state)
{
	(void)state;
	run_instance();
	instance_leave(i);
	assert_true(instance_is_serving(i));
	report.forced = true;
	hear(REPORT_LEFT, 0);
	assert_true(instance_has_left(i));
	assert_true(i->forced);
	assert_int_equal(i->agent_said, AGENT_LEFT);
	assert_false(instance_is_serving(i));
	assert_false(instance_has_stopped(i));
	assert_int_equal(i->pid, 600);
	assert_int_equal(n_changes, 1);
}

static void test_instance_stopped_is_gone(void **state)
{
	(void)state;
	run_instance();
	instance_stop(i);
	forget_calls();
	report.killed = true;
	report.exit_signal = SIGKILL;
	strcpy(report.tail, "bye\n");
	hear(REPORT_STOPPED, 0);
	assert_true(instance_has_stopped(i));
	assert_true(instance_has_left(i));
	assert_true(i->killed);
	assert_int_equal(i->exit_signal, SIGKILL);
	assert_int_equal(i->agent_said, AGENT_STOPPED);
	assert_int_equal(i->pid, 0);
	assert_string_equal(i->tail, "bye\n");
	/* Nothing is left to be ordered. The agent's end is no surprise. */
	instance_leave(i);
	instance_stop(i);
	instance_steady(i, true);
	instance_kill_many(&i, 1);
	assert_calls("");
	lose_agent();
	assert_notes("");
	assert_null(i->lost_timer);
}

/* It was on its way when the daemon killed the agent. */
static void test_instance_report_after_a_kill_changes_nothing(void **state)
{
	(void)state;
	run_instance();
	instance_kill_many(&i, 1);
	report.pid = 601;
	hear(REPORT_STARTED, 0);
	report.exit_code = 1;
	hear(REPORT_EXITED, 0);
	hear(REPORT_LEFT, 0);
	hear(REPORT_STOPPED, 0);
	assert_int_equal(i->pid, 0);
	assert_true(i->killed);
	assert_int_equal(i->exit_signal, SIGKILL);
	assert_false(instance_has_failed(i));
	assert_notes("");
	assert_int_equal(n_changes, 0);
}

/* An earlier daemon has told it to, or somebody has sent SIGTERM to its agent. */
static void test_instance_leaves_and_stops_unasked(void **state)
{
	(void)state;
	run_instance();
	instance_check(i);
	forget_calls();
	hear(REPORT_LEFT, 0);
	assert_calls("checker_stop 0; checker_stop 1");
	assert_true(instance_has_left(i));
	assert_true(instance_is_leaving(i));
	assert_false(instance_is_serving(i));
	instance_leave(i);
	assert_calls("");
	hear(REPORT_STOPPED, 0);
	assert_true(instance_has_stopped(i));
	assert_false(instance_has_failed(i));
}

/* After a deadline one is told to stop that has not left: it does so later. */
static void test_instance_left_while_stopping_stays_stopping(void **state)
{
	(void)state;
	run_instance();
	instance_leave(i);
	instance_stop(i);
	assert_false(instance_is_serving(i));
	instance_leave(i);
	report.forced = true;
	hear(REPORT_LEFT, 0);
	assert_int_equal(i->phase, INSTANCE_STOPPING);
	assert_true(i->forced);
	hear(REPORT_STOPPED, 0);
	assert_int_equal(i->phase, INSTANCE_STOPPED);
}

/* Its agent is told to leave and to stop like that of any other. */
static void test_instance_failed_leaves_and_stops(void **state)
{
	(void)state;
	run_instance();
	report.exit_code = 3;
	hear(REPORT_EXITED, 0);
	forget_calls();
	instance_leave(i);
	assert_calls("order leave signal 15 timeout 1000");
	assert_true(instance_has_failed(i));
	assert_false(instance_is_serving(i));
	hear(REPORT_LEFT, 0);
	assert_int_equal(i->phase, INSTANCE_LEFT);
	instance_stop(i);
	assert_calls("order stop signal 0 timeout 5000");
	hear(REPORT_STOPPED, 0);
	assert_int_equal(i->phase, INSTANCE_STOPPED);
	assert_true(instance_has_failed(i));
}

static void test_instance_describe_exit_has_status_or_signal(void **state)
{
	char text[64];

	(void)state;
	/* Of what never ran nobody may say that it exited. */
	instance_describe_exit(i, text, sizeof(text));
	assert_string_equal(text, "never ran");
	i->ran = true;
	instance_describe_exit(i, text, sizeof(text));
	assert_string_equal(text, "exited with status 0");
	i->exit_code = 7;
	instance_describe_exit(i, text, sizeof(text));
	assert_string_equal(text, "exited with status 7");
	i->exit_signal = SIGBUS;
	instance_describe_exit(i, text, sizeof(text));
	assert_string_equal(text, "was killed by SIGBUS");
	i->ending = ENDING_ALIVE;
	instance_describe_exit(i, text, sizeof(text));
	assert_string_equal(text, "survives SIGKILL");
	i->ending = ENDING_UNKNOWN;
	instance_describe_exit(i, text, sizeof(text));
	assert_string_equal(text, "has ended");
	i->killed = true;
	instance_describe_exit(i, text, sizeof(text));
	assert_string_equal(text, "has ended by SIGKILL");
	i->ending = ENDING_NEVER_RAN;
	instance_describe_exit(i, text, sizeof(text));
	assert_string_equal(text, "could not be started again");
}

/* "exited with status 127" would be a shell's word for it. */
static void test_instance_that_could_not_be_started_never_ran(void **state)
{
	char text[64];

	(void)state;
	assert_started();
	report.state = AGENT_FAILED;
	hear(REPORT_HELLO, 1);
	strcpy(report.text, "exec /bin/web: No such file or directory");
	hear(REPORT_FAILED, 0);
	report.exit_code = 127;
	report.ending = ENDING_NEVER_RAN;
	hear(REPORT_STOPPED, 0);
	instance_describe_exit(i, text, sizeof(text));
	assert_string_equal(text, "never ran");
	assert_string_equal(i->failure, "exec /bin/web: No such file or directory");
}

static void test_instance_that_cannot_be_started_again_says_why(void **state)
{
	(void)state;
	run_instance();
	report.exit_code = 127;
	report.ending = ENDING_NEVER_RAN;
	report.restarting = true;
	report.restart_ms = 200;
	strcpy(report.text, "exec: Text file busy");
	hear(REPORT_EXITED, 0);
	assert_notes("exited: instance 0 could not be started again: exec: Text file busy; started "
		     "again in 200 ms");
}

/* ---- last words ----------------------------------------------------------------------------- */

/* Its agent knows ORDER_TELL. */
static void run_telling(void)
{
	assert_started();
	add_sockets(&report);
	report.tells = true;
	report.pid = 600;
	hear(REPORT_HELLO, 3);
	forget_calls();
	notes[0] = '\0';
}

static void hear_tail(enum report_type type, const char *tail)
{
	strcpy(report.tail, tail);
	report.tail_age_ms = 5;
	hear(type, 0);
}

static void test_instance_asked_keeps_what_it_had_said_by_then(void **state)
{
	uint64_t now_ms = clock_realtime_ms();

	(void)state;
	run_telling();
	instance_ask(i);
	instance_ask(i);
	assert_calls("order tell signal 0 timeout 0");
	assert_true(i->asked);
	instance_leave(i);
	report.tail_stdout = true;
	hear_tail(REPORT_TOLD, "waiting for the database");
	assert_false(i->asked);
	assert_true(i->tail_stdout);
	assert_true(i->tail_realtime_ms >= now_ms - 5);
	hear_tail(REPORT_EXITED, "good bye");
	hear_tail(REPORT_STOPPED, "good bye");
	assert_string_equal(i->tail, "waiting for the database");
	assert_false(i->ended_itself);
	assert_false(instance_has_failed(i));
}

/* Whatever it was to be sent away for, this came before. */
static void test_instance_asked_that_had_ended_is_told_by_its_exit(void **state)
{
	(void)state;
	run_telling();
	report.type = REPORT_FAILED;
	strcpy(report.text, "put the socket into slot 0: Invalid argument");
	hear(REPORT_FAILED, 0);
	instance_ask(i);
	instance_leave(i);
	report.exit_code = 7;
	hear_tail(REPORT_EXITED, "database: connection refused");
	hear_tail(REPORT_TOLD, "database: connection refused");
	assert_true(i->ended_itself);
	assert_string_equal(i->failure, "exited with status 7");
	assert_string_equal(i->tail, "database: connection refused");
}

static void test_instance_of_an_older_agent_is_not_asked(void **state)
{
	(void)state;
	run_instance();
	instance_ask(i);
	assert_calls("");
	assert_false(i->asked);
	/* Neither is one that is being stopped: its agent ends. */
	i->tells = true;
	instance_stop(i);
	forget_calls();
	instance_ask(i);
	assert_calls("");
}

static void test_instance_asked_whose_agent_is_lost_has_no_answer(void **state)
{
	(void)state;
	run_telling();
	instance_ask(i);
	lose_agent();
	assert_false(i->asked);
	instance_ask(i);
	assert_false(i->asked);
}

/* ---- health checks -------------------------------------------------------------------------- */

static void test_instance_check_asks_its_own_slot_as_configured(void **state)
{
	(void)state;
	run_instance();
	instance_check(i);
	assert_string_equal(targets[0].service, "web");
	assert_ptr_equal(targets[0].health, &declared[0]);
	assert_ptr_equal(targets[0].address, &config.listen[0]);
	assert_ptr_equal(targets[0].steer, &endpoint_0);
	assert_int_equal(targets[0].n_sockets, 1);
	assert_int_equal(targets[0].sockets[0].slot, 4);
	assert_int_equal(targets[0].sockets[0].cookie, 101);
	assert_calls("checker_start 0; checker_start 1");
	instance_check(i);
	assert_calls("");
}

/* Of the other endpoints it is asked whether they are accepted from, once. */
static void test_instance_check_asks_other_endpoints_to_accept(void **state)
{
	(void)state;
	declared[0].interval_ms = 11;
	declared[0].timeout_ms = 12;
	declared[0].healthy = 5;
	reset_instance();
	run_instance();
	instance_check(i);
	assert_int_equal(targets[1].health->kind, HEALTH_KIND_CONNECT);
	assert_int_equal(targets[1].health->interval_ms, 11);
	assert_int_equal(targets[1].health->timeout_ms, 12);
	assert_int_equal(targets[1].health->healthy, 1);
	assert_ptr_equal(targets[1].address, &config.listen[1]);
	assert_ptr_equal(targets[1].steer, &endpoint_1);
	assert_int_equal(targets[1].n_sockets, 1);
	assert_int_equal(targets[1].sockets[0].slot, 6);
	assert_int_equal(targets[1].sockets[0].cookie, 102);
}

static void test_instance_check_has_nothing_to_ask_of_some(void **state)
{
	(void)state;
	run_instance();
	for (int phase = INSTANCE_FAILED; phase < _INSTANCE_PHASE_COUNT; phase++) {
		i->phase = (enum instance_phase)phase;
		instance_check(i);
	}
	assert_calls("");
	i->phase = INSTANCE_JOINED;
	instance_check(i);
	assert_calls("checker_start 0; checker_start 1");
}

/* It says of itself that it is ready, but not that it accepts. */
static void test_instance_check_of_one_that_notifies_is_that_it_accepts(void **state)
{
	(void)state;
	declared[0] = (struct health_config){.kind = HEALTH_KIND_NOTIFY, .unhealthy = 3};
	reset_instance();
	run_instance();
	instance_check(i);
	assert_calls("checker_start 1; checker_start 2");
	for (size_t k = 1; k < 3; k++) {
		assert_int_equal(targets[k].health->kind, HEALTH_KIND_CONNECT);
		assert_int_equal(targets[k].health->healthy, 1);
		assert_int_equal(targets[k].health->unhealthy, 3);
	}
	report.ready = true;
	hear(REPORT_NOTIFY, 0);
	assert_false(instance_is_healthy(i));
	i->checks.list[1].checker.health.state = HEALTH_HEALTHY;
	i->checks.list[2].checker.health.state = HEALTH_HEALTHY;
	assert_true(instance_is_healthy(i));
	i->checks.list[1].checker.health.state = HEALTH_UNHEALTHY;
	assert_true(instance_is_unhealthy(i));
}

static void answer(size_t k, const struct probe_result *result, bool changed)
{
	struct checker *checker = &i->checks.list[k].checker;

	checker->on_answer(checker->userdata, result, changed);
}

static void test_instance_answers_become_notes_and_verdicts(void **state)
{
	struct probe_result good = {.ok = true, .text = "GET /: 200 OK"};
	struct probe_result bad = {.text = "GET /: 500"};
	struct health *health = &i->checks.list[0].checker.health;

	(void)state;
	run_instance();
	instance_check(i);
	i->checks.list[1].checker.health.state = HEALTH_HEALTHY;
	answer(0, &bad, false);
	assert_notes("probe: GET /: 500 (instance 0)");
	assert_int_equal(n_changes, 0);
	answer(0, &good, false);
	assert_notes("");
	*health = (struct health){.state = HEALTH_HEALTHY, .successes = 2};
	answer(0, &good, true);
	assert_notes("healthy: GET /: 200 OK (instance 0, 2 in a row)");
	assert_int_equal(n_changes, 1);
	assert_true(instance_is_healthy(i));
	/* One failure of a healthy one is nothing yet. */
	answer(0, &bad, false);
	assert_notes("");
	*health = (struct health){.state = HEALTH_UNHEALTHY, .failures = 3};
	answer(0, &bad, true);
	assert_notes("");
	assert_int_equal(n_changes, 2);
	assert_false(instance_is_healthy(i));
	/* If its service has taken it out, and said so, that also says that it is back. */
	i->out_sick = true;
	*health = (struct health){.state = HEALTH_HEALTHY, .successes = 2};
	answer(0, &good, true);
	assert_notes("");
	assert_int_equal(n_changes, 3);
}

static void test_instance_first_bad_answer_is_a_change_until_its_server_is_another(void **state)
{
	struct probe_result bad = {.text = "GET /: 500"};

	(void)state;
	run_instance();
	instance_check(i);
	assert_false(i->told_bad);
	answer(0, &bad, false);
	assert_true(i->told_bad);
	answer(1, &bad, false);
	assert_notes("probe: GET /: 500 (instance 0)\nprobe: GET /: 500 (instance 0)");
	report.pid = 601;
	hear(REPORT_STARTED, 0);
	assert_false(i->told_bad);
}

/* A socket that is not accepted from would leave its clients hanging. */
static void test_instance_answers_of_other_endpoints_are_wanted_for_ever(void **state)
{
	struct probe_result good = {.ok = true, .text = "connected, accepted"};
	struct probe_result bad = {.text = "connected, but nothing accepted"};
	struct checker *other = &i->checks.list[1].checker;

	(void)state;
	run_instance();
	instance_check(i);
	i->checks.list[0].checker.health.state = HEALTH_HEALTHY;
	forget_calls();
	other->on_answer(other->userdata, &bad, false);
	assert_notes("probe: connected, but nothing accepted (instance 0)");
	assert_int_equal(n_changes, 0);
	assert_calls("");
	assert_false(instance_is_healthy(i));
	other->health.state = HEALTH_HEALTHY;
	other->on_answer(other->userdata, &good, true);
	assert_notes("");
	assert_int_equal(n_changes, 1);
	assert_calls("");
	assert_true(instance_is_healthy(i));
	/* Once more than it may be. */
	other->on_answer(other->userdata, &bad, false);
	assert_int_equal(n_changes, 1);
	other->health.state = HEALTH_UNHEALTHY;
	other->on_answer(other->userdata, &bad, true);
	assert_notes("");
	assert_int_equal(n_changes, 2);
	assert_false(instance_is_healthy(i));
	assert_true(instance_is_unhealthy(i));
}

/* Two that ask both endpoints, and what its server says itself. */
static void declare_three(void)
{
	declared[0].unhealthy = 3;
	declared[1] = (struct health_config){
		.kind = HEALTH_KIND_HTTP, .listen = config.listen[1], .healthy = 1, .unhealthy = 1};
	declared[2].kind = HEALTH_KIND_NOTIFY;
	config.health.n = 3;
	reset_instance();
	run_instance();
	instance_check(i);
}

static void verdict(size_t k, enum health_state state, const char *text)
{
	struct probe_result result = {.ok = state == HEALTH_HEALTHY};
	struct checker *checker = &i->checks.list[k].checker;

	snprintf(result.text, sizeof(result.text), "%s", text);
	checker->health.state = state;
	checker->last_ms = 1;
	checker->last = result;
	if (!result.ok) {
		checker->bad = result;
		checker->has_bad = true;
	}
	answer(k, &result, true);
}

static void test_instance_of_several_checks_asks_each_of_its_own_endpoint(void **state)
{
	(void)state;
	declare_three();
	assert_calls("checker_start 0; checker_start 1");
	for (size_t k = 0; k < 2; k++) {
		assert_ptr_equal(targets[k].health, &declared[k]);
		assert_ptr_equal(targets[k].address, &config.listen[k]);
		assert_int_equal(targets[k].sockets[0].cookie, 101 + k);
		assert_true(targets[k].named);
	}
	assert_ptr_equal(targets[1].steer, &endpoint_1);
}

/* A check alone needs no address, unless it asks another one than people expect. */
static void test_instance_of_one_check_names_the_endpoint_that_was_chosen(void **state)
{
	(void)state;
	run_instance();
	instance_check(i);
	assert_false(targets[0].named);
	instance_done(i);
	forget_calls();
	declared[0].listen = config.listen[1];
	reset_instance();
	run_instance();
	instance_check(i);
	assert_true(targets[0].named);
	assert_ptr_equal(targets[0].address, &config.listen[1]);
	/* The other one has its own for ever. */
	assert_int_equal(targets[1].health->kind, HEALTH_KIND_CONNECT);
	assert_ptr_equal(targets[1].address, &config.listen[0]);
}

static void test_instance_of_several_checks_is_healthy_when_all_are(void **state)
{
	(void)state;
	declare_three();
	verdict(0, HEALTH_HEALTHY, "GET /a: 200 OK");
	assert_notes("");
	assert_false(instance_is_healthy(i));
	verdict(1, HEALTH_HEALTHY, "GET /b: 200 OK");
	assert_notes("healthy: GET /b: 200 OK (instance 0, 0 in a row; all 2 checks that ask are "
		     "good)");
	assert_false(instance_is_healthy(i));
	assert_true(instance_awaits_ready(i));
	i->ready = true;
	assert_false(instance_awaits_ready(i));
	assert_true(instance_is_healthy(i));
}

static void test_instance_of_several_checks_is_unhealthy_by_one_in_its_words(void **state)
{
	(void)state;
	declare_three();
	i->ready = true;
	verdict(0, HEALTH_HEALTHY, "GET /a: 200 OK");
	verdict(1, HEALTH_HEALTHY, "GET /b: 200 OK");
	verdict(1, HEALTH_UNHEALTHY, "GET /b: 503");
	assert_true(instance_is_unhealthy(i));
	assert_string_equal(instance_last_answer(i)->text, "GET /b: 503");
	assert_true(instance_check_answer(&i->checks.list[0])->ok);
	assert_null(instance_check_answer(&i->checks.list[2]));
	/* It comes back as it became healthy. */
	forget_calls();
	notes[0] = '\0';
	verdict(1, HEALTH_HEALTHY, "GET /b: 200 OK");
	assert_true(instance_is_healthy(i));
	assert_notes("healthy: GET /b: 200 OK (instance 0, 0 in a row; all 2 checks that ask are "
		     "good)");
}

/* Before its server was ever healthy, whichever is bad is told of. */
static void test_instance_of_several_checks_tells_of_each_that_holds_it_up(void **state)
{
	struct probe_result bad = {.text = "GET /b: 503"};

	(void)state;
	declare_three();
	verdict(0, HEALTH_HEALTHY, "GET /a: 200 OK");
	answer(1, &bad, false);
	assert_notes("probe: GET /b: 503 (instance 0)");
	answer(0, &bad, false);
	assert_notes("probe: GET /b: 503 (instance 0)");
}

/* The next server has to show anew, on each endpoint, that it serves. */
static void test_instance_exit_takes_every_verdict(void **state)
{
	(void)state;
	run_instance();
	i->checks.list[0].checker.health.state = HEALTH_HEALTHY;
	i->checks.list[1].checker.health.state = HEALTH_UNHEALTHY;
	report.restarting = true;
	hear(REPORT_EXITED, 0);
	assert_false(instance_is_unhealthy(i));
	assert_int_equal(i->checks.list[0].checker.health.state, HEALTH_UNKNOWN);
}

/* Nobody waits for it but its agent, which only sees that it runs. */
static void test_instance_started_again_is_to_be_healthy_in_time(void **state)
{
	(void)state;
	config.health.start_timeout_ms = 50;
	run_instance();
	instance_check(i);
	for (int again = 0; again < 2; again++) {
		report.restarting = true;
		hear(REPORT_EXITED, 0);
		report.pid = 601 + again;
		hear(REPORT_STARTED, 0);
		assert_false(instance_is_unhealthy(i));
		for (size_t k = 0; again && k < 2; k++)
			i->checks.list[k].checker.health.state = HEALTH_HEALTHY;
		n_changes = 0;
		drive_until(n_changes == 1);
		assert_int_equal(instance_is_unhealthy(i), !again);
		/* When it is healthy after all, its checks tell. */
		for (size_t k = 0; k < 2; k++)
			i->checks.list[k].checker.health.state = HEALTH_HEALTHY;
		hear(REPORT_NOTIFY, 0);
		i->checks.list[0].checker.health.state = HEALTH_UNKNOWN;
		assert_false(instance_is_unhealthy(i));
	}
}

/* As service_take_over() does; @age_ms: so long the server has run. */
static bool recalled(bool passed, bool initial, uint64_t age_ms)
{
	for (size_t k = 0; k < i->checks.n; k++)
		i->checks.list[k].checker.health = (struct health){};
	i->initial = initial;
	fake_processes.age_ms = age_ms;
	instance_recall_health(i, passed);
	for (size_t k = 0; k < i->checks.n; k++)
		assert_int_equal(i->checks.list[k].checker.health.was_healthy,
				 i->checks.list[0].checker.health.was_healthy);
	assert_false(instance_is_healthy(i));
	assert_false(instance_is_unhealthy(i));
	return i->checks.list[0].checker.health.was_healthy;
}

static void test_instance_taken_over_was_healthy_if_its_server_has_passed(void **state)
{
	(void)state;
	config.health.start_timeout_ms = 60000;
	run_instance();
	fake_processes.pid = i->pid;
	assert_true(recalled(true, true, 0));
	assert_false(recalled(false, true, 59999));
	assert_false(recalled(true, false, 59999));
	/* It has had its time. */
	assert_true(recalled(false, false, 60000));
	assert_true(recalled(true, false, 3600000));
	/* There is none: it is about to be started. */
	i->pid = 0;
	assert_false(recalled(true, true, 0));
}

static void test_instance_taken_over_has_the_rest_of_its_time(void **state)
{
	(void)state;
	config.health.start_timeout_ms = 60000;
	run_instance();
	fake_processes.pid = i->pid;
	assert_false(recalled(true, false, 59950));
	drive_until(n_changes == 1);
	assert_true(instance_is_unhealthy(i));
}

static void test_instance_unhealthy_is_what_was_healthy_once(void **state)
{
	(void)state;
	run_instance();
	for (size_t k = 0; k < 2; k++) {
		assert_false(instance_is_unhealthy(i));
		i->checks.list[k].checker.health.state = HEALTH_UNHEALTHY;
		assert_true(instance_is_unhealthy(i));
		i->checks.list[k].checker.health.state = HEALTH_HEALTHY;
	}
}

static void test_instance_last_answer_is_of_the_check_to_blame(void **state)
{
	(void)state;
	run_instance();
	assert_null(instance_last_answer(i));
	i->checks.list[0].checker.last_ms = 1;
	assert_ptr_equal(instance_last_answer(i), &i->checks.list[0].checker.last);
	i->checks.list[1].checker.last_ms = 2;
	assert_ptr_equal(instance_last_answer(i), &i->checks.list[0].checker.last);
	i->checks.list[0].checker.has_bad = true;
	assert_ptr_equal(instance_last_answer(i), &i->checks.list[0].checker.bad);
	i->checks.list[0].checker.health.state = HEALTH_HEALTHY;
	assert_ptr_equal(instance_last_answer(i), &i->checks.list[1].checker.last);
	i->checks.list[1].checker.health.state = HEALTH_HEALTHY;
	assert_ptr_equal(instance_last_answer(i), &i->checks.list[0].checker.last);
	i->checks.list[0].checker.last_ms = 0;
	assert_ptr_equal(instance_last_answer(i), &i->checks.list[1].checker.last);
	i->checks.list[1].checker.last_ms = 0;
	assert_null(instance_last_answer(i));
}

static void test_instance_healthy_needs_a_server_and_every_endpoint(void **state)
{
	(void)state;
	run_instance();
	i->checks.list[0].checker.health.state = HEALTH_HEALTHY;
	assert_false(instance_is_healthy(i));
	i->checks.list[1].checker.health.state = HEALTH_HEALTHY;
	assert_true(instance_is_healthy(i));
	i->pid = 0;
	assert_false(instance_is_healthy(i));
	i->pid = 600;
	i->phase = INSTANCE_FAILED;
	assert_false(instance_is_healthy(i));
}

/* ---- orders --------------------------------------------------------------------------------- */

static void test_instance_orders_carry_signal_and_timeout(void **state)
{
	(void)state;
	config.drain.signal = SIGQUIT;
	run_instance();
	instance_check(i);
	forget_calls();
	instance_steady(i, true);
	instance_steady(i, false);
	assert_calls("order steady on; order steady off");
	instance_leave(i);
	assert_true(instance_is_leaving(i));
	assert_calls("checker_stop 0; checker_stop 1; order leave signal 3 timeout 1000");
	instance_stop(i);
	assert_true(instance_is_leaving(i));
	/* It was told to drain, but not to stop. */
	assert_calls("order stop signal 15 timeout 5000");
	instance_leave(i);
	instance_stop(i);
	assert_calls("");
}

static void test_instance_reopen_is_an_order_that_is_answered(void **state)
{
	(void)state;
	run_instance();
	i->reopens = true;
	assert_int_equal(instance_reopen(i, 7), 0);
	assert_calls("order reopen signal 0 timeout 0");
	report.serial = 7;
	report.files = 2;
	strcpy(report.stderr_failure, "stderr: /x: Permission denied");
	hear(REPORT_REOPENED, 0);
	assert_int_equal(reopened.serial, 7);
	assert_int_equal(reopened.files, 2);
	assert_string_equal(reopened.stderr_failure, "stderr: /x: Permission denied");
}

static void test_instance_reopen_that_nobody_answers_says_so(void **state)
{
	(void)state;
	run_instance();
	/* It does it, but is of an earlier baton. */
	assert_int_equal(instance_reopen(i, 1), -EOPNOTSUPP);
	assert_calls("order reopen signal 0 timeout 0");
	/* Nobody is there who could. */
	i->lost = true;
	assert_int_equal(instance_reopen(i, 2), -ENOTCONN);
	assert_calls("");
	i->lost = false;
	hear(REPORT_STOPPED, 0);
	forget_calls();
	assert_int_equal(instance_reopen(i, 3), -ESRCH);
	assert_calls("");
}

static void test_instance_hello_says_whether_reopen_is_answered(void **state)
{
	(void)state;
	assert_started();
	report.reopens = true;
	hear_hello();
	assert_true(i->reopens);
}

static void test_instance_agent_keeps_the_beacons_that_there_are(void **state)
{
	(void)state;
	assert_started();
	endpoint_1.beacon = 7;
	report.keeps = true;
	hear_hello();
	assert_non_null(strstr(calls, "order keep with 1"));
	forget_calls();
	endpoint_0.beacon = 8;
	instance_keep_sockets(i);
	assert_calls("order keep with 2");
	endpoint_0.beacon = endpoint_1.beacon = 0;
	instance_keep_sockets(i);
	assert_calls("order keep with 0");
	instance_keep_sockets(i);
	assert_calls("");
	/* One of an earlier daemon, which nobody needs any more; and an agent that knows none. */
	i->kept_set = UINT64_MAX;
	instance_keep_sockets(i);
	assert_calls("order keep with 0");
	/* Where connections wait; another one may have its number by now. */
	endpoint_0.anchor = 8;
	instance_keep_sockets(i);
	assert_calls("order keep with 1");
	instance_keep_sockets(i);
	assert_calls("");
	endpoint_0.anchor = 9;
	instance_keep_sockets(i);
	assert_calls("order keep with 1");
	i->keeps = false;
	endpoint_0.anchor = 0;
	instance_keep_sockets(i);
	assert_calls("");
}

/* For many servers a second SIGTERM means "at once". */
static void test_instance_sigterm_is_not_sent_twice(void **state)
{
	(void)state;
	run_instance();
	instance_leave(i);
	instance_stop(i);
	assert_calls("order leave signal 15 timeout 1000; order stop signal 0 timeout 5000");
}

static void test_instance_stop_without_leave_sends_sigterm(void **state)
{
	(void)state;
	run_instance();
	instance_stop(i);
	assert_calls("order stop signal 15 timeout 5000");
}

/* It is told nothing but to stop: its sockets are shut down where it has to leave at once. */
static void test_instance_that_cannot_drain_is_not_asked_to(void **state)
{
	(void)state;
	config.drain.wait = DRAIN_WAIT_CONNECTIONS;
	run_instance();
	instance_leave(i);
	assert_calls("order leave signal 0 timeout 0");
	instance_stop(i);
	assert_calls("order stop signal 15 timeout 5000");
}

static void test_instance_uncheck_only_ends_the_checks(void **state)
{
	(void)state;
	run_instance();
	instance_check(i);
	forget_calls();
	instance_uncheck(i);
	assert_calls("checker_stop 0; checker_stop 1");
	assert_true(instance_is_serving(i));
	assert_false(instance_is_leaving(i));
}

static void test_instance_order_that_cannot_be_sent_is_survived(void **state)
{
	(void)state;
	run_instance();
	fake_agent.order_error = -EAGAIN;
	instance_leave(i);
	assert_true(instance_is_leaving(i));
	assert_false(instance_has_left(i));
}

static void test_instance_kill_ends_agent_and_cgroup(void **state)
{
	FILE *f;

	(void)state;
	run_instance();
	instance_check(i);
	forget_calls();
	f = fopen(i->socket_path, "w");
	assert_non_null(f);
	fclose(f);
	instance_kill_many(&i, 1);
	/* The agent first: it would start the server again. */
	assert_calls("checker_stop 0; checker_stop 1; kill 500 9; cgroup_kill " CGROUP
		     "; cgroup_wait_empty " CGROUP);
	assert_true(i->killed);
	assert_int_equal(i->exit_signal, SIGKILL);
	assert_true(instance_has_stopped(i));
	assert_true(instance_has_left(i));
	assert_int_equal(i->pid, 0);
	assert_int_equal(access(i->socket_path, F_OK), -1);
	instance_kill_many(&i, 1);
	assert_calls("");
}

/* How it ended is not changed by killing what it left. */
static void test_instance_kill_after_its_server_ended_keeps_the_exit(void **state)
{
	(void)state;
	run_instance();
	report.exit_code = 3;
	hear(REPORT_EXITED, 0);
	instance_kill_many(&i, 1);
	assert_int_equal(i->exit_code, 3);
	assert_int_equal(i->exit_signal, 0);
}

/* A cgroup that is busy goes later; one of the same name that is made before stays. */
static void test_instance_done_leaves_a_busy_cgroup_for_later(void **state)
{
	(void)state;
	assert_int_equal(removals_new(context.event, &context.removals, &err), 0);
	run_instance();
	instance_kill_many(&i, 1);
	fake_cgroup.remove_result = -EBUSY;
	instance_done(i);
	assert_int_equal(removals_left(context.removals), 1);
	reset_instance();
	forget_calls();
	run_instance();
	assert_int_equal(removals_left(context.removals), 0);
	instance_done(i);
	assert_int_equal(removals_left(context.removals), 1);
	fake_cgroup.remove_result = 0;
	drive_until(removals_left(context.removals) == 0);
	removals_free(TAKE_PTR(context.removals));
	reset_instance();
}

static void test_instance_done_removes_the_socket_of_a_stopped_one_only(void **state)
{
	char path[PATHS_MAX];
	FILE *f;

	(void)state;
	run_instance();
	strcpy(path, i->socket_path);
	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
	fake_cgroup.remove_result = -EBUSY;
	instance_done(i);
	assert_int_equal(access(path, F_OK), 0);
	reset_instance();
	i->phase = INSTANCE_STOPPED;
	strcpy(i->socket_path, path);
	instance_done(i);
	assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_instance_started_runs),
		TEST(test_instance_succeeded_goes_on),
		TEST(test_instance_that_could_not_be_started_never_ran),
		TEST(test_instance_that_cannot_be_started_again_says_why),
		TEST(test_instance_asked_keeps_what_it_had_said_by_then),
		TEST(test_instance_asked_that_had_ended_is_told_by_its_exit),
		TEST(test_instance_of_an_older_agent_is_not_asked),
		TEST(test_instance_asked_whose_agent_is_lost_has_no_answer),
		TEST(test_instance_kill_after_its_server_ended_keeps_the_exit),
		TEST(test_instance_done_leaves_a_busy_cgroup_for_later),
		TEST(test_instance_exited_restarting_is_not_failed),
		TEST(test_instance_exited_for_good_is_failed),
		TEST(test_instance_exited_on_a_taken_address_says_what_to_do),
		TEST(test_instance_exited_for_a_file_says_which),
		TEST(test_instance_exited_for_an_address_and_a_lock_says_the_address),
		TEST(test_instance_exited_as_told_is_not_failed),
		TEST(test_instance_exited_while_stopping_is_not_failed),
		TEST(test_instance_notify_is_told_once),
		TEST(test_instance_left_is_out_of_the_group),
		TEST(test_instance_stopped_is_gone),
		TEST(test_instance_report_after_a_kill_changes_nothing),
		TEST(test_instance_leaves_and_stops_unasked),
		TEST(test_instance_left_while_stopping_stays_stopping),
		TEST(test_instance_failed_leaves_and_stops),
		TEST(test_instance_describe_exit_has_status_or_signal),
		TEST(test_instance_check_asks_its_own_slot_as_configured),
		TEST(test_instance_check_asks_other_endpoints_to_accept),
		TEST(test_instance_check_has_nothing_to_ask_of_some),
		TEST(test_instance_check_of_one_that_notifies_is_that_it_accepts),
		TEST(test_instance_answers_become_notes_and_verdicts),
		TEST(test_instance_first_bad_answer_is_a_change_until_its_server_is_another),
		TEST(test_instance_answers_of_other_endpoints_are_wanted_for_ever),
		TEST(test_instance_of_several_checks_asks_each_of_its_own_endpoint),
		TEST(test_instance_of_one_check_names_the_endpoint_that_was_chosen),
		TEST(test_instance_of_several_checks_is_healthy_when_all_are),
		TEST(test_instance_of_several_checks_is_unhealthy_by_one_in_its_words),
		TEST(test_instance_of_several_checks_tells_of_each_that_holds_it_up),
		TEST(test_instance_exit_takes_every_verdict),
		TEST(test_instance_started_again_is_to_be_healthy_in_time),
		TEST(test_instance_taken_over_was_healthy_if_its_server_has_passed),
		TEST(test_instance_taken_over_has_the_rest_of_its_time),
		TEST(test_instance_unhealthy_is_what_was_healthy_once),
		TEST(test_instance_last_answer_is_of_the_check_to_blame),
		TEST(test_instance_healthy_needs_a_server_and_every_endpoint),
		TEST(test_instance_orders_carry_signal_and_timeout),
		TEST(test_instance_reopen_is_an_order_that_is_answered),
		TEST(test_instance_reopen_that_nobody_answers_says_so),
		TEST(test_instance_hello_says_whether_reopen_is_answered),
		TEST(test_instance_agent_keeps_the_beacons_that_there_are),
		TEST(test_instance_sigterm_is_not_sent_twice),
		TEST(test_instance_stop_without_leave_sends_sigterm),
		TEST(test_instance_that_cannot_drain_is_not_asked_to),
		TEST(test_instance_uncheck_only_ends_the_checks),
		TEST(test_instance_order_that_cannot_be_sent_is_survived),
		TEST(test_instance_kill_ends_agent_and_cgroup),
		TEST(test_instance_done_removes_the_socket_of_a_stopped_one_only),
	};
#undef TEST

	return cmocka_run_group_tests_name("instance", tests, NULL, NULL);
}
