/* SPDX-License-Identifier: BSD-2-Clause */
/* One instance without its agent, and one of an earlier daemon's. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "common/handover.h"
#include "tests/unit/instance/instance_fixture.h"

/* Both of its sockets listen, with connections waiting. */
static void listen_on_both(void)
{
	fake_listeners[0] = (struct fake_listener){.port = 80, .cookie = 101, .queued = 3};
	fake_listeners[1] = (struct fake_listener){.port = 81, .cookie = 102, .queued = 4};
	fake_cgroup.populated = 1;
}

/* ---- another agent goes on ------------------------------------------------------------------- */

/* What the agent has written down: its server, pid 600, runs. */
static void write_handover(enum agent_state state)
{
	struct handover handover = {
		.hello = {.type = REPORT_HELLO,
			  .version = PROTOCOL_VERSION,
			  .service = "web",
			  .generation = 2,
			  .agent_pid = 500,
			  .pid = 600,
			  .state = state},
		.started = 7,
	};
	char path[PATHS_MAX];
	cleanup_free char *text = NULL;
	size_t length;
	FILE *spec = tmpfile();

	assert_non_null(spec);
	assert_int_equal(launch_spec_encode(&fake_agent.spec, &text, &length), 0);
	assert_int_equal(fwrite(text, 1, length, spec), length);
	assert_int_equal(fflush(spec), 0);
	assert_int_equal(handover_path(i->socket_path, path), 0);
	if (handover_write(path, &handover, fileno(spec), &err) < 0)
		fail_msg("%s", err.text);
	fclose(spec);
	fake_processes.started = 7;
}

static void hello(enum agent_state state, bool steady)
{
	reset_report();
	report.type = REPORT_HELLO;
	report.agent_pid = 501;
	report.pid = 600;
	report.state = state;
	report.steady = steady;
	report.sockets[0] = (struct report_socket){.cookie = 101, .address = ADDRESS_0};
	report.sockets[1] =
		(struct report_socket){.cookie = 102, .endpoint = 1, .address = ADDRESS_1};
	report.n_sockets = state < AGENT_FAILED ? 2 : 0;
	fake_agent.link->callbacks->on_report(fake_agent.link->userdata, &report, report_fds,
					      report.n_sockets);
}

/* Its link connects to it again, and there must not be two agents of one server. */
static void test_instance_whose_agent_hangs_up_waits_for_it(void **state)
{
	(void)state;
	run_instance();
	instance_steady(i, true);
	write_handover(AGENT_RUNNING);
	i->asked = true;
	forget_calls();
	fake_agent.link->callbacks->on_hung_up(fake_agent.link->userdata);
	assert_calls("");
	assert_false(i->lost);
	assert_false(i->asked);
	assert_true(i->silent_since_ms > 0);
	assert_true(instance_is_serving(i));
	hello(AGENT_RUNNING, true);
	assert_calls("");
	assert_int_equal(i->silent_since_ms, 0);
	assert_int_equal(i->restarts, 0);
	assert_int_equal(i->adoptions, 0);
}

/* It was given orders meanwhile, and its server was started again: nothing of that has arrived. */
static void test_instance_whose_agent_has_hung_up_is_told_what_it_missed(void **state)
{
	(void)state;
	run_instance();
	instance_steady(i, true);
	fake_agent.link->callbacks->on_hung_up(fake_agent.link->userdata);
	i->pid = 599; /* the server before */
	instance_leave(i);
	forget_calls();
	hello(AGENT_RUNNING, true);
	assert_calls("checker_restart 0; checker_restart 1; order leave signal 15 timeout 1000");
	assert_int_equal(i->restarts, 1);
	assert_int_equal(i->phase, INSTANCE_LEAVING);
	fake_agent.link->callbacks->on_hung_up(fake_agent.link->userdata);
	forget_calls();
	hello(AGENT_LEFT, true);
	assert_calls("");
	assert_int_equal(i->phase, INSTANCE_LEFT);
}

static void test_instance_whose_agent_does_not_answer_any_more_gets_another(void **state)
{
	(void)state;
	run_instance();
	instance_steady(i, true);
	write_handover(AGENT_RUNNING);
	fake_agent.link->callbacks->on_hung_up(fake_agent.link->userdata);
	fake_agent.loss = AGENTLINK_GIVEN_UP;
	lose_agent();
	assert_notes("agent-lost: instance 0 has lost its agent (pid 500), which had hung up and "
		     "did not answer any more: its server goes on, and a new agent takes over");
	assert_false(i->lost);
	assert_int_equal(i->silent_since_ms, 0);
}

static void test_instance_whose_agent_is_killed_gets_another(void **state)
{
	char expected[256];

	(void)state;
	run_instance();
	instance_steady(i, true);
	write_handover(AGENT_RUNNING);
	forget_calls();
	lose_agent();
	snprintf(expected, sizeof(expected), "adopt /baton-agent %s for web; agentlink_free",
		 i->socket_path);
	assert_calls(expected);
	assert_notes("agent-lost: instance 0 has lost its agent (pid 500): its server goes on, and "
		     "a new agent takes over");
	assert_false(i->lost);
	assert_false(instance_has_failed(i));
	assert_true(instance_is_serving(i));
	hello(AGENT_RUNNING, false);
	/* It was killed before it had heard that. */
	assert_calls("order steady on");
	assert_notes("agent-replaced: instance 0 has a new agent, pid 501: its server, pid 600, "
		     "is looked after");
	assert_int_equal(i->adoptions, 1);
	assert_int_equal(i->restarts, 0);
	assert_int_equal(i->sockets.n, 2);
	assert_true(instance_is_serving(i));
}

static void test_instance_on_trial_whose_agent_is_killed_has_not_failed(void **state)
{
	(void)state;
	run_instance();
	write_handover(AGENT_RUNNING);
	lose_agent();
	hello(AGENT_RUNNING, false);
	assert_false(instance_has_failed(i));
	assert_true(instance_has_joined(i));
}

static void test_instance_new_agent_is_told_what_the_other_has_not_heard(void **state)
{
	(void)state;
	run_instance();
	write_handover(AGENT_RUNNING);
	instance_leave(i);
	lose_agent();
	forget_calls();
	hello(AGENT_RUNNING, false);
	assert_calls("order leave signal 15 timeout 1000");
	assert_int_equal(i->phase, INSTANCE_LEAVING);
}

static void test_instance_new_agent_is_not_told_twice(void **state)
{
	(void)state;
	run_instance();
	write_handover(AGENT_LEAVING);
	instance_leave(i);
	lose_agent();
	forget_calls();
	hello(AGENT_LEFT, false);
	assert_calls("");
	assert_int_equal(i->phase, INSTANCE_LEFT);
	instance_stop(i);
	/* SIGTERM was the drain signal. */
	assert_calls("order stop signal 0 timeout 5000");
}

/* The new agent hears it after its hello; it was not given to the one that was killed. */
static void test_instance_order_between_the_agents_is_given_once(void **state)
{
	(void)state;
	run_instance();
	write_handover(AGENT_RUNNING);
	lose_agent();
	forget_calls();
	instance_leave(i);
	assert_calls("order leave signal 15 timeout 1000");
	hello(AGENT_RUNNING, false);
	assert_calls("");
}

static void test_instance_whose_new_agent_ends_at_once_is_lost(void **state)
{
	(void)state;
	run_instance();
	instance_steady(i, true);
	write_handover(AGENT_RUNNING);
	fake_cgroup.populated = 1;
	lose_agent();
	notes[0] = '\0';
	lose_agent();
	assert_true(i->lost);
	assert_notes("agent-lost: instance 0 has lost its agent (pid 501), and no other can take "
		     "over: the agent that was to take over has ended");
}

/* The server was about to end when its agent was killed. */
static void test_instance_whose_server_ends_as_it_gets_a_new_agent(void **state)
{
	struct report exited = {.type = REPORT_EXITED,
				.ending = ENDING_UNKNOWN,
				.restarting = true,
				.restart_ms = 100};

	(void)state;
	run_instance();
	instance_steady(i, true);
	write_handover(AGENT_RUNNING);
	lose_agent();
	notes[0] = '\0';
	hello(AGENT_DELAYING, true);
	assert_notes("agent-replaced: instance 0 has a new agent, pid 501: its server has ended");
	fake_agent.link->callbacks->on_report(fake_agent.link->userdata, &exited, NULL, 0);
	assert_notes("exited: instance 0 has ended; started again in 100 ms");
	assert_int_equal(i->restarts, 1);
}

/* Nobody relies on its server yet: both are ended, and the reason is told. */
static void test_instance_whose_first_hello_does_not_fit_has_failed(void **state)
{
	(void)state;
	assert_started();
	fake_cgroup.populated = 1;
	fake_agent.unfit = "pid 500 speaks version 9, this batond speaks versions 1 to 2: that";
	forget_calls();
	fake_agent.link->callbacks->on_lost(fake_agent.link->userdata);
	assert_calls("kill 500 15");
	assert_true(i->lost);
	assert_true(instance_has_failed(i));
	assert_string_equal(i->failure,
			    "its agent cannot be talked to: pid 500 speaks version 9, this batond "
			    "speaks versions 1 to 2: that; if baton-agent and batond were not "
			    "installed together, do that and restart batond");
	assert_notes("");
	fake_cgroup.populated = 0;
	drive_until(instance_has_stopped(i));
	fake_agent.unfit = NULL;
}

/* A server that serves goes on with an agent of this daemon's. */
static void test_instance_whose_later_hello_does_not_fit_gets_another_agent(void **state)
{
	char expected[256];

	(void)state;
	run_instance();
	assert_int_equal(i->protocol, PROTOCOL_VERSION);
	instance_steady(i, true);
	write_handover(AGENT_RUNNING);
	forget_calls();
	fake_agent.unfit = "pid 500 speaks version 9, this batond speaks versions 1 to 2: that";
	fake_agent.link->callbacks->on_lost(fake_agent.link->userdata);
	snprintf(expected, sizeof(expected),
		 "kill 500 9; adopt /baton-agent %s for web; agentlink_free", i->socket_path);
	assert_calls(expected);
	assert_false(i->lost);
	/* If that one does not fit either, the server goes on without. */
	notes[0] = '\0';
	fake_agent.link->callbacks->on_lost(fake_agent.link->userdata);
	assert_true(i->lost);
	assert_notes("agent-lost: instance 0 has lost its agent (pid 501), and no other can take "
		     "over: pid 500 speaks version 9, this batond speaks versions 1 to 2: that");
	fake_agent.unfit = NULL;
}

static void test_instance_whose_agents_are_killed_again_and_again_is_lost(void **state)
{
	(void)state;
	run_instance();
	instance_steady(i, true);
	write_handover(AGENT_RUNNING);
	fake_cgroup.populated = 1;
	for (int k = 0; k < 8; k++) {
		lose_agent();
		assert_false(i->lost);
		hello(AGENT_RUNNING, true);
	}
	notes[0] = '\0';
	lose_agent();
	assert_true(i->lost);
	assert_notes("agent-lost: instance 0 has lost its agent (pid 501), and no other can take "
		     "over: its agents were killed 8 times within 60 s");
}

static void test_instance_whose_server_is_gone_with_its_agent_is_lost(void **state)
{
	(void)state;
	run_instance();
	write_handover(AGENT_RUNNING);
	fake_processes.started = 8; /* that pid is another process */
	lose_agent();
	assert_true(i->lost);
	assert_non_null(strstr(notes, "no other can take over: its server does not run"));
}

/* ---- its agent is lost ---------------------------------------------------------------------- */

static void test_instance_lost_goes_on_serving_while_processes_live(void **state)
{
	(void)state;
	run_instance();
	listen_on_both();
	instance_steady(i, true);
	forget_calls();
	lose_agent();
	assert_true(i->lost);
	assert_false(instance_has_failed(i));
	assert_non_null(strstr(notes, "agent-lost: instance 0 has lost its agent (pid 500), and no "
				      "other can take over: "));
	notes[0] = '\0';
	assert_int_equal(n_changes, 1);
	drive_until(n_changes >= 4); /* it looks again and again */
	assert_true(instance_is_serving(i));
	assert_false(instance_has_stopped(i));
	assert_int_equal(i->pid, 600);
	/* Nobody is there to be given orders. */
	instance_steady(i, false);
	assert_calls("");
	fake_cgroup.populated = 0;
	assert_false(instance_is_serving(i));
	drive_until(instance_has_stopped(i));
	assert_true(instance_has_left(i));
	assert_true(instance_has_failed(i));
	assert_int_equal(i->pid, 0);
	assert_string_equal(i->failure, "its processes are gone");
}

static void test_instance_lost_before_it_joined_has_failed(void **state)
{
	(void)state;
	assert_started();
	fake_cgroup.populated = 1;
	lose_agent();
	assert_true(instance_has_failed(i));
	assert_string_equal(i->failure, "lost its agent");
}

/* One that has yet to prove itself must not begin without somebody to start it again. */
static void test_instance_lost_before_it_is_steady_has_failed(void **state)
{
	(void)state;
	run_instance();
	listen_on_both();
	instance_check(i);
	instance_steady(i, true);
	instance_steady(i, false);
	forget_calls();
	lose_agent();
	assert_true(instance_has_failed(i));
	assert_false(instance_is_serving(i));
	assert_calls("checker_stop 0; checker_stop 1");
}

static void test_instance_lost_on_its_way_out_has_not_failed(void **state)
{
	(void)state;
	run_instance();
	listen_on_both();
	instance_leave(i);
	lose_agent();
	assert_false(instance_has_failed(i));
	assert_false(instance_has_left(i));
}

/* Nobody tells of sockets that its server closes: they are looked for. */
static void test_instance_lost_follows_its_sockets(void **state)
{
	(void)state;
	run_instance();
	listen_on_both();
	fake_cgroup.populated = 1;
	instance_steady(i, true);
	instance_check(i);
	lose_agent();
	drive_until(n_changes >= 2);
	assert_int_equal(i->sockets.n, 2);
	fake_listener_find(81, 102)->cookie = 0;
	forget_calls();
	drive_until(i->sockets.n == 1);
	assert_calls("checker_retarget 0 x1; checker_retarget 1 x0");
	assert_int_equal(i->sockets.list[0].cookie, 101);
	drive_until(instance_is_unhealthy(i));
	assert_string_equal(instance_last_answer(i)->text,
			    "nothing of it listens on " ADDRESS_1
			    " any more: its server has closed the socket");
}

/* Not being able to look is not seeing none. */
static void test_instance_lost_with_unreadable_cgroup_is_not_gone(void **state)
{
	(void)state;
	config.drain.kill_timeout_ms = 40;
	run_instance();
	listen_on_both();
	fake_cgroup.populated = -EIO;
	instance_steady(i, true);
	forget_calls();
	lose_agent();
	drive_until(n_changes >= 3);
	assert_false(instance_has_stopped(i));
	assert_false(instance_has_exited(i));
	assert_true(instance_is_serving(i));
	/* Its pid may be somebody else's: no signal before SIGKILL, which is for its cgroup. */
	instance_stop(i);
	assert_calls("");
	drive_until(i->killed);
	assert_memory_equal(calls, "cgroup_kill " CGROUP, strlen("cgroup_kill " CGROUP));
	assert_false(instance_has_stopped(i));
	fake_cgroup.populated = 0;
	drive_until(instance_has_stopped(i));
	assert_true(instance_has_failed(i));
}

/* A listener that cannot be asked about may be open: its deadline ends the waiting. */
static void test_instance_lost_with_unreadable_listeners_leaves_at_the_deadline(void **state)
{
	(void)state;
	config.drain.leave_timeout_ms = 60000;
	run_instance();
	listen_on_both();
	fake_listeners[0].error = fake_listeners[1].error = -ENOBUFS;
	lose_agent();
	instance_leave(i);
	n_changes = 0;
	drive_until(n_changes >= 3);
	assert_false(instance_has_left(i));
	i->lost_deadline_ms = clock_monotonic_ms();
	drive_until(instance_has_left(i));
}

/* Its timer may come once more. */
static void test_instance_lost_and_killed_stays_stopped(void **state)
{
	(void)state;
	run_instance();
	listen_on_both();
	lose_agent();
	instance_kill_many(&i, 1);
	n_changes = 0;
	assert_true(sd_event_run(context.event, 60 * 1000) >= 0);
	assert_int_equal(n_changes, 0);
	assert_int_equal(i->phase, INSTANCE_STOPPED);
}

static void test_instance_lost_is_told_to_leave_by_signal(void **state)
{
	(void)state;
	config.drain.signal = SIGQUIT;
	config.drain.leave_timeout_ms = 60000;
	run_instance();
	listen_on_both();
	lose_agent();
	instance_leave(i);
	assert_calls("kill 600 3");
	fake_listeners[0].cookie = 0; /* closes one of the two */
	n_changes = 0;
	drive_until(n_changes >= 3);
	assert_false(instance_has_left(i));
	fake_listeners[1].cookie = 0;
	drive_until(instance_has_left(i));
	assert_false(i->forced);
	assert_false(instance_has_stopped(i));
	assert_calls("");
}

/* While nothing is asked of it, it is looked at rarely; then at once. */
static void test_instance_lost_is_looked_at_as_soon_as_it_is_told(void **state)
{
	uint64_t next;

	(void)state;
	run_instance();
	listen_on_both();
	instance_steady(i, true);
	lose_agent();
	drive_until(n_changes >= 2);
	assert_int_equal(sd_event_source_get_time(i->lost_timer, &next), 0);
	assert_true(next > clock_monotonic_ms() * 1000 + 100 * 1000);
	instance_leave(i);
	assert_int_equal(sd_event_source_get_time(i->lost_timer, &next), 0);
	assert_true(next <= (clock_monotonic_ms() + 1) * 1000);
	n_changes = 0;
	drive_until(n_changes >= 1);
	instance_stop(i);
	assert_int_equal(sd_event_source_get_time(i->lost_timer, &next), 0);
	assert_true(next <= (clock_monotonic_ms() + 1) * 1000);
}

static void test_instance_lost_that_does_not_leave_is_shut_down(void **state)
{
	(void)state;
	config.drain.leave_timeout_ms = 40;
	run_instance();
	listen_on_both();
	fake_listeners[1].cookie = 0;
	lose_agent();
	instance_leave(i);
	assert_calls("kill 600 15");
	drive_until(instance_has_left(i));
	assert_true(clock_monotonic_ms() >= i->lost_deadline_ms);
	assert_calls("destroy 80 101");
	assert_true(i->forced);
	assert_false(instance_has_stopped(i));
}

/* A deadline is a deadline. */
static void test_instance_lost_that_cannot_be_shut_down_has_left(void **state)
{
	(void)state;
	config.drain.leave_timeout_ms = 0;
	run_instance();
	listen_on_both();
	fake_listeners[0].cannot_be_destroyed = fake_listeners[1].cannot_be_destroyed = true;
	lose_agent();
	instance_leave(i);
	forget_calls();
	drive_until(instance_has_left(i));
	assert_calls("destroy 80 101; destroy 81 102");
	assert_false(i->forced);
}

static void test_instance_lost_without_processes_gets_no_signal(void **state)
{
	(void)state;
	run_instance();
	fake_cgroup.populated = 0;
	lose_agent();
	/* The pid may be somebody else's by now. */
	instance_leave(i);
	instance_stop(i);
	assert_calls("");
	drive_until(instance_has_stopped(i));
	assert_false(i->killed);
}

static void test_instance_lost_is_stopped_then_killed(void **state)
{
	(void)state;
	config.drain.kill_timeout_ms = 40;
	run_instance();
	listen_on_both();
	lose_agent();
	instance_stop(i);
	assert_calls("kill 600 15");
	drive_until(i->killed);
	assert_true(clock_monotonic_ms() >= i->lost_deadline_ms);
	assert_false(instance_has_stopped(i));
	assert_non_null(strstr(calls, "cgroup_kill " CGROUP));
	fake_cgroup.populated = 0;
	drive_until(instance_has_stopped(i));
	assert_true(instance_has_left(i));
}

static void test_instance_lost_gets_sigterm_once(void **state)
{
	(void)state;
	run_instance();
	listen_on_both();
	lose_agent();
	instance_leave(i);
	instance_stop(i);
	assert_calls("kill 600 15");
}

static void test_instance_lost_is_killed_without_agent(void **state)
{
	(void)state;
	run_instance();
	listen_on_both();
	lose_agent();
	instance_kill_many(&i, 1);
	assert_calls("cgroup_kill " CGROUP "; cgroup_wait_empty " CGROUP);
	assert_true(instance_has_stopped(i));
}

static void test_instance_done_ends_the_watch(void **state)
{
	(void)state;
	run_instance();
	listen_on_both();
	lose_agent();
	instance_done(i);
	n_changes = 0;
	assert_int_equal(sd_event_run(context.event, 60 * 1000), 0); /* longer than a poll */
	assert_int_equal(n_changes, 0);
	reset_instance();
}

/* ---- and there is no cgroup ----------------------------------------------------------------- */

/* Without privileges: processes are known as the agent's descendants, while there is an agent. */
static void run_without_cgroup(void)
{
	context.cgroup_base[0] = '\0';
	assert_int_equal(instance_start(i, &release, &err), 0);
	hear_hello();
	report.pid = 600;
	hear(REPORT_STARTED, 0);
	fake_listeners[0] = (struct fake_listener){.port = 80, .cookie = 101};
	fake_listeners[1] = (struct fake_listener){.port = 81, .cookie = 102};
	fake_processes.any = 1;
	forget_calls();
	notes[0] = '\0';
}

static void test_instance_without_cgroup_has_exited_with_its_last_process(void **state)
{
	(void)state;
	run_without_cgroup();
	i->pid = 0; /* a worker may be left behind */
	assert_false(instance_has_exited(i));
	fake_processes.any = -EIO; /* not being able to look is not seeing none */
	assert_false(instance_has_exited(i));
	fake_processes.any = 0;
	assert_true(instance_has_exited(i));
}

static void test_instance_without_cgroup_is_killed_before_its_agent(void **state)
{
	(void)state;
	run_without_cgroup();
	instance_kill_many(&i, 1);
	/* Then nothing would be the agent's descendant any more. */
	assert_calls("processes_kill below 500; kill 500 9");
	assert_true(instance_has_stopped(i));
}

/* Nobody knows what it has forked: the main process stands for all of them. */
static void test_instance_lost_without_cgroup_is_its_main_process(void **state)
{
	(void)state;
	run_without_cgroup();
	instance_steady(i, true);
	fake_processes.any = 0;
	lose_agent();
	assert_true(instance_is_serving(i));
	assert_false(instance_has_exited(i));
	n_changes = 0;
	drive_until(n_changes >= 2);
	assert_false(instance_has_stopped(i));
	fake_gone_pid = 600;
	drive_until(instance_has_stopped(i));
	assert_true(instance_has_failed(i));
	assert_false(instance_is_serving(i));
}

/* The agent's pid may be somebody else's by now: nobody is looked for below it. */
static void test_instance_lost_without_cgroup_forgets_its_processes(void **state)
{
	uint64_t live;

	(void)state;
	run_without_cgroup();
	lose_agent();
	assert_int_equal(fake_processes.n_alive, 0);
	fake_connections[0].port = 80;
	fake_connections[1].port = 81;
	assert_int_equal(instance_live(i, &live), -ENODATA); /* which is not "none" */
	assert_int_equal(instance_busy(i, 10, &live), -ENODATA);
}

static void test_instance_lost_without_cgroup_is_killed_by_pid(void **state)
{
	(void)state;
	run_without_cgroup();
	lose_agent();
	instance_kill_many(&i, 1);
	assert_calls("kill 600 9");
	assert_true(instance_has_stopped(i));
}

/* The server ended, and its pid was given again, before its agent's report was read. */
static void test_instance_lost_never_signals_a_pid_of_somebody_else(void **state)
{
	(void)state;
	fake_processes.stranger = 600;
	run_without_cgroup();
	lose_agent();
	instance_stop(i);
	instance_kill_many(&i, 1);
	assert_calls("");
	assert_true(instance_has_stopped(i));
	fake_processes.stranger = 0;
}

static void test_instance_lost_without_cgroup_is_stopped_then_killed(void **state)
{
	(void)state;
	config.drain.kill_timeout_ms = 40;
	run_without_cgroup();
	lose_agent();
	instance_stop(i);
	assert_calls("kill 600 15");
	drive_until(i->killed);
	assert_memory_equal(calls, "kill 600 9", 10);
	fake_gone_pid = 600;
	drive_until(instance_has_stopped(i));
}

/* ---- of an earlier daemon ------------------------------------------------------------------- */

static struct takeover_agent agent;

static void take_over(enum agent_state agent_state)
{
	agent = (struct takeover_agent){
		.link = fake_agent_link(501),
		.hello = {.type = REPORT_HELLO,
			  .generation = 2,
			  .instance = 5,
			  .state = agent_state,
			  .pid = 600,
			  .ready = true,
			  .tail = "said before\n"},
		.fds = {1, 2},
		.n_fds = 2,
		.spec = {.instance = 5, .cgroup = folder},
	};
	add_sockets(&agent.hello);
	snprintf(agent.socket_path, sizeof(agent.socket_path), "%s/web.2.5.sock", folder);
	instance_take_over(i, &agent);
}

static void test_instance_take_over_takes_over_a_running_one(void **state)
{
	struct stat st;

	(void)state;
	take_over(AGENT_RUNNING);
	assert_null(agent.link);
	assert_non_null(i->link);
	assert_calls("join " ADDRESS_0 " fd 1 slot 4; join " ADDRESS_1 " fd 2 slot 6; listen");
	assert_ptr_equal(fake_agent.link, i->link);
	assert_int_equal(i->index, 5);
	assert_string_equal(i->socket_path, agent.socket_path);
	assert_string_equal(i->cgroup, folder);
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(i->cgroup_id, st.st_ino);
	assert_int_equal(i->agent_said, AGENT_RUNNING);
	assert_int_equal(i->pid, 600);
	assert_true(i->ready);
	assert_true(instance_has_joined(i));
	assert_string_equal(i->tail, "said before\n");
	assert_true(instance_is_serving(i));
	assert_int_equal(n_changes, 0);          /* its service asks anyway */
	assert_int_equal(i->processes->root, 0); /* by its cgroup */
	/* From now on it is heard. */
	report.exit_code = 1;
	hear(REPORT_EXITED, 0);
	assert_true(instance_has_failed(i));
}

/* It has served, also where it has lost a socket since. */
static void test_instance_take_over_of_a_steady_one_has_joined(void **state)
{
	(void)state;
	agent = (struct takeover_agent){
		.link = fake_agent_link(501),
		.hello = {.type = REPORT_HELLO,
			  .generation = 2,
			  .state = AGENT_RUNNING,
			  .steady = true,
			  .pid = 600,
			  .n_sockets = 1,
			  .sockets = {{.cookie = 101, .address = ADDRESS_0}}},
		.fds = {1},
		.n_fds = 1,
		.spec = {.cgroup = folder},
	};
	instance_take_over(i, &agent);
	assert_true(i->steady);
	assert_true(instance_has_joined(i));
	assert_int_equal(i->sockets.n, 1);
	assert_true(instance_is_serving(i));
	drive_until(instance_is_unhealthy(i));
}

/* Where each state of the agent leaves the instance. */
static void test_instance_take_over_states(void **state)
{
	static const struct {
		enum agent_state state;
		enum instance_phase phase;
	} cases[] = {
		{AGENT_STARTING, INSTANCE_JOINED},   {AGENT_RUNNING, INSTANCE_JOINED},
		{AGENT_DELAYING, INSTANCE_JOINED},   {AGENT_FAILED, INSTANCE_FAILED},
		{AGENT_LEAVING, INSTANCE_LEAVING},   {AGENT_LEFT, INSTANCE_LEFT},
		{AGENT_STOPPING, INSTANCE_STOPPING}, {AGENT_KILLING, INSTANCE_STOPPING},
		{AGENT_STOPPED, INSTANCE_STOPPED},
	};

	(void)state;
	assert_int_equal(sizeof(cases) / sizeof(cases[0]), _AGENT_STATE_COUNT);
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		bool joins = cases[k].phase == INSTANCE_JOINED;

		take_over(cases[k].state);
		assert_int_equal(i->agent_said, cases[k].state);
		assert_int_equal(i->phase, cases[k].phase);
		assert_int_equal(instance_has_joined(i), joins);
		assert_int_equal(i->pid, 600);
		/* Sockets that are about to close join nothing. */
		assert_int_equal(strstr(calls, "join") != NULL, joins);
		instance_done(i);
		forget_calls();
		reset_instance();
	}
}

/* What it has been told already it is not told again. */
static void test_instance_take_over_leaving_one_goes_on_with_stop(void **state)
{
	(void)state;
	take_over(AGENT_LEAVING);
	forget_calls();
	instance_leave(i);
	assert_calls("");
	hear(REPORT_LEFT, 0);
	assert_true(instance_has_left(i));
	instance_stop(i);
	assert_calls("order stop signal 0 timeout 5000");
	instance_check(i);
	assert_calls("");
}

static void test_instance_take_over_with_foreign_sockets_has_failed(void **state)
{
	(void)state;
	agent = (struct takeover_agent){.link = fake_agent_link(501), .fds = {1, 2}, .n_fds = 2};
	add_sockets(&agent.hello);
	agent.hello.sockets[1].cookie = 7;
	agent.hello.state = AGENT_RUNNING;
	instance_take_over(i, &agent);
	assert_true(instance_has_failed(i));
	assert_false(instance_has_joined(i));
	assert_string_equal(i->failure,
			    "the agent's socket for " ADDRESS_1 " is not the one it names");
	assert_calls("join " ADDRESS_0 " fd 1 slot 4; release " ADDRESS_0 " slot 4; listen");
	assert_string_equal(i->cgroup, "");
	assert_int_equal(i->cgroup_id, 0);
}

static void test_instance_take_over_without_cgroup_follows_the_agents_descendants(void **state)
{
	(void)state;
	agent = (struct takeover_agent){
		.link = fake_agent_link(501),
		.hello = {.agent_pid = 501, .state = AGENT_LEFT},
	};
	instance_take_over(i, &agent);
	assert_string_equal(i->cgroup, "");
	assert_int_equal(i->processes->root, 501);
}

/* What an agent of an earlier version does not say. */
static void test_instance_take_over_takes_the_sets_serial(void **state)
{
	(void)state;
	take_over(AGENT_RUNNING);
	assert_int_equal(i->sockets_serial, 0);
	add_socket(0, 104);
	add_socket(1, 102);
	report.serial = 9;
	hear(REPORT_SOCKETS, 2);
	assert_int_equal(i->sockets_serial, 9);
}

static void test_instance_take_over_without_cgroup_folder_has_no_id(void **state)
{
	uint64_t live;

	(void)state;
	agent = (struct takeover_agent){
		.link = fake_agent_link(501),
		.spec = {.cgroup = (char *)"/no/such/cgroup"},
		.hello = {.state = AGENT_LEFT},
	};
	instance_take_over(i, &agent);
	assert_string_equal(i->cgroup, "/no/such/cgroup");
	assert_int_equal(i->cgroup_id, 0);
	/* Which would be the connections of every cgroup. */
	fake_connections[0].port = 80;
	fake_connections[0].live = 1000;
	fake_connections[1].port = 81;
	assert_int_equal(instance_live(i, &live), 0);
	assert_int_equal(live, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_instance_whose_agent_hangs_up_waits_for_it),
		TEST(test_instance_whose_agent_has_hung_up_is_told_what_it_missed),
		TEST(test_instance_whose_agent_does_not_answer_any_more_gets_another),
		TEST(test_instance_whose_agent_is_killed_gets_another),
		TEST(test_instance_on_trial_whose_agent_is_killed_has_not_failed),
		TEST(test_instance_new_agent_is_told_what_the_other_has_not_heard),
		TEST(test_instance_new_agent_is_not_told_twice),
		TEST(test_instance_order_between_the_agents_is_given_once),
		TEST(test_instance_whose_new_agent_ends_at_once_is_lost),
		TEST(test_instance_whose_server_ends_as_it_gets_a_new_agent),
		TEST(test_instance_whose_first_hello_does_not_fit_has_failed),
		TEST(test_instance_whose_later_hello_does_not_fit_gets_another_agent),
		TEST(test_instance_whose_agents_are_killed_again_and_again_is_lost),
		TEST(test_instance_whose_server_is_gone_with_its_agent_is_lost),
		TEST(test_instance_lost_goes_on_serving_while_processes_live),
		TEST(test_instance_lost_before_it_joined_has_failed),
		TEST(test_instance_lost_before_it_is_steady_has_failed),
		TEST(test_instance_lost_on_its_way_out_has_not_failed),
		TEST(test_instance_lost_follows_its_sockets),
		TEST(test_instance_lost_with_unreadable_cgroup_is_not_gone),
		TEST(test_instance_lost_with_unreadable_listeners_leaves_at_the_deadline),
		TEST(test_instance_lost_and_killed_stays_stopped),
		TEST(test_instance_lost_is_told_to_leave_by_signal),
		TEST(test_instance_lost_is_looked_at_as_soon_as_it_is_told),
		TEST(test_instance_lost_that_does_not_leave_is_shut_down),
		TEST(test_instance_lost_that_cannot_be_shut_down_has_left),
		TEST(test_instance_lost_without_processes_gets_no_signal),
		TEST(test_instance_lost_is_stopped_then_killed),
		TEST(test_instance_lost_gets_sigterm_once),
		TEST(test_instance_lost_is_killed_without_agent),
		TEST(test_instance_done_ends_the_watch),
		TEST(test_instance_without_cgroup_has_exited_with_its_last_process),
		TEST(test_instance_without_cgroup_is_killed_before_its_agent),
		TEST(test_instance_lost_without_cgroup_is_its_main_process),
		TEST(test_instance_lost_without_cgroup_forgets_its_processes),
		TEST(test_instance_lost_without_cgroup_is_killed_by_pid),
		TEST(test_instance_lost_never_signals_a_pid_of_somebody_else),
		TEST(test_instance_lost_without_cgroup_is_stopped_then_killed),
		TEST(test_instance_take_over_takes_over_a_running_one),
		TEST(test_instance_take_over_of_a_steady_one_has_joined),
		TEST(test_instance_take_over_states),
		TEST(test_instance_take_over_leaving_one_goes_on_with_stop),
		TEST(test_instance_take_over_with_foreign_sockets_has_failed),
		TEST(test_instance_take_over_without_cgroup_follows_the_agents_descendants),
		TEST(test_instance_take_over_takes_the_sets_serial),
		TEST(test_instance_take_over_without_cgroup_folder_has_no_id),
	};
#undef TEST

	return cmocka_run_group_tests_name("instance alone", tests, NULL, NULL);
}
