/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * apply: put process settings into force, for the calling process: the server's, between fork and
 * exec. Everything here is async-signal-safe.
 *
 * The order matters, and is the caller's (launch.c):
 *
 *	apply_oom_score	    while root, and before a limit of open files could be in the way
 *	apply_limits	    while root: CAP_SYS_RESOURCE; before nice, which one of them allows
 *	apply_nice	    while root: CAP_SYS_NICE
 *	apply_bounding_set  while root: CAP_SETPCAP. What the process can do now stays as it is
 *	apply_keep	    what comes next is the change of the user id
 *	apply_capabilities  as the user
 *	apply_no_new_privileges
 *
 * All return 0 or a negative errno. What is not set is left as it is; but ambient capabilities,
 *which whoever started baton may have given it, are baton's own and are never passed on as they
 *are.
 *
 * An inherited limit is left alone as well: nothing in the agent changes its own, so what it was
 * started with is what the server gets.
 */
#pragma once

#include <stdbool.h>

#include "common/process_settings.h"

int apply_oom_score(const struct process_settings *settings);

/* @ret_limit: which one could not be set. */
int apply_limits(const struct process_settings *settings, int *ret_limit);

int apply_nice(const struct process_settings *settings);

/*
 * Drop all that is not kept. Capabilities that are to be kept must be there: -EPERM where one is
 * not. @ret_capability: which one it is about.
 */
int apply_bounding_set(const struct process_settings *settings, int *ret_capability);

/* The permitted capabilities are to survive the change to another user. */
int apply_keep(const struct process_settings *settings);

/*
 * @root: the user is root, and has by exec(2) what the bounding set allows: nothing else is
 * inherited. Otherwise the capabilities that are kept become permitted, effective, inheritable and
 * ambient (capabilities(7)), and none else: -EPERM where the process does not have one, named in
 * @ret_capability, which is -1 where it is about all of them.
 */
int apply_capabilities(const struct process_settings *settings, bool root, int *ret_capability);

int apply_no_new_privileges(const struct process_settings *settings);
