/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/pidfds.h"
#include "common/processes.h"

enum { DONE, NOT_HERE = 100 };

static pid_t start_idle(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static int end(pid_t pid)
{
	int status = 0;

	(void)kill(pid, SIGKILL);
	return waitpid(pid, &status, 0) == pid ? status : -1;
}

static void test_pidfds_tell_life_and_end(void **state)
{
	pid_t pid = start_idle();
	int pidfd = pidfd_open(pid, 0), status = 0;
	uint64_t cgroup;

	(void)state;
	assert_true(pidfd >= 0);
	assert_true(pidfds_alive(pidfd));
	assert_false(pidfds_status(pidfd, &status));
	(void)pidfds_cgroup(pidfd, &cgroup);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_true(WIFSIGNALED(end(pid)));
	assert_false(pidfds_alive(pidfd));
	/* Linux 6.15 tells; an older kernel does not, and says so. */
	if (pidfds_status(pidfd, &status))
		assert_int_equal(WTERMSIG(status), SIGKILL);
	close(pidfd);
}

/* ---- a pid that is given again -------------------------------------------------------------- */

/* In a pid namespace of its own: the next process has the pid @pid (pid_namespaces(7)). */
static int start_with_pid(pid_t pid)
{
	for (int i = 0; i < 100; i++) {
		FILE *last = fopen("/proc/sys/kernel/ns_last_pid", "we");
		pid_t got;

		if (!last)
			return -1;
		fprintf(last, "%d", (int)pid - 1);
		if (fclose(last) != 0)
			return -1;
		got = start_idle();
		if (got == pid)
			return 0;
		end(got);
	}
	return -1;
}

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			return __COUNTER__ + 1;                                                    \
	} while (0)

/* As the first process of the namespace: DONE, NOT_HERE, or which check has failed. */
static int reuse(void)
{
	struct processes *processes;
	pid_t first, main_pid;
	unsigned n = 0;
	int pidfd, r;

	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", 0, NULL) < 0)
		return NOT_HERE;
	CHECK(processes_new(NULL, getpid(), &processes) == 0);
	first = start_idle();
	pidfd = pidfd_open(first, 0);
	CHECK(pidfd >= 0);
	CHECK(processes_contain_pidfd(processes, first, pidfd) == 1);
	end(first);
	if (start_with_pid(first) < 0)
		return NOT_HERE;
	/* The pid is one of the instance's again, but not that process. */
	CHECK(processes_contain(processes, first) == 1);
	CHECK(processes_contain_pidfd(processes, first, pidfd) == -ESRCH);
	CHECK(pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 && errno == ESRCH);
	CHECK(kill(first, 0) == 0);
	CHECK(waitpid(first, NULL, WNOHANG) == 0);
	close(pidfd);
	/* All of them get a signal, and nobody else. */
	main_pid = start_idle();
	r = processes_signal(processes, SIGTERM, &n);
	CHECK(r == 0 && n == 2);
	CHECK(waitpid(first, NULL, 0) == first && waitpid(main_pid, NULL, 0) == main_pid);
	CHECK(processes_signal(processes, SIGTERM, &n) == 0 && n == 0);
	processes_free(processes);
	return DONE;
}

static void test_pidfds_reused_pid_is_never_hit(void **state)
{
	int status = 0;
	pid_t helper;

	(void)state;
	helper = fork();
	if (helper == 0) {
		pid_t first;

		if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
			_exit(NOT_HERE);
		first = fork();
		if (first == 0)
			_exit(reuse());
		if (waitpid(first, &status, 0) != first)
			_exit(99);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 98);
	}
	assert_int_equal(waitpid(helper, &status, 0), helper);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NOT_HERE) {
		print_message("skipped: no pid namespace can be made here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), DONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pidfds_tell_life_and_end),
		cmocka_unit_test(test_pidfds_reused_pid_is_never_hit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
