/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * as_user: opens files with the rights of a service's user, in a process that goes on as root.
 *
 * Only the ids for file systems change (setfsuid(2)), with the supplementary groups, and with them
 * the capabilities that pass over permissions. Meanwhile open nothing of baton's own, and do
 * nothing that may take long: for whoever looks, the process has that user's rights.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct as_user {
	uid_t uid;
	gid_t gid;
	const gid_t *groups; /* borrowed */
	size_t n_groups;
};

#define AS_USER_GROUPS_MAX 1024

/* What as_user_end() puts back. */
struct as_user_before {
	gid_t groups[AS_USER_GROUPS_MAX];
	int n_groups;
	int death_signal, dumpable; /* a change of ids resets them (prctl(2)) */
	gid_t gid;
};

/* Would another user's rights be others than those that the process has? */
bool as_user_differs(const struct as_user *user);

/*
 * From now on this thread opens files as @user, until as_user_end(). Returns 0 or a negative errno:
 * -EPERM if this process may not. Then nothing has changed.
 */
int as_user_begin(const struct as_user *user, struct as_user_before *ret);
void as_user_end(const struct as_user_before *before);
