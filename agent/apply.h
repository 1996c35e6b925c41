/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * apply: gives the calling process its settings (common/process_settings.h). The caller is the
 * child between fork and exec that becomes the server; everything here is async-signal-safe.
 *
 * launch.c calls the functions in this order, which matters:
 *
 *	apply_oom_score		as root; before a limit of open files could be in the way
 *	apply_limits		as root (CAP_SYS_RESOURCE); before nice, which a limit can allow
 *	apply_nice		as root (CAP_SYS_NICE)
 *	apply_bounding_set	as root (CAP_SETPCAP); the process can still do what it could
 *	apply_keep		right before the change of the user id
 *	apply_capabilities	as the user
 *	apply_no_new_privileges
 *
 * All return 0 or a negative errno. A setting that is not set leaves the process as it is, with one
 * exception: ambient capabilities are always cleared. They may have been given to baton, and are
 * not the server's.
 *
 * The server inherits the limits that the agent was started with: the agent never changes its own.
 */
#pragma once

#include <stdbool.h>

#include "common/process_settings.h"

/* How readily the kernel kills it for lack of memory (proc(5): oom_score_adj). */
int apply_oom_score(const struct process_settings *settings);

/* Set the resource limits. After an error *ret_limit is the one that could not be set. */
int apply_limits(const struct process_settings *settings, int *ret_limit);

/* Set the nice value. */
int apply_nice(const struct process_settings *settings);

/*
 * Drop all capabilities from the bounding set but those of the settings. -EPERM if one of these is
 * not in it. After an error *ret_capability is the capability that it is about.
 */
int apply_bounding_set(const struct process_settings *settings, int *ret_capability);

/* Let the permitted capabilities survive the change to another user. */
int apply_keep(const struct process_settings *settings);

/*
 * Clear the ambient capabilities. Then, if the settings name capabilities:
 *
 *	@root is true	The user is root, who gets by exec(2) what the bounding set allows. No other
 *			capability stays inheritable.
 *	@root is false	Exactly those of the settings become permitted, effective, inheritable and
 *			ambient (capabilities(7)). -EPERM if the process lacks one of them.
 *
 * After an error *ret_capability is the capability that it is about, -1 if it is about all of them.
 */
int apply_capabilities(const struct process_settings *settings, bool root, int *ret_capability);

/* Let no program that is executed later gain privileges (prctl(2): PR_SET_NO_NEW_PRIVS). */
int apply_no_new_privileges(const struct process_settings *settings);
