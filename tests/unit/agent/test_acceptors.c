/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/acceptors.h"
#include "tests/unit/fakes/netns.h"

#define DEADLINE_MS 20000

/* What each script begins with; s: the listening socket, which it has by inheritance. */
#define PRELUDE                                                                                    \
	"import os, select, socket, sys, time\n"                                                   \
	"s = socket.socket(fileno=int(sys.argv[1]))\n"                                             \
	"def accept():\n"                                                                          \
	"    s.setblocking(True)\n"                                                                \
	"    while True: s.accept()[0].close()\n"

/* The test is the agent. */
struct fixture {
	struct processes *processes;
	struct acceptors *acceptors;
	struct listeners listeners;
	struct acceptor families[ACCEPTORS_MAX];
	int n;
};

static int setup(void **data)
{
	static struct fixture fixture;
	static struct address address;
	struct launch_spec spec = {.listen = &address, .n_listen = 1, .backlog = 64};
	struct error err;

	memset(&fixture, 0, sizeof(fixture));
	*data = &fixture;
	if (address_parse("127.0.0.1:7001", &address, &err) < 0 ||
	    processes_new(NULL, getpid(), &fixture.processes) < 0 ||
	    acceptors_new(fixture.processes, &fixture.acceptors, &err) < 0 ||
	    listeners_open(&spec, fixture.processes, NULL, &fixture.listeners, &err) < 0)
		return -1;
	fixture.listeners.list[0].counts = fixture.listeners.list[0].listens = true;
	return 0;
}

static int teardown(void **data)
{
	struct fixture *fixture = *data;

	for (int i = 0; i < DEADLINE_MS / 10 && processes_any(fixture->processes) != 0; i++) {
		processes_kill(fixture->processes);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		poll(NULL, 0, 10);
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	acceptors_free(fixture->acceptors);
	processes_free(fixture->processes);
	listeners_close(&fixture->listeners);
	listeners_done(&fixture->listeners);
	return 0;
}

/* A program that was started by execve(2), and has the listening socket. */
static pid_t program(struct fixture *fixture, const char *script)
{
	char text[2048], number[16];
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	snprintf(text, sizeof(text), "%s%s", PRELUDE, script);
	snprintf(number, sizeof(number), "%d", dup(fixture->listeners.list[0].fd));
	execl("/usr/bin/python3", "python3", "-ISc", text, number, NULL);
	_exit(127);
}

static const struct acceptor *look(struct fixture *fixture, pid_t head)
{
	fixture->n = acceptors_look(fixture->acceptors, &fixture->listeners, fixture->families);
	assert_true(fixture->n >= 0);
	for (int i = 0; i < fixture->n; i++)
		if (fixture->families[i].head == head)
			return &fixture->families[i];
	return NULL;
}

#define AWAIT(condition)                                                                           \
	do {                                                                                       \
		int tries_ = 0;                                                                    \
		while (!(condition)) {                                                             \
			if (++tries_ > DEADLINE_MS / 10)                                           \
				fail_msg("%s", #condition);                                        \
			poll(NULL, 0, 10);                                                         \
		}                                                                                  \
	} while (0)

static bool accepts(struct fixture *fixture, pid_t head)
{
	const struct acceptor *family = look(fixture, head);

	return family && family->accepts;
}

static int client(void)
{
	struct address address;
	struct error err;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(address_parse("127.0.0.1:7001", &address, &err), 0);
	assert_int_equal(connect(fd, &address.sa, address.length), 0);
	return fd;
}

/* A byte of a script's: it has come so far. */
static void await_byte(int fd)
{
	char byte;

	assert_int_equal(read(fd, &byte, 1), 1);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void test_acceptors_who_waits_accepts(void **data)
{
	struct fixture *fixture = *data;
	pid_t pid = program(fixture, "accept()\n");

	AWAIT(accepts(fixture, pid));
	assert_int_equal(fixture->n, 1);
	assert_false(fixture->families[0].forked);
}

static void test_acceptors_who_only_holds_does_not(void **data)
{
	struct fixture *fixture = *data;
	pid_t pid = program(fixture, "time.sleep(1000)\n");

	AWAIT(look(fixture, pid));
	for (int i = 0; i < 20; i++) {
		assert_false(accepts(fixture, pid));
		poll(NULL, 0, 10);
	}
}

/* Its workers accept; it does nothing but watch over them. */
static void test_acceptors_workers_are_of_their_masters_family(void **data)
{
	struct fixture *fixture = *data;
	pid_t pid = program(fixture, "for i in range(3):\n"
				     "    if os.fork() == 0: accept()\n"
				     "time.sleep(1000)\n");

	AWAIT(accepts(fixture, pid));
	assert_int_equal(fixture->n, 1);
	/* When it is gone, each is a head, but has called no execve(2). */
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	AWAIT(!look(fixture, pid) && fixture->n > 0);
	for (int i = 0; i < fixture->n; i++)
		assert_true(fixture->families[i].forked);
}

/* It works without end, so that it is never seen to wait. */
static void test_acceptors_epoll_of_a_program_is_enough(void **data)
{
	struct fixture *fixture = *data;
	pid_t pid = program(fixture, "e = select.epoll()\n"
				     "e.register(s.fileno(), select.EPOLLIN)\n"
				     "while True: pass\n");

	AWAIT(accepts(fixture, pid));
}

static void test_acceptors_epoll_that_was_inherited_is_not(void **data)
{
	struct fixture *fixture = *data;
	pid_t pid = program(fixture, "e = select.epoll()\n"
				     "e.register(s.fileno(), select.EPOLLIN)\n"
				     "if os.fork() == 0: time.sleep(1000)\n"
				     "e.poll()\n");

	AWAIT(accepts(fixture, pid));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	for (int i = 0; i < 20; i++) {
		assert_null(look(fixture, pid));
		assert_int_equal(fixture->n, 1);
		assert_true(fixture->families[0].forked);
		assert_false(fixture->families[0].accepts);
		poll(NULL, 0, 10);
	}
}

/* It never waits on the socket, but takes what comes now and then. */
static void test_acceptors_who_took_a_connection_accepts(void **data)
{
	struct fixture *fixture = *data;
	int fds[2], first, second;
	char script[256];
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	snprintf(script, sizeof(script),
		 "s.setblocking(False)\n"
		 "l = []\n"
		 "while True:\n"
		 "    time.sleep(0.05)\n"
		 "    try: l.append(s.accept()); os.write(%d, b'x')\n"
		 "    except BlockingIOError: pass\n",
		 fds[1]);
	first = client();
	pid = program(fixture, script);
	await_byte(fds[0]);
	/* What it had at the first look may be inherited. */
	for (int i = 0; i < 20; i++) {
		assert_false(accepts(fixture, pid));
		assert_true(look(fixture, pid)->connected);
		poll(NULL, 0, 10);
	}
	second = client();
	await_byte(fds[0]);
	assert_true(accepts(fixture, pid));
	/* That stays known. */
	close(first);
	close(second);
	assert_true(accepts(fixture, pid));
	close(fds[0]);
	close(fds[1]);
}

static void test_acceptors_of_sockets_that_do_not_count_are_none(void **data)
{
	struct fixture *fixture = *data;
	pid_t pid = program(fixture, "accept()\n");

	AWAIT(accepts(fixture, pid));
	fixture->listeners.list[0].counts = false;
	assert_null(look(fixture, pid));
	assert_int_equal(fixture->n, 0);
	fixture->listeners.list[0].counts = true;
	fixture->listeners.list[0].listens = false;
	assert_null(look(fixture, pid));
}

static void test_acceptors_oldest_comes_first(void **data)
{
	struct fixture *fixture = *data;
	pid_t first = program(fixture, "accept()\n"), second;

	AWAIT(accepts(fixture, first));
	second = program(fixture, "accept()\n");
	AWAIT(accepts(fixture, second));
	assert_int_equal(fixture->n, 2);
	assert_int_equal(fixture->families[0].head, first);
	assert_int_equal(fixture->families[1].head, second);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_acceptors_who_waits_accepts),
		TEST(test_acceptors_who_only_holds_does_not),
		TEST(test_acceptors_workers_are_of_their_masters_family),
		TEST(test_acceptors_epoll_of_a_program_is_enough),
		TEST(test_acceptors_epoll_that_was_inherited_is_not),
		TEST(test_acceptors_who_took_a_connection_accepts),
		TEST(test_acceptors_of_sockets_that_do_not_count_are_none),
		TEST(test_acceptors_oldest_comes_first),
	};
	const char *reason = netns_enter();

	if (reason) {
		print_message("skipped: %s\n", reason);
		return 77;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
