/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <cmocka.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/signals.h"

/* As /proc/self/status has it; UINT64_MAX where it has not. */
static uint64_t status_mask(const char *name)
{
	uint64_t mask = UINT64_MAX;
	char line[256];
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, name, strlen(name)) == 0)
			sscanf(line + strlen(name), "%" SCNx64, &mask);
	if (f)
		fclose(f);
	return mask;
}

/* Signal 32 is one of glibc's own: only the system call can ignore it. */
static int in_child(void)
{
	struct {
		void *handler;
		unsigned long flags;
		void *restorer;
		uint64_t mask;
	} ignore = {.handler = (void *)SIG_IGN};
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (syscall(SYS_rt_sigaction, 32, &ignore, NULL, sizeof(uint64_t)) < 0)
		return 1;
	if (status_mask("SigIgn:") == 0 || status_mask("SigBlk:") == 0)
		return 2;
	signals_reset();
	if (status_mask("SigIgn:") != 0)
		return 3;
	if (status_mask("SigBlk:") != 0)
		return 4;
	return status_mask("SigCgt:") == 0 ? 0 : 5;
}

static void test_signals_reset_leaves_nothing_ignored_or_blocked(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(in_child());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signals_reset_leaves_nothing_ignored_or_blocked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
