/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/orphans.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"

void orphan_init(struct orphan *orphan, uint64_t cookie, const char *address, uint16_t port)
{
	*orphan = (struct orphan){.cookie = cookie, .port = port};
	snprintf(orphan->address, sizeof(orphan->address), "%s", address);
}

struct search {
	struct orphan *list;
	size_t n;
};

static void forget_found(void *userdata)
{
	struct search *search = userdata;

	for (size_t k = 0; k < search->n; k++)
		search->list[k].listens = false;
}

static void note_found(void *userdata, const struct diag_listening *listening)
{
	struct search *search = userdata;

	for (size_t k = 0; k < search->n; k++) {
		if (search->list[k].cookie != listening->cookie)
			continue;
		search->list[k].listens = true;
		search->list[k].inode = listening->inode;
		search->list[k].uid = listening->uid;
	}
}

int orphans_listening(struct diag *diag, struct orphan *list, size_t n)
{
	struct search search = {.list = list, .n = n};
	int r, kept = 0;

	if (n == 0)
		return 0;
	r = diag_each_listener(diag, 0, forget_found, note_found, &search, NULL);
	if (r < 0)
		return r;
	for (size_t k = 0; k < n; k++)
		if (list[k].listens)
			list[kept++] = list[k];
	return kept;
}

static bool has_cookie(int fd, uint64_t cookie)
{
	uint64_t value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &value, &size) == 0 && value == cookie;
}

/*
 * Others that bind the address with SO_REUSEADDR are to succeed while it stays bound: both sockets
 * must have the option (inet_csk_get_port()).
 */
static int shut_duplicate(const struct orphan *orphan, const struct opener *opener)
{
	cleanup_close int pidfd = -1, copy = -1;
	const int on = 1;

	pidfd = pidfd_open(opener->pid, 0);
	if (pidfd < 0)
		return -errno;
	copy = pidfd_getfd(pidfd, opener->fd, 0);
	if (copy < 0)
		return -errno;
	if (!has_cookie(copy, orphan->cookie))
		return -ENOENT;
	(void)setsockopt(copy, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* -ENOTCONN: it does not listen any more. */
	return shutdown(copy, SHUT_RD) < 0 && errno != ENOTCONN ? -errno : 0;
}

static int shut(struct diag *diag, const struct orphan *orphan, const struct opener *opener)
{
	int r = opener->pid != 0 ? shut_duplicate(orphan, opener) : -ESRCH;

	if (r == 0)
		return 0;
	r = diag_destroy_listener(diag, orphan->port, orphan->cookie, NULL);
	return r == -ENOENT ? 0 : r;
}

/*
 * Whoever had it has closed it while all processes were looked through: a child that had been
 * forked and executes its program by now, or a message that has been received.
 */
static bool is_gone(struct diag *diag, const struct orphan *orphan, const struct opener *opener)
{
	struct orphan once = *orphan;

	return opener->pid == 0 && orphans_listening(diag, &once, 1) == 0;
}

int orphans_shut(struct diag *diag, struct orphan *list, size_t n)
{
	static const struct openers_liking whoever;
	struct opener openers[ORPHANS_MAX];
	int found, kept = 0;

	assert(n <= ORPHANS_MAX);
	found = orphans_listening(diag, list, n);
	if (found <= 0)
		return found;
	for (int k = 0; k < found; k++)
		openers[k] = (struct opener){.inode = list[k].inode};
	openers_find(openers, (size_t)found, &whoever);
	for (int k = 0; k < found; k++) {
		struct orphan *orphan = &list[kept];

		if (is_gone(diag, &list[k], &openers[k]))
			continue;
		*orphan = list[k];
		orphan->pid = openers[k].pid;
		memcpy(orphan->command, openers[k].command, sizeof(orphan->command));
		orphan->error = shut(diag, orphan, &openers[k]);
		kept++;
	}
	return kept;
}

char *orphan_describe(const struct orphan *orphan, char ret[static ORPHAN_TEXT_MAX])
{
	char who[64];

	if (orphan->pid != 0)
		snprintf(who, sizeof(who), "pid %d \"%s\" (uid %u)", (int)orphan->pid,
			 orphan->command, (unsigned)orphan->uid);
	else
		snprintf(who, sizeof(who), "a process that cannot be found (uid %u)",
			 (unsigned)orphan->uid);
	if (orphan->error == 0)
		snprintf(ret, ORPHAN_TEXT_MAX,
			 "%s has got away with a listening socket on %s: it was shut down, and "
			 "gets no connections; end that process",
			 who, orphan->address);
	else
		snprintf(ret, ORPHAN_TEXT_MAX,
			 "%s has got away with a listening socket on %s: it cannot be shut down "
			 "(%s); end that process",
			 who, orphan->address, strerror(-orphan->error));
	return ret;
}
