/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exit: the exit statuses of the command line. Scripts depend on them; the daemon's problem
 * documents ("code") and final events ("exit") carry the same numbers.
 */
#pragma once

enum cli_exit {
	CLI_DONE = 0,
	CLI_ERROR = 1,
	CLI_USAGE = 2,
	CLI_NOT_HEALTHY = 3, /* the new generation never became healthy; the old one still serves */
	CLI_ROLLED_BACK = 4, /* rolled back after the shift */
	CLI_CUT = 5,         /* done, but connections were cut at the deadline */
	CLI_BUSY = 6,
	CLI_UNREACHABLE = 7,
};

/* What came from outside, as an exit status: anything unknown is CLI_ERROR. */
static inline enum cli_exit cli_exit_from(long long code)
{
	return code >= CLI_DONE && code <= CLI_UNREACHABLE ? (enum cli_exit)code : CLI_ERROR;
}
