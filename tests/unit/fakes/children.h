/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * children: whether this process has any, such as the helpers of errand.h. They count until they
 * are reaped, which this does not do.
 */
#pragma once

#include <stdbool.h>
#include <sys/wait.h>

static inline bool has_children(void)
{
	siginfo_t info;

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}
