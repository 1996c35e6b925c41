/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/server.h"

#define DEADLINE_US 5000000

struct fixture {
	sd_event *event;
	struct server *server;
	int n_exits;
	int exit_code;
	int exit_signal;
};

static void on_exited(int exit_code, int exit_signal, void *userdata)
{
	struct fixture *fixture = userdata;

	fixture->n_exits++;
	fixture->exit_code = exit_code;
	fixture->exit_signal = exit_signal;
}

static int setup(void **data)
{
	static struct fixture fixture;
	struct error err;

	memset(&fixture, 0, sizeof(fixture));
	*data = &fixture;
	if (sd_event_new(&fixture.event) < 0)
		return -1;
	return server_new(fixture.event, on_exited, &fixture, &fixture.server, &err);
}

static int teardown(void **data)
{
	struct fixture *fixture = *data;

	server_free(fixture->server);
	sd_event_unref(fixture->event);
	return 0;
}

/* A child that ends with @status once @wait_fd is at its end. */
static pid_t start(int status, int wait_fd)
{
	pid_t pid = fork();
	char byte;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(wait_fd >= 0 && read(wait_fd, &byte, 1) != 0 ? 99 : status);
	return pid;
}

static pid_t start_sleeper(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGUSR1, SIG_DFL);
		for (;;)
			pause();
	}
	return pid;
}

static void watch(struct fixture *fixture, pid_t pid)
{
	struct error err;

	assert_int_equal(server_watch(fixture->server, pid, &err), 0);
	assert_int_equal(server_pid(fixture->server), pid);
}

static void await_exit(struct fixture *fixture)
{
	for (int i = 0; i < 20 && fixture->n_exits == 0; i++)
		assert_true(sd_event_run(fixture->event, DEADLINE_US) > 0);
	assert_int_equal(fixture->n_exits, 1);
	assert_int_equal(server_pid(fixture->server), 0);
	/* And only once, although both its pidfd and SIGCHLD tell of it. */
	while (sd_event_run(fixture->event, 0) > 0)
		;
	assert_int_equal(fixture->n_exits, 1);
}

static void test_server_exit_status_is_told(void **data)
{
	struct fixture *fixture = *data;

	watch(fixture, start(7, -1));
	await_exit(fixture);
	assert_int_equal(fixture->exit_code, 7);
	assert_int_equal(fixture->exit_signal, 0);
	assert_int_equal(server_signal(fixture->server, SIGTERM), -ESRCH);
}

static void test_server_signal_ends_it_and_is_told(void **data)
{
	struct fixture *fixture = *data;

	watch(fixture, start_sleeper());
	assert_int_equal(server_signal(fixture->server, SIGUSR1), 0);
	await_exit(fixture);
	assert_int_equal(fixture->exit_code, 0);
	assert_int_equal(fixture->exit_signal, SIGUSR1);
}

static void test_server_reap_tells_at_once(void **data)
{
	struct fixture *fixture = *data;
	siginfo_t info;
	pid_t pid = start(3, -1);

	watch(fixture, pid);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	server_reap(fixture->server);
	assert_int_equal(fixture->n_exits, 1);
	assert_int_equal(fixture->exit_code, 3);
	while (sd_event_run(fixture->event, 0) > 0)
		;
	assert_int_equal(fixture->n_exits, 1);
}

static void test_server_other_children_are_reaped_silently(void **data)
{
	struct fixture *fixture = *data;
	pid_t main_pid = start_sleeper(), other = start(0, -1);

	watch(fixture, main_pid);
	for (int i = 0; i < 20 && kill(other, 0) == 0; i++)
		assert_true(sd_event_run(fixture->event, DEADLINE_US) >= 0);
	assert_int_equal(kill(other, 0), -1);
	assert_int_equal(fixture->n_exits, 0);
	server_signal(fixture->server, SIGKILL);
	await_exit(fixture);
}

static void test_server_other_main_process_replaces_the_first(void **data)
{
	struct fixture *fixture = *data;
	pid_t first = start_sleeper(), second = start_sleeper();

	watch(fixture, first);
	watch(fixture, second);
	kill(first, SIGKILL);
	for (int i = 0; i < 20 && kill(first, 0) == 0; i++)
		assert_true(sd_event_run(fixture->event, DEADLINE_US) >= 0);
	assert_int_equal(fixture->n_exits, 0);
	kill(second, SIGKILL);
	await_exit(fixture);
	assert_int_equal(fixture->exit_signal, SIGKILL);
}

/* A server that is the child of another process, which waits for it if it @reaps. */
static void watch_grandchild(struct fixture *fixture, bool reaps)
{
	int wires[2], hold[2];
	pid_t parent, grandchild = 0;

	assert_int_equal(pipe(wires), 0);
	assert_int_equal(pipe(hold), 0);
	parent = fork();
	assert_true(parent >= 0);
	if (parent == 0) {
		close(hold[1]);
		grandchild = start(5, hold[0]);
		if (write(wires[1], &grandchild, sizeof(grandchild)) < 0 ||
		    (reaps && waitpid(grandchild, NULL, 0) < 0))
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(wires[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
	watch(fixture, grandchild);
	close(hold[0]);
	close(hold[1]);
	await_exit(fixture);
	kill(parent, SIGKILL);
	assert_int_equal(waitpid(parent, NULL, 0), parent);
	close(wires[0]);
	close(wires[1]);
}

static void test_server_that_is_no_child_is_watched_too(void **data)
{
	struct fixture *fixture = *data;

	watch_grandchild(fixture, false);
	assert_int_equal(fixture->exit_code, SERVER_EXIT_UNKNOWN);
}

/* PIDFD_GET_INFO tells the exit since Linux 6.15. */
static void test_server_that_another_has_reaped_is_told_of(void **data)
{
	struct fixture *fixture = *data;
	int major = 0, minor = 0;
	struct utsname name;

	assert_int_equal(uname(&name), 0);
	(void)sscanf(name.release, "%d.%d", &major, &minor);
	if (major < 6 || (major == 6 && minor < 15))
		return;
	watch_grandchild(fixture, true);
	assert_int_equal(fixture->exit_code, 5);
	assert_int_equal(fixture->exit_signal, 0);
}

/*
 * A child that forks twice as daemons do; the last one says its pid on @say_fd, and goes on until
 * it is killed or @hold_fd is at its end.
 */
static pid_t start_daemon(int say_fd, const int hold[2])
{
	pid_t pid = fork();
	char byte;

	assert_true(pid >= 0);
	if (pid != 0)
		return pid;
	if (fork() == 0) {
		setsid();
		pid = fork();
		if (pid == 0) {
			pid = getpid();
			close(hold[1]);
			if (write(say_fd, &pid, sizeof(pid)) < 0 || read(hold[0], &byte, 1) != 0)
				_exit(1);
		}
	}
	_exit(0);
}

static void test_server_daemon_is_followed_to_the_last(void **data)
{
	cleanup(processes_free) struct processes *processes = NULL;
	struct fixture *fixture = *data;
	int say[2], hold[2];
	pid_t last = 0;

	assert_int_equal(pipe(say), 0);
	assert_int_equal(pipe(hold), 0);
	assert_int_equal(processes_new(NULL, getpid(), &processes), 0);
	for (int round = 0; round < 50; round++) {
		fixture->n_exits = 0;
		watch(fixture, start_daemon(say[1], hold));
		/* By way of the second one, where that has not ended before the first. */
		for (int i = 0; i < 2 && (i == 0 || server_pid(fixture->server) != last); i++) {
			fixture->n_exits = 0;
			await_exit(fixture);
			assert_true(server_follow(fixture->server, processes));
			if (i == 0)
				assert_int_equal(read(say[0], &last, sizeof(last)), sizeof(last));
		}
		assert_int_equal(server_pid(fixture->server), last);
		fixture->n_exits = 0;
		assert_int_equal(kill(last, SIGKILL), 0);
		await_exit(fixture);
		assert_int_equal(fixture->exit_signal, SIGKILL);
		assert_false(server_follow(fixture->server, processes));
		assert_int_equal(server_pid(fixture->server), 0);
	}
	for (size_t i = 0; i < 2; i++) {
		close(say[i]);
		close(hold[i]);
	}
}

static void test_server_watch_of_nobody_fails(void **data)
{
	struct fixture *fixture = *data;
	struct error err;
	pid_t pid = start(0, -1);

	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(server_watch(fixture->server, pid, &err), -ESRCH);
	assert_int_equal(server_pid(fixture->server), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

/* What a zombie still says. */
static void test_server_last_is_known_when_the_exit_is_told(void **data)
{
	struct fixture *fixture = *data;
	const struct server_last *last = server_last(fixture->server);
	uid_t uid = geteuid() == 0 ? 4711 : geteuid();
	struct error err;
	int fds[2];
	pid_t pid;

	assert_false(last->known);
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		char byte;

		close(fds[1]);
		prctl(PR_SET_NAME, "a name");
		if (waitpid(start(0, -1), NULL, 0) < 0 || (geteuid() == 0 && setreuid(1, uid) < 0))
			_exit(99);
		_exit((int)read(fds[0], &byte, 1));
	}
	assert_int_equal(server_watch(fixture->server, pid, &err), 0);
	close(fds[0]);
	close(fds[1]);
	while (fixture->n_exits == 0)
		assert_true(sd_event_run(fixture->event, DEADLINE_US) > 0);
	assert_int_equal(fixture->exit_code, 0);
	assert_true(last->known);
	assert_int_equal(last->uid, uid);
	assert_string_equal(last->name, "a name");
	assert_true(last->had_children);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_server_exit_status_is_told),
		TEST(test_server_signal_ends_it_and_is_told),
		TEST(test_server_reap_tells_at_once),
		TEST(test_server_other_children_are_reaped_silently),
		TEST(test_server_other_main_process_replaces_the_first),
		TEST(test_server_that_is_no_child_is_watched_too),
		TEST(test_server_that_another_has_reaped_is_told_of),
		TEST(test_server_daemon_is_followed_to_the_last),
		TEST(test_server_watch_of_nobody_fails),
		TEST(test_server_last_is_known_when_the_exit_is_told),
	};

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
