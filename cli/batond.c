/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/batond.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "common/paths.h"

int cli_exec_batond(const char *const *argv, struct error *err)
{
	char program[PATH_MAX];
	int r;

	assert(argv && argv[0]);
	r = paths_program("batond", program, sizeof(program), err);
	if (r < 0)
		return r;
	/* exec drops what stdio has not written yet. */
	fflush(stdout);
	execv(program, (char *const *)argv);
	return error_set(err, -errno, "%s", program);
}
