/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "orchestrator/host/first.h"

static struct error err;

/* The first process of a PID namespace calls it, and then @daemon. Its pid, out here. */
static pid_t start(void (*daemon)(int out), int out)
{
	/* fork(2) of libc would believe what it knows of the pid. */
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);

	if (pid < 0)
		skip();
	if (pid > 0)
		return pid;
	if (first_step_aside(&err) < 0)
		_exit(99);
	daemon(out);
	_exit(98);
}

static int end_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void wait_for_signal(int out)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	(void)!write(out, "r", 1);
	_exit(sigwaitinfo(&set, NULL) == SIGTERM && getpid() != 1 && getpgid(0) == getpid() ? 7
											    : 1);
}

static void test_first_hands_signals_on_and_ends_as_the_daemon_does(void **state)
{
	int ready[2];
	pid_t pid;
	char c;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	pid = start(wait_for_signal, ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	kill(pid, SIGTERM);
	assert_int_equal(end_of(pid), 7);
	close(ready[0]);
	close(ready[1]);
}

static void die(int out)
{
	(void)out;
	raise(SIGKILL);
}

static void test_first_tells_of_a_signal_as_shells_do(void **state)
{
	(void)state;
	assert_int_equal(end_of(start(die, -1)), 128 + SIGKILL);
}

/* A grandchild whose parent is gone; then it is nobody any more, not even a zombie. */
static void leave_an_orphan(int out)
{
	pid_t orphan;
	int ids[2];

	(void)out;
	if (pipe(ids) < 0)
		_exit(1);
	if (fork() == 0) {
		orphan = fork();
		if (orphan == 0)
			pause();
		(void)!write(ids[1], &orphan, sizeof(orphan));
		_exit(0);
	}
	wait(NULL);
	if (read(ids[0], &orphan, sizeof(orphan)) != sizeof(orphan) || kill(orphan, SIGKILL) < 0)
		_exit(2);
	/* The deadline is the test's. */
	while (kill(orphan, 0) == 0)
		usleep(1000);
	_exit(5);
}

static void test_first_waits_for_orphans(void **state)
{
	(void)state;
	alarm(60);
	assert_int_equal(end_of(start(leave_an_orphan, -1)), 5);
	alarm(0);
}

static void test_first_of_another_process_changes_nothing(void **state)
{
	pid_t pid = getpid(), group = getpgid(0);

	(void)state;
	assert_int_equal(first_step_aside(&err), 0);
	assert_int_equal(getpid(), pid);
	assert_int_equal(getpgid(0), group);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_hands_signals_on_and_ends_as_the_daemon_does),
		cmocka_unit_test(test_first_tells_of_a_signal_as_shells_do),
		cmocka_unit_test(test_first_waits_for_orphans),
		cmocka_unit_test(test_first_of_another_process_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
