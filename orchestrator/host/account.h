/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * account: users and groups of the host (getpwnam_r(3) and relatives, so NSS decides).
 *
 * -ENOENT: there is none of that name or number. Other errors are those of the lookup: the user may
 * exist all the same.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"

struct account {
	char *name;
	uid_t uid;
	gid_t gid;
	char *home;
	char *shell; /* "/bin/sh" if the entry has none */
};

/*
 * Is @text the number of a user or group, and which? Digits without a leading zero; 4294967295 is
 * none: it means "leave as it is" to the kernel (setuid(2)).
 */
bool account_number(const char *text, uint32_t *ret);

int account_by_name(const char *name, struct account **ret);
int account_by_uid(uid_t uid, struct account **ret);

/*
 * As account_by_uid(), but from /etc/passwd alone: the name service, which may ask another host and
 * wait for it, is not asked. For names in messages.
 */
int account_of_this_host(uid_t uid, struct account **ret);

void account_free(struct account *account);
DEFINE_CLEANUP(struct account *, account_free);

/* The number of the group @name. A number stands for itself, whether or not it has an entry. */
int account_group(const char *name, gid_t *ret);

/* All groups of the user @name, @gid among them. -E2BIG: they are more than @max. */
int account_groups(const char *name, gid_t gid, gid_t *ret, size_t max, size_t *ret_n);
