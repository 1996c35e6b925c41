/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/as_user.h"

#include <errno.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/log.h"

/* 32-bit x86 and arm have an older call of that name, with ids of 16 bits. */
#ifdef SYS_setgroups32
#define SETGROUPS SYS_setgroups32
#else
#define SETGROUPS SYS_setgroups
#endif

#define NO_ID ((uid_t)-1) /* setfsuid(2) changes nothing, and tells what there is */

bool as_user_differs(const struct as_user *user)
{
	return user && user->uid != geteuid();
}

/* The C library's setgroups(3) would tell other threads, too. */
static int set_groups(size_t n, const gid_t *groups)
{
	return syscall(SETGROUPS, n, groups) < 0 ? -errno : 0;
}

static void put_back(const struct as_user_before *before)
{
	(void)setfsuid(geteuid());
	(void)setfsgid(before->gid);
	if (set_groups((size_t)before->n_groups, before->groups) < 0)
		log_error("the process's own groups cannot be set again after a file was opened "
			  "for a service");
	(void)prctl(PR_SET_DUMPABLE, before->dumpable, 0, 0, 0);
	(void)prctl(PR_SET_PDEATHSIG, before->death_signal, 0, 0, 0);
}

int as_user_begin(const struct as_user *user, struct as_user_before *ret)
{
	int r;

	ret->death_signal = 0;
	(void)prctl(PR_GET_PDEATHSIG, &ret->death_signal, 0, 0, 0);
	ret->dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
	ret->gid = (gid_t)setfsgid(NO_ID);
	ret->n_groups = getgroups(AS_USER_GROUPS_MAX, ret->groups);
	if (ret->n_groups < 0)
		return -errno;
	r = set_groups(user->n_groups, user->groups);
	if (r < 0)
		return r;
	(void)setfsgid(user->gid);
	(void)setfsuid(user->uid);
	/* Neither says whether it was allowed. */
	if ((uid_t)setfsuid(NO_ID) == user->uid && (gid_t)setfsgid(NO_ID) == user->gid)
		return 0;
	put_back(ret);
	return -EPERM;
}

void as_user_end(const struct as_user_before *before)
{
	put_back(before);
}
