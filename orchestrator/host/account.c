/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/account.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_FIRST 4096
#define BUFFER_MAX   (1024 * 1024)

void account_free(struct account *account)
{
	if (!account)
		return;
	free(account->name);
	free(account->home);
	free(account->shell);
	free(account);
}

/* getpwnam(3): these, too, may stand for "not found". */
static int lookup_error(int code)
{
	switch (code) {
	case 0:
	case ENOENT:
	case ESRCH:
	case EBADF:
	case EPERM:
		return -ENOENT;
	default:
		return -code;
	}
}

static int copy_entry(const struct passwd *entry, struct account **ret)
{
	bool has_shell = entry->pw_shell && entry->pw_shell[0];
	cleanup(account_free) struct account *account = calloc(1, sizeof(*account));

	if (!account)
		return -ENOMEM;
	account->name = strdup(entry->pw_name);
	account->uid = entry->pw_uid;
	account->gid = entry->pw_gid;
	account->home = strdup(entry->pw_dir ? entry->pw_dir : "/");
	account->shell = strdup(has_shell ? entry->pw_shell : "/bin/sh");
	if (!account->name || !account->home || !account->shell)
		return -ENOMEM;
	*ret = TAKE_PTR(account);
	return 0;
}

/* By @name, or by @uid if that is NULL. */
static int find_user(const char *name, uid_t uid, struct account **ret)
{
	for (size_t size = BUFFER_FIRST; size <= BUFFER_MAX; size *= 2) {
		cleanup_free char *buffer = malloc(size);
		struct passwd entry, *found = NULL;
		int code;

		if (!buffer)
			return -ENOMEM;
		code = name ? getpwnam_r(name, &entry, buffer, size, &found)
			    : getpwuid_r(uid, &entry, buffer, size, &found);
		if (code == ERANGE)
			continue;
		return found ? copy_entry(found, ret) : lookup_error(code);
	}
	return -ERANGE;
}

bool account_number(const char *text, uint32_t *ret)
{
	size_t n = strspn(text, "0123456789");
	unsigned long long number;

	if (n == 0 || n > 10 || text[n] != '\0' || (text[0] == '0' && n > 1))
		return false;
	number = strtoull(text, NULL, 10);
	if (number >= UINT32_MAX)
		return false;
	*ret = (uint32_t)number;
	return true;
}

int account_by_name(const char *name, struct account **ret)
{
	return find_user(name, 0, ret);
}

int account_by_uid(uid_t uid, struct account **ret)
{
	return find_user(NULL, uid, ret);
}

int account_group(const char *name, gid_t *ret)
{
	if (account_number(name, ret))
		return 0;
	for (size_t size = BUFFER_FIRST; size <= BUFFER_MAX; size *= 2) {
		cleanup_free char *buffer = malloc(size);
		struct group entry, *found = NULL;
		int code;

		if (!buffer)
			return -ENOMEM;
		code = getgrnam_r(name, &entry, buffer, size, &found);
		if (code == ERANGE)
			continue;
		if (!found)
			return lookup_error(code);
		*ret = found->gr_gid;
		return 0;
	}
	return -ERANGE;
}

int account_groups(const char *name, gid_t gid, gid_t *ret, size_t max, size_t *ret_n)
{
	int n = (int)max;

	if (getgrouplist(name, gid, ret, &n) < 0)
		return -E2BIG;
	*ret_n = (size_t)n;
	return 0;
}
