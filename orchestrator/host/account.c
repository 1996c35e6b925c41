/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/account.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "orchestrator/host/sight.h"

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
static int look_up_user(const char *name, uid_t uid, struct account **ret)
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

int account_of_this_host(uid_t uid, struct account **ret)
{
	cleanup_free char *buffer = malloc(BUFFER_MAX);
	FILE *file = buffer ? fopen("/etc/passwd", "re") : NULL;
	struct passwd entry, *found = NULL;
	int r = buffer ? -ENOENT : -ENOMEM;

	if (!file)
		return r;
	while (fgetpwent_r(file, &entry, buffer, BUFFER_MAX, &found) == 0 && entry.pw_uid != uid)
		found = NULL;
	if (found)
		r = copy_entry(found, ret);
	fclose(file);
	return r;
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

/* What a helper has found, as bytes: the texts one after the other behind it. */
struct account_answer {
	int r;
	uid_t uid;
	gid_t gid;
	size_t lengths[3]; /* of name, home, shell, with their NUL */
};

static void note_user(const char *question, int r, const struct account *account)
{
	const char *texts[] = {r == 0 ? account->name : "", r == 0 ? account->home : "",
			       r == 0 ? account->shell : ""};
	struct account_answer head = {.r = r};
	size_t n = sizeof(head);
	char *answer;

	if (!sight_is_on())
		return;
	head.uid = r == 0 ? account->uid : 0;
	head.gid = r == 0 ? account->gid : 0;
	for (size_t k = 0; k < 3; k++)
		n += head.lengths[k] = strlen(texts[k]) + 1;
	answer = malloc(n);
	if (!answer)
		return;
	memcpy(answer, &head, sizeof(head));
	n = sizeof(head);
	for (size_t k = 0; k < 3; k++) {
		memcpy(answer + n, texts[k], head.lengths[k]);
		n += head.lengths[k];
	}
	sight_note(question, answer, n);
	free(answer);
}

static bool recall_user(const char *question, int *ret_r, struct account **ret)
{
	struct account_answer head;
	struct passwd entry = {};
	const char *texts;
	const void *known;
	size_t n;

	if (!sight_recall(question, &known, &n) || n < sizeof(head))
		return false;
	memcpy(&head, known, sizeof(head));
	texts = (const char *)known + sizeof(head);
	entry.pw_uid = head.uid;
	entry.pw_gid = head.gid;
	entry.pw_name = (char *)texts;
	entry.pw_dir = (char *)texts + head.lengths[0];
	entry.pw_shell = (char *)texts + head.lengths[0] + head.lengths[1];
	*ret_r = head.r < 0 ? head.r : copy_entry(&entry, ret);
	return true;
}

static int find_user(const char *name, uid_t uid, struct account **ret)
{
	char question[SIGHT_QUESTION_MAX], what[128];
	int r;

	if (name)
		snprintf(what, sizeof(what), "user %.100s", name);
	else
		snprintf(what, sizeof(what), "user %u", uid);
	sight_ask(question, "account of %s", what);
	if (recall_user(question, &r, ret))
		return r;
	sight_at(what);
	r = look_up_user(name, uid, ret);
	note_user(question, r, r < 0 ? NULL : *ret);
	return r;
}

int account_by_name(const char *name, struct account **ret)
{
	return find_user(name, 0, ret);
}

int account_by_uid(uid_t uid, struct account **ret)
{
	return find_user(NULL, uid, ret);
}

static int look_up_group(const char *name, gid_t *ret)
{
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

struct group_answer {
	int r;
	gid_t gid;
};

int account_group(const char *name, gid_t *ret)
{
	char question[SIGHT_QUESTION_MAX], what[128];
	struct group_answer answer = {};
	const void *known;
	size_t n;

	if (account_number(name, ret))
		return 0;
	snprintf(what, sizeof(what), "group %.100s", name);
	sight_ask(question, "account of %s", what);
	if (sight_recall(question, &known, &n) && n == sizeof(answer)) {
		memcpy(&answer, known, n);
	} else {
		sight_at(what);
		answer.r = look_up_group(name, &answer.gid);
		sight_note(question, &answer, sizeof(answer));
	}
	if (answer.r == 0)
		*ret = answer.gid;
	return answer.r;
}

int account_groups(const char *name, gid_t gid, gid_t *ret, size_t max, size_t *ret_n)
{
	char question[SIGHT_QUESTION_MAX], what[128];
	const void *known;
	int n = (int)max;
	size_t size;

	snprintf(what, sizeof(what), "groups of user %.100s", name);
	sight_ask(question, "%s, %u, %zu", what, gid, max);
	if (sight_recall(question, &known, &size) && size <= max * sizeof(*ret)) {
		memcpy(ret, known, size);
		*ret_n = size / sizeof(*ret);
		return 0;
	}
	sight_at(what);
	if (getgrouplist(name, gid, ret, &n) < 0)
		return -E2BIG;
	sight_note(question, ret, (size_t)n * sizeof(*ret));
	*ret_n = (size_t)n;
	return 0;
}
