/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <sys/un.h>

#include "tests/unit/agent/agent_fixture.h"

/* ---- native --------------------------------------------------------------------------------- */

static void test_agent_native_socket_is_found_and_reported(void **data)
{
	struct fixture *fixture = *data;

	start(fixture, "time.sleep(0.1)\nserve([bind(7001)])\n");
	assert_int_equal(fixture->set.report.n_sockets, 0);
	assert_true(fixture->set.report.serial > 0);
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	assert_string_equal(fixture->set.report.sockets[0].address, ADDRESS);
	assert_int_equal(fixture->set.report.n_sockets, 1);
	assert_int_equal(fixture->set.report.n_strangers, 0);
	assert_int_equal(ask(fixture, ADDRESS, NULL), fixture->pid);
}

static void test_agent_native_several_sockets_on_one_port_are_all_reported(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.n_listen = 2;
	start(fixture, "serve([bind(7001) for i in range(4)] + [bind(7002)])\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 4 && count_set(fixture, 1, true) == 1);
}

static void test_agent_native_undeclared_address_is_named_and_left_alone(void **data)
{
	struct fixture *fixture = *data;

	start(fixture, "serve([bind(7001), bind(7003)])\n");
	AWAIT(fixture, fixture->set.report.n_sockets == 1 && fixture->set.report.n_strangers == 1);
	assert_string_equal(fixture->set.report.strangers[0], UNDECLARED);
	assert_int_equal(ask(fixture, UNDECLARED, NULL), fixture->pid);
}

static void test_agent_native_closed_socket_goes_out_and_is_let_go(void **data)
{
	struct fixture *fixture = *data;
	int queued;

	start(fixture, "a, b = bind(7001), bind(7001)\n"
		       "signal.signal(signal.SIGUSR1, lambda *_: a.close())\n"
		       "try:\n"
		       "    serve([b])\n"
		       "except InterruptedError:\n"
		       "    pass\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 2);
	kill(fixture->pid, SIGUSR1);
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	/* The agent keeps it listening, for a table may name it; some of these wait there ... */
	for (int i = 0; i < 20; i++) {
		queued = open_connection(ADDRESS);
		assert_true(queued >= 0);
		close(queued);
	}
	/* ... and once it is let go of, everything reaches the other one. */
	order_release(fixture);
	fixture_close_set(fixture);
	for (int i = 0; i < 20; i++)
		assert_int_equal(ask(fixture, ADDRESS, NULL), fixture->pid);
}

/* A release that crosses with a newer report means the older one only. */
static void test_agent_release_of_an_older_set_keeps_what_was_in_it(void **data)
{
	struct fixture *fixture = *data;
	struct order order_older = {.type = ORDER_RELEASE};

	start(fixture, "s = [bind(7001) for i in range(3)]\n"
		       "signal.signal(signal.SIGUSR1, lambda *_: s.pop().close())\n"
		       "while True:\n"
		       "    time.sleep(0.1)\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 3);
	kill(fixture->pid, SIGUSR1);
	AWAIT(fixture, count_set(fixture, 0, true) == 2);
	order_older.serial = fixture->set.report.serial;
	kill(fixture->pid, SIGUSR1);
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	assert_int_equal(count_listening(), 3);
	order(fixture, &order_older);
	AWAIT(fixture, count_listening() == 2);
	order_release(fixture);
	AWAIT(fixture, count_listening() == 1);
}

/* Nobody else can have let go of the old ones: the next daemon does. */
static void test_agent_crash_without_daemon_is_told_to_the_next_one(void **data)
{
	struct fixture *fixture = *data;
	const struct report *hello = &fixture->heard[REPORT_HELLO];
	uint64_t old;

	start(fixture, "serve([bind(7001)])\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	order_steady(fixture);
	old = fixture->set.report.sockets[0].cookie;
	fixture_close_set(fixture);
	agentlink_free(TAKE_PTR(fixture->link));
	kill(fixture->pid, SIGKILL);
	/* That of the dead, and that of the living. */
	AWAIT(fixture, count_listening() == 2);
	do
		fixture_connect(fixture);
	while (hello->sockets[0].cookie == old);
	assert_int_equal(hello->n_sockets, 1);
	order(fixture, &(struct order){.type = ORDER_RELEASE, .serial = hello->serial});
	AWAIT(fixture, count_listening() == 1);
	assert_int_equal(ask(fixture, ADDRESS, NULL), hello->pid);
}

/* Connections that arrive while no server runs are answered by the next one. */
static void test_agent_native_crash_keeps_the_queue(void **data)
{
	struct fixture *fixture = *data;
	uint64_t old;
	int queued[10];
	pid_t first;

	start(fixture, "serve([bind(7001)])\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	order_steady(fixture);
	first = fixture->pid;
	old = fixture->set.report.sockets[0].cookie;
	kill(first, SIGSTOP);
	for (int i = 0; i < 10; i++) {
		queued[i] = open_connection(ADDRESS);
		assert_true(queued[i] >= 0);
	}
	kill(first, SIGKILL);
	await_heard(fixture, REPORT_EXITED, 1);
	assert_true(fixture->heard[REPORT_EXITED].restarting);
	await_heard(fixture, REPORT_STARTED, 2);
	AWAIT(fixture,
	      fixture->set.report.n_sockets == 1 && fixture->set.report.sockets[0].cookie != old);
	/* No set in between was empty. */
	assert_int_equal(fixture->n_sets, 3);
	order_release(fixture);
	for (int i = 0; i < 10; i++)
		assert_int_equal(read_answer(fixture, queued[i], NULL), fixture->pid);
	assert_int_not_equal(fixture->pid, first);
}

/* The agent's duplicate would keep the next one from binding the address. */
static void test_agent_native_unshared_socket_is_not_kept_over_a_crash(void **data)
{
	struct fixture *fixture = *data;
	pid_t first;

	/* On a port that no shared socket has been on: what is left of those is in the way, too. */
	fixture->spec.listen = &fixture->addresses[1];
	start(fixture, "serve([bind(7002, share=False)])\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	order_steady(fixture);
	first = fixture->pid;
	kill(first, SIGKILL);
	await_heard(fixture, REPORT_EXITED, 1);
	assert_int_equal(fixture->set.report.n_sockets, 0);
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	assert_int_not_equal(fixture->pid, first);
	assert_int_equal(fixture->n_heard[REPORT_EXITED], 1);
}

static void test_agent_native_hello_has_the_present_set(void **data)
{
	struct fixture *fixture = *data;
	const struct report *hello = &fixture->heard[REPORT_HELLO];
	struct report before;

	start(fixture, "serve([bind(7001), bind(7003)])\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1 && fixture->set.report.n_strangers == 1);
	before = fixture->set.report;
	fixture_connect(fixture);
	assert_int_equal(hello->n_sockets, 1);
	assert_true(hello->sockets[0].cookie == before.sockets[0].cookie);
	assert_true(hello->sockets[0].own);
	assert_int_equal(hello->serial, before.serial);
	assert_int_equal(hello->n_strangers, 1);
}

/* Somebody else's connection takes the place of a daemon's, which then connects again. */
static void test_agent_native_whoever_it_hung_up_on_hears_of_it_again(void **data)
{
	struct fixture *fixture = *data;
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	start(fixture, "serve([bind(7001)])\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	assert_int_equal(fixture->n_heard[REPORT_HELLO], 1);
	strcpy(sun.sun_path, fixture->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	AWAIT(fixture, fixture->n_heard[REPORT_HELLO] == 2);
	assert_false(fixture->lost);
	assert_int_equal(count_set(fixture, 0, true), 1);
	order_steady(fixture);
	close(fd);
}

/* ---- auto ----------------------------------------------------------------------------------- */

static void test_agent_auto_server_that_uses_what_is_passed_is_left_with_it(void **data)
{
	struct fixture *fixture = *data;
	uint64_t cookie;
	int n, queued;

	fixture->spec.mode = SOCKETS_AUTO;
	start(fixture, "serve(passed())\n");
	assert_int_equal(count_set(fixture, 0, false), 1);
	cookie = fixture->set.report.sockets[0].cookie;
	assert_int_equal(ask(fixture, ADDRESS, &n), fixture->pid);
	assert_int_equal(n, 1);
	order_steady(fixture);
	kill(fixture->pid, SIGKILL);
	queued = open_connection(ADDRESS);
	await_heard(fixture, REPORT_STARTED, 2);
	assert_int_equal(read_answer(fixture, queued, &n), fixture->pid);
	assert_int_equal(n, 1);
	/* The set never was another one. */
	assert_int_equal(fixture->n_sets, 1);
	assert_true(fixture->set.report.sockets[0].cookie == cookie);
}

/* Else batond would send connections into the passed one, from which nobody accepts. */
static void test_agent_auto_ready_comes_after_what_was_bound_before(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.mode = SOCKETS_AUTO;
	/* A signal just before a sleep does not end it. */
	start(fixture, "s = []\n"
		       "signal.signal(signal.SIGUSR1, lambda *_: (s.append(bind(7001)), ready()))\n"
		       "ready()\n"
		       "while True:\n"
		       "    time.sleep(0.1)\n");
	await_heard(fixture, REPORT_NOTIFY, 1);
	assert_int_equal(count_set(fixture, 0, false), 1);
	/* Stopped, so that it cannot look before the message is there. */
	kill(fixture->agent, SIGSTOP);
	kill(fixture->pid, SIGUSR1);
	AWAIT(fixture, count_listening() == 2);
	kill(fixture->agent, SIGCONT);
	await_heard(fixture, REPORT_NOTIFY, 2);
	assert_int_equal(count_set(fixture, 0, true), 1);
	assert_int_equal(count_set(fixture, 0, false), 0);
}

/* A server that ends in good order closes its socket first, and then takes its time. */
static void test_agent_auto_server_that_ends_is_passed_a_socket_again(void **data)
{
	struct fixture *fixture = *data;
	int n;

	fixture->spec.mode = SOCKETS_AUTO;
	start(fixture, "s = passed()\n"
		       "signal.signal(signal.SIGUSR1, lambda *_: s[0].close())\n"
		       "signal.signal(signal.SIGUSR2, lambda *_: os._exit(0))\n"
		       "ready()\n"
		       "try:\n"
		       "    serve(s)\n"
		       "except (OSError, ValueError):\n"
		       "    while True:\n"
		       "        time.sleep(0.1)\n");
	await_heard(fixture, REPORT_NOTIFY, 1);
	order_steady(fixture);
	kill(fixture->pid, SIGUSR1);
	AWAIT(fixture, fixture->set.report.n_sockets == 0);
	order_release(fixture);
	AWAIT(fixture, count_listening() == 0);
	kill(fixture->pid, SIGUSR2);
	AWAIT(fixture, count_set(fixture, 0, false) == 1);
	assert_true(ask(fixture, ADDRESS, &n) > 0);
	assert_int_equal(n, 1);
}

static void test_agent_auto_own_socket_replaces_the_passed_one(void **data)
{
	struct fixture *fixture = *data;
	int n = -1;

	fixture->spec.mode = SOCKETS_AUTO;
	fixture->spec.n_listen = 2;
	start(fixture, "serve([passed()[1] if os.environ.get('LISTEN_FDS') == '2' else passed()[0],"
		       " bind(7001)])\n");
	assert_int_equal(count_set(fixture, 0, false), 1);
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	assert_int_equal(count_set(fixture, 0, false), 0);
	assert_int_equal(count_set(fixture, 1, false), 1);
	assert_int_equal(fixture->set.report.n_sockets, 2);
	order_release(fixture);
	AWAIT(fixture, count_listening() == 2);
	/* The server has it still, but it takes no connections any more. */
	for (int i = 0; i < 20; i++)
		assert_int_equal(ask(fixture, ADDRESS, &n), fixture->pid);
	assert_int_equal(n, 2);
	/* The next run is passed only what this one used. */
	order_steady(fixture);
	kill(fixture->pid, SIGKILL);
	await_heard(fixture, REPORT_EXITED, 1);
	assert_true(ask(fixture, OTHER, &n) > 0);
	assert_int_equal(n, 1);
	assert_int_equal(count_set(fixture, 1, false), 1);
}

static void test_agent_auto_named_descriptors_count_beside_own_ones(void **data)
{
	struct fixture *fixture = *data;
	uint32_t serial;

	fixture->spec.mode = SOCKETS_AUTO;
	fixture->argv[3] = (char *)"{fd}";
	start(fixture, "serve([socket.socket(fileno=int(sys.argv[1])), bind(7001)])\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	assert_int_equal(count_set(fixture, 0, false), 1);
	order_steady(fixture);
	serial = fixture->set.report.serial;
	kill(fixture->pid, SIGKILL);
	/* The passed one is there at once, so nobody has to wait for another own one. */
	AWAIT(fixture, fixture->set.report.serial == serial + 2);
	assert_int_equal(count_set(fixture, 0, false), 1);
	assert_int_equal(count_set(fixture, 0, true), 1);
	order_release(fixture);
	for (int i = 0; i < 20; i++)
		assert_int_equal(ask(fixture, ADDRESS, NULL), fixture->pid);
}

/* ---- of another family ---------------------------------------------------------------------- */

#define MAPPED "[::ffff:127.0.0.1]:7001"

static void order_mapped(struct fixture *fixture)
{
	order(fixture, &(struct order){.type = ORDER_FAMILY, .endpoint = 0, .on = true});
}

/* The passed one would get every connection. Later runs are passed what is right. */
static void test_agent_family_lets_go_of_what_was_passed(void **data)
{
	struct fixture *fixture = *data;
	unsigned sets;

	fixture->spec.mode = SOCKETS_AUTO;
	start(fixture, "s = [bind(7001, mapped=True)] if 'LISTEN_FDS' in os.environ else []\n"
		       "ready()\n"
		       "serve(s)\n");
	AWAIT(fixture, count_set(fixture, 0, true) == 1);
	assert_string_equal(fixture->set.report.sockets[0].address, MAPPED);
	sets = fixture->n_sets;
	order_mapped(fixture);
	/* It answers, although the set is the same. */
	AWAIT(fixture, fixture->n_sets == sets + 1);
	assert_int_equal(count_listening(), 0);
	assert_int_equal(fixture->set.report.n_sockets, 1);
	assert_int_equal(ask(fixture, ADDRESS, NULL), fixture->pid);
}

static void test_agent_family_of_what_is_passed_next(void **data)
{
	struct fixture *fixture = *data;
	int n;

	fixture->spec.mode = SOCKETS_AUTO;
	start(fixture, "s = passed()\nready()\n"
		       "serve(s if s[0].family == socket.AF_INET6 else [])\n");
	assert_int_equal(count_set(fixture, 0, false), 1);
	assert_string_equal(fixture->set.report.sockets[0].address, ADDRESS);
	order_mapped(fixture);
	AWAIT(fixture, fixture->set.report.n_sockets == 0);
	assert_int_equal(count_listening(), 0);
	order_steady(fixture);
	kill(fixture->pid, SIGKILL);
	AWAIT(fixture, count_set(fixture, 0, false) == 1);
	assert_string_equal(fixture->set.report.sockets[0].address, MAPPED);
	await_heard(fixture, REPORT_STARTED, 2);
	assert_int_equal(ask(fixture, ADDRESS, &n), fixture->pid);
}

/* ---- inherit -------------------------------------------------------------------------------- */

static void test_agent_inherit_looks_for_nothing_else(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.mode = SOCKETS_INHERIT;
	start(fixture, "s = [bind(7001), bind(7003)] + passed()\nready()\nserve(s)\n");
	await_heard(fixture, REPORT_NOTIFY, 1);
	assert_int_equal(fixture->set.report.n_sockets, 1);
	assert_false(fixture->set.report.sockets[0].own);
	assert_int_equal(fixture->n_sets, 1);
	assert_int_equal(fixture->set.report.n_strangers, 0);
}

/* The agent's duplicate would listen for ever, with nobody to accept. */
static void test_agent_inherit_socket_that_its_server_closes_goes_out(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.mode = SOCKETS_INHERIT;
	fixture->spec.n_listen = 2;
	start(fixture, "s = passed()\n"
		       "signal.signal(signal.SIGUSR1, lambda *_: s[0].close())\n"
		       "ready()\n"
		       "while True:\n"
		       "    time.sleep(0.1)\n");
	await_heard(fixture, REPORT_NOTIFY, 1);
	assert_int_equal(count_set(fixture, 0, false), 1);
	/* Any process that has one may accept, this one as well. */
	fixture_close_set(fixture);
	kill(fixture->pid, SIGUSR1);
	AWAIT(fixture, fixture->n_sets == 2);
	assert_int_equal(count_set(fixture, 0, false), 0);
	assert_int_equal(count_set(fixture, 1, false), 1);
	assert_int_equal(count_listening(), 2);
	order_release(fixture);
	AWAIT(fixture, count_listening() == 1);
}

static void test_agent_inherit_socket_that_a_child_has_stays(void **data)
{
	struct fixture *fixture = *data;

	fixture->spec.mode = SOCKETS_INHERIT;
	start(fixture, "s = passed()\n"
		       "if os.fork() == 0:\n"
		       "    serve(s)\n"
		       "s[0].close()\n"
		       "time.sleep(0.6)\n"
		       "ready()\n"
		       "while True:\n"
		       "    time.sleep(0.1)\n");
	fixture_close_set(fixture);
	await_heard(fixture, REPORT_NOTIFY, 1);
	assert_int_equal(fixture->n_sets, 1);
}

/* The kernel takes it out of its group, and batond has to put it back. */
static void check_relistening(struct fixture *fixture, const char *make)
{
	uint64_t cookie;
	uint32_t serial;
	char script[512];

	snprintf(script, sizeof(script),
		 "s = %s\n"
		 "signal.signal(signal.SIGUSR1, lambda *_: (s[0].shutdown(0), time.sleep(1),"
		 " s[0].listen(5)))\n"
		 "ready()\n"
		 "while True:\n"
		 "    time.sleep(0.1)\n",
		 make);
	start(fixture, script);
	await_heard(fixture, REPORT_NOTIFY, 1);
	AWAIT(fixture, fixture->set.report.n_sockets == 1);
	cookie = fixture->set.report.sockets[0].cookie;
	for (int i = 0; i < 2; i++) {
		serial = fixture->set.report.serial;
		kill(fixture->pid, SIGUSR1);
		AWAIT(fixture, fixture->set.report.sockets[0].deaf);
		assert_int_not_equal(fixture->set.report.serial, serial);
		serial = fixture->set.report.serial;
		AWAIT(fixture, !fixture->set.report.sockets[0].deaf);
		assert_int_not_equal(fixture->set.report.serial, serial);
		assert_int_equal(fixture->set.report.n_sockets, 1);
		assert_true(fixture->set.report.sockets[0].cookie == cookie);
	}
}

static void test_agent_native_socket_that_listens_again_is_reported_again(void **data)
{
	check_relistening(*data, "[bind(7001)]");
}

static void test_agent_inherit_socket_that_listens_again_is_reported_again(void **data)
{
	((struct fixture *)*data)->spec.mode = SOCKETS_INHERIT;
	check_relistening(*data, "passed()");
}

/* ---- given ---------------------------------------------------------------------------------- */

static int bound(const char *text, bool listens)
{
	struct address address;
	struct error err;
	int on = 1, fd;

	assert_int_equal(address_parse(text, &address, &err), 0);
	fd = socket(address.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, &address.sa, address.length), 0);
	if (listens)
		assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static void test_agent_given_sockets_are_passed_in_order(void **data)
{
	struct fixture *fixture = *data;
	int fds[2], n;

	fixture->spec.mode = SOCKETS_INHERIT;
	fixture->spec.n_listen = 2;
	fixture->spec.sockets_given = true;
	fds[1] = bound(OTHER, true);
	fds[0] = bound(ADDRESS, true);
	start_with(fixture, "serve([passed()[1]])\n", fds);
	assert_int_equal(fixture->set.report.n_sockets, 2);
	for (uint32_t i = 0; i < 2; i++) {
		socklen_t size = sizeof(uint64_t);
		uint64_t cookie;

		assert_int_equal(getsockopt(fds[i], SOL_SOCKET, SO_COOKIE, &cookie, &size), 0);
		assert_true(fixture->set.report.sockets[i].cookie == cookie);
		assert_int_equal(fixture->set.report.sockets[i].endpoint, i);
		close(fds[i]);
	}
	assert_int_equal(ask(fixture, OTHER, &n), fixture->pid);
	assert_int_equal(n, 2);
}

static void test_agent_given_wrong_socket_is_a_failure_with_reason(void **data)
{
	struct fixture *fixture = *data;
	int fd = bound(OTHER, true);

	fixture->spec.mode = SOCKETS_AUTO;
	fixture->spec.sockets_given = true;
	start_with(fixture, "serve(passed())\n", &fd);
	close(fd);
	await_heard(fixture, REPORT_FAILED, 1);
	assert_string_equal(fixture->heard[REPORT_FAILED].text,
			    "listen " ADDRESS ": the socket that was given is bound to " OTHER);
}

static void test_agent_given_too_few_is_refused_by_the_program(void **data)
{
	struct fixture *fixture = *data;
	int status, fd = bound(ADDRESS, true);
	char number[16];
	pid_t pid;

	snprintf(number, sizeof(number), "%d", fd);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		fcntl(fd, F_SETFD, 0);
		dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
		execl(fixture_agent, "baton-agent", "--spec-fd", number, "--control-fd", "1",
		      "--socket-fds", number, NULL);
		_exit(100);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 2);
	close(fd);
	(void)fixture;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_agent_native_socket_is_found_and_reported),
		TEST_CGROUP(test_agent_native_socket_is_found_and_reported),
		TEST(test_agent_native_several_sockets_on_one_port_are_all_reported),
		TEST_CGROUP(test_agent_native_undeclared_address_is_named_and_left_alone),
		TEST(test_agent_native_undeclared_address_is_named_and_left_alone),
		TEST(test_agent_native_closed_socket_goes_out_and_is_let_go),
		TEST(test_agent_release_of_an_older_set_keeps_what_was_in_it),
		TEST(test_agent_crash_without_daemon_is_told_to_the_next_one),
		TEST(test_agent_native_crash_keeps_the_queue),
		TEST_CGROUP(test_agent_native_crash_keeps_the_queue),
		TEST(test_agent_native_unshared_socket_is_not_kept_over_a_crash),
		TEST(test_agent_native_hello_has_the_present_set),
		TEST(test_agent_native_whoever_it_hung_up_on_hears_of_it_again),
		TEST(test_agent_auto_server_that_uses_what_is_passed_is_left_with_it),
		TEST(test_agent_auto_ready_comes_after_what_was_bound_before),
		TEST(test_agent_auto_server_that_ends_is_passed_a_socket_again),
		TEST(test_agent_auto_own_socket_replaces_the_passed_one),
		TEST_CGROUP(test_agent_auto_own_socket_replaces_the_passed_one),
		TEST(test_agent_auto_named_descriptors_count_beside_own_ones),
		TEST(test_agent_family_lets_go_of_what_was_passed),
		TEST(test_agent_family_of_what_is_passed_next),
		TEST(test_agent_inherit_looks_for_nothing_else),
		TEST(test_agent_native_socket_that_listens_again_is_reported_again),
		TEST(test_agent_inherit_socket_that_its_server_closes_goes_out),
		TEST(test_agent_inherit_socket_that_a_child_has_stays),
		TEST(test_agent_inherit_socket_that_listens_again_is_reported_again),
		TEST(test_agent_given_sockets_are_passed_in_order),
		TEST(test_agent_given_wrong_socket_is_a_failure_with_reason),
		TEST(test_agent_given_too_few_is_refused_by_the_program),
	};

	return fixture_run(tests);
}
