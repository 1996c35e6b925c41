/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/agent/agent_fixture.h"

/*
 * A server that starts a successor on USR1 or at once: the same script, with the socket, in which
 * NEW is true. USR2 ends it with status 0. On TERM it closes its socket, and ends once the file
 * "end.PID" (of the fixture's folder) is there.
 */
#define SUCCEEDING                                                                                 \
	"NEW = 'FD' in os.environ\n"                                                               \
	"s = socket.socket(fileno=int(os.environ['FD'])) if NEW else bind(7001)\n"                 \
	"os.set_inheritable(s.fileno(), True)\n"                                                   \
	"def succeed(*_):\n"                                                                       \
	"    if os.fork() == 0:\n"                                                                 \
	"        text = open('/proc/self/cmdline').read().split('\\0')[2]\n"                       \
	"        os.execve('/usr/bin/python3', ['python3', '-ISc', text],\n"                       \
	"                  dict(os.environ, FD=str(s.fileno())))\n"                                \
	"def term(*_):\n"                                                                          \
	"    s.close()\n"                                                                          \
	"    while not os.path.exists('%s/end.%%d' %% os.getpid()):\n"                             \
	"        time.sleep(0.01)\n"                                                               \
	"    os._exit(0)\n"                                                                        \
	"signal.signal(signal.SIGTERM, term)\n"                                                    \
	"signal.signal(signal.SIGUSR1, succeed)\n"                                                 \
	"signal.signal(signal.SIGUSR2, lambda *_: os._exit(0))\n"

/* Start it, followed by @rest; it serves. */
static void start_succeeding(struct fixture *fixture, const char *rest)
{
	char script[4096];

	/* The one "%s" of the script is the folder. */
	snprintf(script, sizeof(script), SUCCEEDING "%s", fixture->folder, rest);
	start(fixture, script);
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	order_steady(fixture);
	assert_int_equal(ask(fixture, ADDRESS, NULL), fixture->pid);
}

/* Have it start a successor; both serve then. Returns its pid. */
static pid_t start_successor(struct fixture *fixture)
{
	pid_t old = fixture->pid, pid = old;

	kill(old, SIGUSR1);
	for (uint64_t end_ms = clock_monotonic_ms() + DEADLINE_MS; pid == old || pid == 0;) {
		assert_true(clock_monotonic_ms() < end_ms);
		pid = ask(fixture, ADDRESS, NULL);
	}
	return pid;
}

static void let_end(struct fixture *fixture, pid_t pid)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/end.%d", fixture->folder, (int)pid);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	AWAIT(fixture, !exists(pid));
	(void)unlink(path);
}

static void await_succeeded(struct fixture *fixture, pid_t new, pid_t old)
{
	AWAIT(fixture, fixture->pid == new);
	assert_int_equal(fixture->heard[REPORT_STARTED].succeeds, old);
	assert_int_equal(fixture->n_heard[REPORT_EXITED], 0);
	assert_int_equal(fixture->n_heard[REPORT_FAILED], 0);
}

/* ---- who follows ---------------------------------------------------------------------------- */

static void test_agent_successor_is_followed(void **data)
{
	struct fixture *fixture = *data;
	pid_t old, new;

	start_succeeding(fixture, "serve([s])\n");
	for (int i = 0; i < 3; i++) {
		old = fixture->pid;
		new = start_successor(fixture);
		kill(old, SIGUSR2);
		await_succeeded(fixture, new, old);
		assert_int_equal(fixture->heard[REPORT_STARTED].ending, ENDING_TOLD);
		assert_int_equal(fixture->heard[REPORT_STARTED].exit_signal, 0);
	}
	/* It is the main process in all that counts. */
	kill(new, SIGKILL);
	await_heard(fixture, REPORT_EXITED, 1);
	assert_int_equal(fixture->heard[REPORT_EXITED].exit_signal, SIGKILL);
	assert_true(fixture->heard[REPORT_EXITED].restarting);
}

static void test_agent_successor_of_a_crash_is_followed(void **data)
{
	struct fixture *fixture = *data;
	pid_t old, new;

	start_succeeding(fixture, "serve([s])\n");
	old = fixture->pid;
	new = start_successor(fixture);
	kill(old, SIGSEGV);
	await_succeeded(fixture, new, old);
	assert_int_equal(fixture->heard[REPORT_STARTED].exit_signal, SIGSEGV);
	assert_int_equal(ask(fixture, ADDRESS, NULL), new);
}

/* It was started, but is not ready yet: Python needs a while, and this one longer. */
static void test_agent_successor_that_is_still_starting_is_awaited(void **data)
{
	struct fixture *fixture = *data;
	pid_t old;

	start_succeeding(fixture, "end = time.monotonic() + (2 if NEW else 0)\n"
				  "while time.monotonic() < end: pass\n"
				  "serve([s])\n");
	old = fixture->pid;
	kill(old, SIGUSR1);
	/* The same handler runs first: so its fork(2) is over. */
	kill(old, SIGUSR2);
	AWAIT(fixture, fixture->pid != old);
	await_succeeded(fixture, fixture->pid, old);
	assert_int_equal(ask(fixture, ADDRESS, NULL), fixture->pid);
}

static void test_agent_successor_named_by_mainpid_is_followed(void **data)
{
	struct fixture *fixture = *data;
	pid_t old, new;

	start_succeeding(fixture, "if NEW:\n"
				  "    n = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
				  "    n.sendto(b'MAINPID=%d' % os.getpid(),\n"
				  "             os.environ['NOTIFY_SOCKET'])\n"
				  "serve([s])\n");
	old = fixture->pid;
	kill(old, SIGUSR1);
	AWAIT(fixture, fixture->pid != old);
	new = fixture->pid;
	await_succeeded(fixture, new, old);
	assert_int_equal(fixture->heard[REPORT_STARTED].ending, ENDING_ALIVE);
	/* The old one serves, too: it is told to go like the other. */
	order_leave(fixture, SIGTERM, DEADLINE_MS);
	await_heard(fixture, REPORT_LEFT, 1);
	assert_false(fixture->heard[REPORT_LEFT].forced);
	let_end(fixture, old);
	let_end(fixture, new);
	await_heard(fixture, REPORT_EXITED, 1);
}

/* ---- who does not --------------------------------------------------------------------------- */

static void check_restarted(struct fixture *fixture, int signal)
{
	pid_t old = fixture->pid;

	kill(old, signal);
	await_heard(fixture, REPORT_EXITED, 1);
	assert_true(fixture->heard[REPORT_EXITED].restarting);
	await_heard(fixture, REPORT_STARTED, 2);
	assert_int_equal(fixture->heard[REPORT_STARTED].succeeds, 0);
}

static void test_agent_program_that_only_holds_the_socket_is_no_successor(void **data)
{
	struct fixture *fixture = *data;

	start_succeeding(fixture, "if NEW: time.sleep(1000)\n"
				  "succeed()\n"
				  "serve([s])\n");
	check_restarted(fixture, SIGUSR2);
}

/* That is no matter of waiting: they are known at once. */
static void test_agent_workers_of_a_master_that_crashed_are_no_successors(void **data)
{
	struct fixture *fixture = *data;

	start_succeeding(fixture, "if os.fork() == 0:\n"
				  "    s2 = [s]\n"
				  "    while True:\n"
				  "        select.select(s2, [], [], 1000)\n"
				  "        time.sleep(1)\n"
				  "serve([s])\n");
	check_restarted(fixture, SIGKILL);
}

/* What batond asks is answered when it is known whether the server has ended. */
static void test_agent_tells_once_it_is_known_who_follows(void **data)
{
	struct fixture *fixture = *data;

	start_succeeding(fixture, "if NEW: time.sleep(1000)\n"
				  "succeed()\n"
				  "serve([s])\n");
	kill(fixture->agent, SIGSTOP);
	kill(fixture->pid, SIGUSR2);
	AWAIT(fixture, fixture_is_zombie(fixture->pid));
	order(fixture, &(struct order){.type = ORDER_TELL});
	kill(fixture->agent, SIGCONT);
	await_heard(fixture, REPORT_TOLD, 1);
	assert_int_equal(fixture->n_heard[REPORT_EXITED], 1);
}

/* ---- orders --------------------------------------------------------------------------------- */

static void test_agent_leave_reaches_both_servers(void **data)
{
	struct fixture *fixture = *data;
	pid_t old, new;

	start_succeeding(fixture, "serve([s])\n");
	old = fixture->pid;
	new = start_successor(fixture);
	fixture_close_set(fixture);
	order_leave(fixture, SIGTERM, DEADLINE_MS);
	await_heard(fixture, REPORT_LEFT, 1);
	assert_false(fixture->heard[REPORT_LEFT].forced);
	/* The old one has done its work; the other one drains on, and is not killed for that. */
	let_end(fixture, old);
	await_succeeded(fixture, new, old);
	let_end(fixture, new);
	await_heard(fixture, REPORT_EXITED, 1);
	assert_int_equal(fixture->heard[REPORT_EXITED].exit_code, 0);
}

/* Its successor serves; then it is told to go. */
static void test_agent_leave_reaches_the_successor(void **data)
{
	struct fixture *fixture = *data;
	pid_t old, new;

	start_succeeding(fixture, "serve([s])\n");
	old = fixture->pid;
	new = start_successor(fixture);
	kill(old, SIGUSR2);
	await_succeeded(fixture, new, old);
	fixture_close_set(fixture);
	order_leave(fixture, SIGTERM, DEADLINE_MS);
	await_heard(fixture, REPORT_LEFT, 1);
	assert_false(fixture->heard[REPORT_LEFT].forced);
	let_end(fixture, new);
	await_heard(fixture, REPORT_EXITED, 1);
}

static void test_agent_stop_reaches_both_servers(void **data)
{
	struct fixture *fixture = *data;
	pid_t old, new;

	start_succeeding(fixture, "serve([s])\n");
	old = fixture->pid;
	new = start_successor(fixture);
	fixture_close_set(fixture);
	order(fixture,
	      &(struct order){.type = ORDER_STOP, .signal = SIGTERM, .timeout_ms = DEADLINE_MS});
	AWAIT(fixture, open_connection(ADDRESS) == -ECONNREFUSED);
	let_end(fixture, old);
	await_succeeded(fixture, new, old);
	let_end(fixture, new);
	await_heard(fixture, REPORT_STOPPED, 1);
	assert_false(fixture->heard[REPORT_STOPPED].killed);
	assert_int_equal(fixture->heard[REPORT_STOPPED].exit_code, 0);
}

/* Nobody knows yet who follows. */
static void test_agent_stop_ends_the_search(void **data)
{
	struct fixture *fixture = *data;

	start_succeeding(fixture, "if NEW:\n"
				  "    while True: pass\n"
				  "succeed()\n"
				  "serve([s])\n");
	kill(fixture->pid, SIGUSR2);
	AWAIT(fixture, !exists(fixture->pid));
	order(fixture, &(struct order){.type = ORDER_STOP, .signal = SIGTERM, .timeout_ms = 10});
	await_heard(fixture, REPORT_STOPPED, 1);
	assert_true(fixture->heard[REPORT_STOPPED].killed);
	assert_int_equal(fixture->heard[REPORT_STOPPED].ending, ENDING_TOLD);
	assert_int_equal(fixture->heard[REPORT_STOPPED].exit_code, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_CGROUP(test_agent_successor_is_followed),
		TEST(test_agent_successor_of_a_crash_is_followed),
		TEST_CGROUP(test_agent_successor_that_is_still_starting_is_awaited),
		TEST(test_agent_successor_named_by_mainpid_is_followed),
		TEST(test_agent_program_that_only_holds_the_socket_is_no_successor),
		TEST_CGROUP(test_agent_workers_of_a_master_that_crashed_are_no_successors),
		TEST(test_agent_tells_once_it_is_known_who_follows),
		TEST_CGROUP(test_agent_leave_reaches_both_servers),
		TEST(test_agent_leave_reaches_the_successor),
		TEST(test_agent_stop_reaches_both_servers),
		TEST_CGROUP(test_agent_stop_ends_the_search),
	};

	return fixture_run(tests);
}
