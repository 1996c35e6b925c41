/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exit_status: the exit statuses of the command line. Scripts depend on them. The daemon's problem
 * documents ("code") and final events ("exit") carry the same numbers.
 */
#pragma once

enum exit_status {
	EXIT_STATUS_DONE = 0,
	EXIT_STATUS_ERROR = 1,
	EXIT_STATUS_USAGE = 2,
	EXIT_STATUS_NOT_HEALTHY = 3, /* the new generation never became healthy */
	EXIT_STATUS_ROLLED_BACK = 4, /* after the shift */
	EXIT_STATUS_CUT = 5,         /* done, but connections were cut */
	EXIT_STATUS_BUSY = 6,        /* with another order, or the daemon with other clients */
	EXIT_STATUS_UNREACHABLE = 7, /* the daemon: there is none */
	EXIT_STATUS_DOWN = 8,        /* the order failed, and nothing serves */
	/* Of "status" and "list", which are not about an order: */
	EXIT_STATUS_DEGRADED = 9, /* something serves less well than it should */
	EXIT_STATUS_DEAD = 10,    /* something that should serve does not, or is refused */
};
