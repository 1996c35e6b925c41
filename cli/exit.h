/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exit: the exit statuses (common/exit_status.h) as this program calls them.
 */
#pragma once

#include "common/exit_status.h"

enum cli_exit {
	CLI_DONE = EXIT_STATUS_DONE,
	CLI_ERROR = EXIT_STATUS_ERROR,
	CLI_USAGE = EXIT_STATUS_USAGE,
	CLI_NOT_HEALTHY = EXIT_STATUS_NOT_HEALTHY,
	CLI_ROLLED_BACK = EXIT_STATUS_ROLLED_BACK,
	CLI_CUT = EXIT_STATUS_CUT,
	CLI_BUSY = EXIT_STATUS_BUSY,
	CLI_UNREACHABLE = EXIT_STATUS_UNREACHABLE,
	CLI_DOWN = EXIT_STATUS_DOWN,
	CLI_DEGRADED = EXIT_STATUS_DEGRADED,
	CLI_DEAD = EXIT_STATUS_DEAD,
};

/* What came from outside, as an exit status: anything unknown is CLI_ERROR. */
static inline enum cli_exit cli_exit_from(long long code)
{
	return code >= CLI_DONE && code <= CLI_DOWN ? (enum cli_exit)code : CLI_ERROR;
}
