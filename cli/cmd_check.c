/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * "baton check FILE": batond reads it as it would at its start, and says what is wrong.
 * "baton doctor": batond tries what it needs of the kernel, and says what works.
 */
#include "cli/commands.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "common/paths.h"

/* Become batond; returns only where that failed. @file may be NULL. */
static enum cli_exit exec_batond(const struct cli_options *options, const char *option,
				 const char *file, struct error *err)
{
	char program[PATH_MAX];
	const char *argv[8];
	size_t n = 0;

	if (paths_program("batond", program, sizeof(program), err) < 0)
		return CLI_ERROR;
	argv[n++] = "batond";
	if (options->json)
		argv[n++] = "--json";
	argv[n++] = option;
	argv[n++] = file;
	argv[n] = NULL;
	fflush(stdout);
	execv(program, (char *const *)argv);
	error_set(err, -errno, "%s", program);
	return CLI_ERROR;
}

enum cli_exit cmd_check(const struct cli_options *options, struct error *err)
{
	return exec_batond(options, "--check", options->arguments[0], err);
}

enum cli_exit cmd_doctor(const struct cli_options *options, struct error *err)
{
	return exec_batond(options, "--doctor", NULL, err);
}
