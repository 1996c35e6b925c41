/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * in_child: runs a part of a test where it can change nothing of the others'.
 */
#pragma once

#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

/* As root, else the test is skipped. @body says true if all was as it should be. */
static inline void in_child(bool (*body)(void))
{
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(body() ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}
