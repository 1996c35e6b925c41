/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/utsname.h>

#include "tests/unit/agent/agent_fixture.h"

/* ---- leaving -------------------------------------------------------------------------------- */

static void test_agent_leave_native_server_that_closes_is_not_forced(void **data)
{
	struct fixture *fixture = *data;

	start(fixture, "s = bind(7001)\n"
		       "signal.signal(signal.SIGUSR1, lambda *_: s.close())\n"
		       "while True:\n"
		       "    time.sleep(0.1)\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	fixture_close_set(fixture);
	order_leave(fixture, SIGUSR1, 10000);
	await_heard(fixture, REPORT_LEFT, 1);
	assert_false(fixture->heard[REPORT_LEFT].forced);
	assert_int_equal(open_connection(ADDRESS), -ECONNREFUSED);
	assert_true(exists(fixture->pid));
}

static void test_agent_leave_native_server_that_does_not_close_is_forced(void **data)
{
	struct fixture *fixture = *data;

	/* One that only sleeps: poll(2) and accept(2) would tell it of what has happened. */
	start(fixture, "s = [bind(7001), bind(7001)]\ntime.sleep(1000)\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 2);
	fixture_close_set(fixture);
	order_leave(fixture, 0, 100);
	await_heard(fixture, REPORT_LEFT, 1);
	assert_true(fixture->heard[REPORT_LEFT].forced);
	assert_int_equal(open_connection(ADDRESS), -ECONNREFUSED);
	assert_true(exists(fixture->pid));
}

/* What it has bound since it was looked at last must not stay in the group. */
static void test_agent_leave_finds_what_was_bound_a_moment_ago(void **data)
{
	struct fixture *fixture = *data;

	start(fixture, "s = [bind(7001)]\n"
		       "signal.signal(signal.SIGUSR1, lambda *_: s.append(bind(7001)))\n"
		       "while True:\n"
		       "    time.sleep(0.1)\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	fixture_close_set(fixture);
	/* Stopped, so that it cannot look before the order is there. */
	kill(fixture->agent, SIGSTOP);
	kill(fixture->pid, SIGUSR1);
	order_leave(fixture, 0, 100);
	AWAIT(fixture, count_listening() == 2);
	kill(fixture->agent, SIGCONT);
	await_heard(fixture, REPORT_LEFT, 1);
	assert_true(fixture->heard[REPORT_LEFT].forced);
	assert_int_equal(open_connection(ADDRESS), -ECONNREFUSED);
}

/* The passed socket, which the server has open and never uses, is no reason to force anything. */
static void test_agent_leave_auto_unused_passed_socket_is_let_go(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.mode = SOCKETS_AUTO;
	start(fixture, "s = bind(7001)\n"
		       "signal.signal(signal.SIGUSR1, lambda *_: s.close())\n"
		       "while True:\n"
		       "    time.sleep(0.1)\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1 && count_set(fixture, 0, false) == 0);
	fixture_close_set(fixture);
	/* Not even a release came before. */
	order_leave(fixture, SIGUSR1, 10000);
	await_heard(fixture, REPORT_LEFT, 1);
	assert_false(fixture->heard[REPORT_LEFT].forced);
	assert_int_equal(open_connection(ADDRESS), -ECONNREFUSED);
}

static void test_agent_leave_dead_server_lets_go_of_its_sockets(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.restart_delay_ms = fixture->spec.restart_delay_max_ms = 60000;
	start(fixture, "serve([bind(7001)])\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	order_steady(fixture);
	kill(fixture->pid, SIGKILL);
	await_heard(fixture, REPORT_EXITED, 1);
	fixture_close_set(fixture);
	order_leave(fixture, 0, 10000);
	await_heard(fixture, REPORT_LEFT, 1);
	assert_int_equal(open_connection(ADDRESS), -ECONNREFUSED);
}

/* ---- daemons -------------------------------------------------------------------------------- */

static void test_agent_daemon_is_followed(void **data)
{
	struct fixture *fixture = *data;
	pid_t pid;

	start(fixture, "daemonise()\nserve([bind(7001)])\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	pid = ask(fixture, ADDRESS, NULL);
	assert_true(pid > 0);
	AWAIT(fixture, fixture->pid == pid);
	assert_int_equal(fixture->n_heard[REPORT_EXITED], 0);
	/* It is the main process in all that counts: its signals, and its exit. */
	order_steady(fixture);
	kill(pid, SIGTERM);
	await_heard(fixture, REPORT_EXITED, 1);
	assert_int_equal(fixture->heard[REPORT_EXITED].exit_signal, SIGTERM);
	assert_true(fixture->heard[REPORT_EXITED].restarting);
	AWAIT(fixture, fixture->pid != pid && exists(fixture->pid));
}

static void freeze(const struct fixture *fixture, bool on)
{
	char path[CGROUP_PATH_MAX + 32];
	FILE *file;

	snprintf(path, sizeof(path), "%s/cgroup.freeze", fixture->cgroup);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fputs(on ? "1" : "0", file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* What begins in a frozen cgroup does not get as far as exec. */
static void test_agent_answers_while_its_server_hangs_before_exec(void **data)
{
	struct fixture *fixture = *data;
	unsigned exits, told = 0;
	pid_t pid;

	if (!fixture->cgroup[0])
		skip();
	fixture->spec.restart_max = 64;
	start(fixture, "serve([bind(7001)])\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	order_steady(fixture);
	freeze(fixture, true);
	pid = fixture->pid;
	kill(pid, SIGKILL);
	await_heard(fixture, REPORT_EXITED, 1);
	/* It is given up after five seconds, and tried again: that is an exit, too. */
	do {
		AWAIT(fixture, cgroup_populated(fixture->cgroup) == 1);
		exits = fixture->n_heard[REPORT_EXITED];
		order(fixture, &(struct order){.type = ORDER_TELL});
		await_heard(fixture, REPORT_TOLD, ++told);
	} while (fixture->n_heard[REPORT_EXITED] != exits && told < 10);
	assert_int_equal(fixture->n_heard[REPORT_EXITED], exits);
	freeze(fixture, false);
	AWAIT(fixture, fixture->pid != pid && exists(fixture->pid));
}

/* The next batond asks whether the server is the one that has passed the checks. */
static void test_agent_says_whether_the_server_is_the_first(void **data)
{
	struct fixture *fixture = *data;
	pid_t pid;

	start(fixture, "serve([bind(7001)])\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	order_steady(fixture);
	fixture_connect(fixture);
	assert_true(fixture->heard[REPORT_HELLO].initial);
	pid = fixture->pid;
	kill(pid, SIGKILL);
	AWAIT(fixture, fixture->pid != pid && exists(fixture->pid));
	fixture_connect(fixture);
	assert_false(fixture->heard[REPORT_HELLO].initial);
}

static void test_agent_daemon_gets_the_stop_signal(void **data)
{
	struct fixture *fixture = *data;
	pid_t pid;

	start(fixture, "daemonise()\n"
		       "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))\n"
		       "serve([bind(7001)])\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	pid = ask(fixture, ADDRESS, NULL);
	AWAIT(fixture, fixture->pid == pid);
	order(fixture,
	      &(struct order){.type = ORDER_STOP, .signal = SIGTERM, .timeout_ms = DEADLINE_MS});
	await_heard(fixture, REPORT_STOPPED, 1);
	/* Whoever hears that may start another agent at that path. */
	assert_int_equal(access(fixture->path, F_OK), -1);
	assert_int_equal(fixture->heard[REPORT_STOPPED].exit_code, 7);
	assert_false(fixture->heard[REPORT_STOPPED].killed);
}

static void test_agent_server_that_fails_and_leaves_a_child_has_exited(void **data)
{
	struct fixture *fixture = *data;
	pid_t child = 0;

	start(fixture, "pid = os.fork()\n"
		       "if pid == 0:\n"
		       "    time.sleep(1000)\n"
		       "print(pid, file=sys.stderr)\n"
		       "os._exit(3)\n");
	await_heard(fixture, REPORT_EXITED, 1);
	assert_int_equal(fixture->heard[REPORT_EXITED].exit_code, 3);
	assert_false(fixture->heard[REPORT_EXITED].restarting);
	child = (pid_t)strtol(fixture->heard[REPORT_EXITED].tail, NULL, 10);
	assert_true(child > 0);
	AWAIT(fixture, !exists(child));
}

/* Both are there when the agent looks: the order is the older. */
static void test_agent_order_given_before_the_end_counts(void **data)
{
	struct fixture *fixture = *data;

	start(fixture, "time.sleep(1000)\n");
	await_heard(fixture, REPORT_STARTED, 1);
	kill(fixture->agent, SIGSTOP);
	order_steady(fixture);
	kill(fixture->pid, SIGKILL);
	AWAIT(fixture, fixture_is_zombie(fixture->pid));
	kill(fixture->agent, SIGCONT);
	await_heard(fixture, REPORT_EXITED, 1);
	assert_true(fixture->heard[REPORT_EXITED].restarting);
	await_heard(fixture, REPORT_STARTED, 2);
}

/* A helper of one that has served already is no server. */
static void test_agent_server_that_has_served_and_leaves_a_child_has_exited(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.mode = SOCKETS_AUTO;
	start(fixture, "if os.fork() == 0:\n"
		       "    time.sleep(1000)\n"
		       "signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))\n"
		       "ready()\n"
		       "serve(passed())\n");
	await_heard(fixture, REPORT_NOTIFY, 1);
	order_steady(fixture);
	kill(fixture->pid, SIGUSR1);
	await_heard(fixture, REPORT_EXITED, 1);
	assert_true(fixture->heard[REPORT_EXITED].restarting);
	await_heard(fixture, REPORT_STARTED, 2);
}

/* It says READY=1 before its parent ends. */
static void test_agent_daemon_that_has_served_is_followed_by_its_socket(void **data)
{
	struct fixture *fixture = *data;
	pid_t pid;

	start(fixture, "s = bind(7001)\n"
		       "signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))\n"
		       "if os.fork() == 0:\n"
		       "    ready()\n"
		       "    serve([s])\n"
		       "while True:\n"
		       "    time.sleep(0.1)\n");
	await_heard(fixture, REPORT_NOTIFY, 1);
	pid = ask(fixture, ADDRESS, NULL);
	assert_int_not_equal(pid, fixture->pid);
	kill(fixture->pid, SIGUSR1);
	AWAIT(fixture, fixture->pid == pid);
	assert_int_equal(fixture->n_heard[REPORT_EXITED], 0);
}

static void test_agent_server_that_leaves_nobody_behind_has_exited(void **data)
{
	struct fixture *fixture = *data;

	start(fixture, "pass\n");
	await_heard(fixture, REPORT_EXITED, 1);
	assert_int_equal(fixture->heard[REPORT_EXITED].exit_code, 0);
	assert_string_equal(fixture->heard[REPORT_EXITED].text, "");
}

/* ---- listening later ------------------------------------------------------------------------ */

static void start_later(struct fixture *fixture, enum socket_mode mode, uint32_t delay_ms,
			const char *script)
{
	fixture->spec.mode = mode;
	fixture->spec.listen_later = true;
	fixture->spec.listen_delay_ms = delay_ms;
	start(fixture, script);
	assert_int_equal(fixture->set.report.n_sockets, 0);
}

static void test_agent_later_server_that_listens_itself_is_reported(void **data)
{
	struct fixture *fixture = *data;

	start_later(fixture, SOCKETS_INHERIT, 1000000,
		    "time.sleep(0.1)\ns = passed()\ns[0].listen(5)\nserve(s)\n");
	AWAIT(fixture, count_set(fixture, 0, false) == 1);
	assert_int_equal(ask(fixture, ADDRESS, NULL), fixture->pid);
}

static void test_agent_later_ready_makes_it_listen(void **data)
{
	struct fixture *fixture = *data;

	start_later(fixture, SOCKETS_AUTO, 1000000,
		    "s = passed()\nready()\nserve(await_listening(s))\n");
	/* First the set, then that it is ready: then it is. */
	await_heard(fixture, REPORT_NOTIFY, 1);
	assert_int_equal(count_set(fixture, 0, false), 1);
	assert_int_equal(ask(fixture, ADDRESS, NULL), fixture->pid);
}

static void test_agent_later_delay_makes_it_listen(void **data)
{
	struct fixture *fixture = *data;

	start_later(fixture, SOCKETS_INHERIT, 200, "serve(await_listening(passed()))\n");
	assert_int_equal(open_connection(ADDRESS), -ECONNREFUSED);
	AWAIT(fixture, count_set(fixture, 0, false) == 1);
	assert_int_equal(ask(fixture, ADDRESS, NULL), fixture->pid);
}

/* A passed socket that listens unused would get its share of the connections. */
static void test_agent_later_replaced_socket_never_listens(void **data)
{
	struct fixture *fixture = *data;

	start_later(fixture, SOCKETS_AUTO, 1000000, "s = bind(7001)\nready()\nserve([s])\n");
	await_heard(fixture, REPORT_NOTIFY, 1);
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	for (int i = 0; i < 20; i++)
		assert_int_equal(ask(fixture, ADDRESS, NULL), fixture->pid);
	assert_int_equal(count_set(fixture, 0, false), 0);
}

static void test_agent_later_restarted_server_finds_its_queue(void **data)
{
	struct fixture *fixture = *data;
	int queued;

	start_later(fixture, SOCKETS_INHERIT, 1000000, "s = passed()\ns[0].listen(5)\nserve(s)\n");
	AWAIT(fixture, count_set(fixture, 0, false) == 1);
	order_steady(fixture);
	kill(fixture->pid, SIGKILL);
	queued = open_connection(ADDRESS);
	assert_true(queued >= 0);
	await_heard(fixture, REPORT_EXITED, 1);
	assert_true(read_answer(fixture, queued, NULL) > 0);
}

/* ---- taken addresses ------------------------------------------------------------------------ */

#define IN_USE "\"Address already in use\""

static int hold_address(const char *text, int option)
{
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct address address;
	struct error err;

	assert_int_equal(address_parse(text, &address, &err), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, option, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, &address.sa, address.length), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static void test_agent_server_that_does_not_share_is_explained(void **data)
{
	static const struct {
		enum socket_mode mode;
		const char *text;
	} cases[] = {
		{SOCKETS_NATIVE, IN_USE},
		{SOCKETS_AUTO, IN_USE},
		{SOCKETS_TRANSPARENT, IN_USE},
		{SOCKETS_INHERIT, IN_USE},
	};
	struct fixture *fixture = *data;
	/* Somebody shares the address, as the anchor does, but the server does not. */
	int fd = hold_address(ADDRESS, SO_REUSEPORT);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fixture->spec.mode = cases[i].mode;
		start(fixture, "bind(7001, share=False)\n");
		await_heard(fixture, REPORT_EXITED, 1);
		assert_int_equal(fixture->heard[REPORT_EXITED].exit_code, 1);
		assert_string_equal(fixture->heard[REPORT_EXITED].text, cases[i].text);
		end_agent(fixture);
		agentlink_free(TAKE_PTR(fixture->link));
		memset(fixture->n_heard, 0, sizeof(fixture->n_heard));
		fixture->lost = false;
		fixture->agent = 0;
	}
	close(fd);
}

static void test_agent_address_that_is_not_shared_with_it_is_explained(void **data)
{
	struct fixture *fixture = *data;
	int fd = hold_address(OTHER, SO_REUSEADDR);

	fixture->spec.mode = SOCKETS_AUTO;
	fixture->spec.n_listen = 2;
	start(fixture, "serve(passed())\n");
	await_heard(fixture, REPORT_FAILED, 1);
	assert_string_equal(
		fixture->heard[REPORT_FAILED].text,
		"listen " OTHER
		": bind: Address already in use: a socket or a connection that has it does "
		"not share it (SO_REUSEPORT), or belongs to another user");
	close(fd);
}

/* ---- how it ended, and what it said last ------------------------------------------------------
 */

static void order_stop(struct fixture *fixture, uint32_t timeout_ms)
{
	order(fixture,
	      &(struct order){.type = ORDER_STOP, .signal = SIGTERM, .timeout_ms = timeout_ms});
}

/* Its threads end one after the other: it is gone from cgroup.procs before it can be reaped. */
static void test_agent_server_with_threads_that_is_killed_was_killed(void **data)
{
	struct fixture *fixture = *data;

	start(fixture, "import threading\n"
		       "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
		       "hog = bytearray(64 << 20)\n"
		       "for i in range(50):\n"
		       "    threading.Thread(target=time.sleep, args=(1000,)).start()\n"
		       "serve([bind(7001)])\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	order_stop(fixture, 50);
	await_heard(fixture, REPORT_STOPPED, 1);
	assert_int_equal(fixture->heard[REPORT_STOPPED].ending, ENDING_TOLD);
	assert_int_equal(fixture->heard[REPORT_STOPPED].exit_signal, SIGKILL);
	assert_int_equal(fixture->heard[REPORT_STOPPED].exit_code, 0);
	assert_true(fixture->heard[REPORT_STOPPED].killed);
	/* Nothing of it is left that its cgroup would have to wait for. */
	if (fixture->cgroup[0])
		assert_int_equal(cgroup_populated(fixture->cgroup), 0);
}

static void test_agent_server_that_never_ran_is_not_said_to_have_exited(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.executable = (char *)"/nonexistent/web";
	start(fixture, "");
	await_heard(fixture, REPORT_FAILED, 1);
	order_stop(fixture, 1000);
	await_heard(fixture, REPORT_STOPPED, 1);
	assert_int_equal(fixture->heard[REPORT_STOPPED].ending, ENDING_NEVER_RAN);
	assert_false(fixture->heard[REPORT_STOPPED].killed);
}

/* The server names a child of its own as its main process, and does @then. Kills that. */
static void kill_named(struct fixture *fixture, const char *then)
{
	char code[512];
	pid_t first;

	snprintf(code, sizeof(code),
		 "pid = os.fork()\n"
		 "if pid == 0:\n"
		 "    time.sleep(1000)\n"
		 "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
		 "s.sendto(b'MAINPID=%%d\\nREADY=1' %% pid, "
		 "os.environ['NOTIFY_SOCKET'])\n"
		 "%s"
		 "time.sleep(1000)\n",
		 then);
	start(fixture, code);
	await_heard(fixture, REPORT_STARTED, 1);
	first = fixture->pid;
	await_heard(fixture, REPORT_STARTED, 2);
	assert_int_not_equal(fixture->pid, first);
	kill(fixture->pid, SIGSEGV);
	await_heard(fixture, REPORT_EXITED, 1);
}

/* The pid that it names is another process's child, which does not ask how it has ended. */
static void test_agent_main_process_of_another_parent_ends_nobody_knows_how(void **data)
{
	struct fixture *fixture = *data;

	kill_named(fixture, "");
	assert_int_equal(fixture->heard[REPORT_EXITED].ending, ENDING_UNKNOWN);
}

/* PIDFD_GET_INFO tells the exit since Linux 6.15. */
static bool kernel_tells_exits(void)
{
	struct utsname name;
	int major = 0, minor = 0;

	assert_int_equal(uname(&name), 0);
	(void)sscanf(name.release, "%d.%d", &major, &minor);
	return major > 6 || (major == 6 && minor >= 15);
}

static void test_agent_main_process_that_its_parent_has_reaped_is_told_of(void **data)
{
	struct fixture *fixture = *data;

	if (!kernel_tells_exits())
		return;
	kill_named(fixture, "os.waitpid(pid, 0)\n");
	assert_int_equal(fixture->heard[REPORT_EXITED].ending, ENDING_TOLD);
	assert_int_equal(fixture->heard[REPORT_EXITED].exit_signal, SIGSEGV);
}

static void test_agent_tells_what_a_server_that_hangs_wrote_last(void **data)
{
	struct fixture *fixture = *data;

	start(fixture, "print('waiting for the database', file=sys.stderr, flush=True)\n"
		       "ready()\n"
		       "time.sleep(1000)\n");
	assert_true(fixture->heard[REPORT_HELLO].tells);
	await_heard(fixture, REPORT_NOTIFY, 1);
	order(fixture, &(struct order){.type = ORDER_TELL});
	await_heard(fixture, REPORT_TOLD, 1);
	assert_string_equal(fixture->heard[REPORT_TOLD].tail, "waiting for the database");
	assert_false(fixture->heard[REPORT_TOLD].tail_stdout);
	assert_in_range(fixture->heard[REPORT_TOLD].tail_age_ms, 1, DEADLINE_MS);
}

static void test_agent_tells_what_is_on_stdout_if_stderr_is_silent(void **data)
{
	struct fixture *fixture = *data;

	start(fixture, "print('no licence', flush=True)\n"
		       "ready()\n"
		       "time.sleep(1000)\n");
	await_heard(fixture, REPORT_NOTIFY, 1);
	order(fixture, &(struct order){.type = ORDER_TELL});
	await_heard(fixture, REPORT_TOLD, 1);
	assert_string_equal(fixture->heard[REPORT_TOLD].tail, "no licence");
	assert_true(fixture->heard[REPORT_TOLD].tail_stdout);
}

/* It had ended before it was asked about: that comes first, and before what it is told next. */
static void test_agent_tells_of_an_exit_before_it_answers(void **data)
{
	struct fixture *fixture = *data;

	start(fixture, "time.sleep(1000)\n");
	await_heard(fixture, REPORT_STARTED, 1);
	kill(fixture->agent, SIGSTOP);
	kill(fixture->pid, SIGKILL);
	AWAIT(fixture, fixture_is_zombie(fixture->pid));
	order(fixture, &(struct order){.type = ORDER_TELL});
	order_leave(fixture, SIGTERM, 1000);
	kill(fixture->agent, SIGCONT);
	await_heard(fixture, REPORT_TOLD, 1);
	assert_int_equal(fixture->n_heard[REPORT_EXITED], 1);
	assert_int_equal(fixture->heard[REPORT_EXITED].exit_signal, SIGKILL);
	assert_int_equal(fixture->n_heard[REPORT_LEFT], 0);
	await_heard(fixture, REPORT_LEFT, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_agent_leave_native_server_that_closes_is_not_forced),
		TEST(test_agent_leave_native_server_that_does_not_close_is_forced),
		TEST(test_agent_leave_finds_what_was_bound_a_moment_ago),
		TEST(test_agent_leave_auto_unused_passed_socket_is_let_go),
		TEST(test_agent_leave_dead_server_lets_go_of_its_sockets),
		TEST(test_agent_daemon_is_followed),
		TEST(test_agent_says_whether_the_server_is_the_first),
		TEST_CGROUP(test_agent_daemon_is_followed),
		TEST(test_agent_daemon_gets_the_stop_signal),
		TEST(test_agent_server_that_fails_and_leaves_a_child_has_exited),
		TEST(test_agent_order_given_before_the_end_counts),
		TEST(test_agent_server_that_has_served_and_leaves_a_child_has_exited),
		TEST(test_agent_daemon_that_has_served_is_followed_by_its_socket),
		TEST(test_agent_server_that_leaves_nobody_behind_has_exited),
		TEST(test_agent_later_server_that_listens_itself_is_reported),
		TEST(test_agent_later_ready_makes_it_listen),
		TEST(test_agent_later_delay_makes_it_listen),
		TEST(test_agent_later_replaced_socket_never_listens),
		TEST(test_agent_later_restarted_server_finds_its_queue),
		TEST(test_agent_server_that_does_not_share_is_explained),
		TEST(test_agent_address_that_is_not_shared_with_it_is_explained),
		TEST(test_agent_server_with_threads_that_is_killed_was_killed),
		TEST_CGROUP(test_agent_answers_while_its_server_hangs_before_exec),
		TEST_CGROUP(test_agent_server_with_threads_that_is_killed_was_killed),
		TEST(test_agent_server_that_never_ran_is_not_said_to_have_exited),
		TEST(test_agent_main_process_of_another_parent_ends_nobody_knows_how),
		TEST(test_agent_main_process_that_its_parent_has_reaped_is_told_of),
		TEST(test_agent_tells_what_a_server_that_hangs_wrote_last),
		TEST(test_agent_tells_what_is_on_stdout_if_stderr_is_silent),
		TEST(test_agent_tells_of_an_exit_before_it_answers),
	};

	return fixture_run(tests);
}
