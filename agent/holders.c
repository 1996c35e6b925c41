/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/holders.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* How often all the processes are looked through again because a holder went away meanwhile. */
#define ROUNDS_MAX 4

/* The inode of descriptor @fd of @pid where it is a socket (proc(5)), else 0. */
static uint64_t socket_inode(pid_t pid, const char *fd)
{
	char path[64], target[64];
	unsigned long long inode;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%.16s", (int)pid, fd);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return 0;
	target[n] = '\0';
	return sscanf(target, "socket:[%llu]", &inode) == 1 ? inode : 0;
}

static bool listens(int fd)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value;
}

static bool has_cookie(int fd, uint64_t cookie)
{
	uint64_t value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &value, &size) == 0 && value == cookie;
}

/*
 * Fetch a duplicate of the listener. -ENOENT where that descriptor is something else by now,
 * -ESHUTDOWN where the socket does not listen any more, whoever holds it.
 */
static int fetch(pid_t pid, int fd, const struct listener *listener, int *ret_fd)
{
	cleanup_close int pidfd = -1, copy = -1;

	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0)
		return errno == ESRCH ? -ENOENT : -errno;
	copy = pidfd_getfd(pidfd, fd, 0);
	if (copy < 0)
		return errno == ESRCH || errno == EBADF ? -ENOENT : -errno;
	if (!has_cookie(copy, listener->cookie))
		return -ENOENT;
	if (!listens(copy))
		return -ESHUTDOWN;
	*ret_fd = TAKE_FD(copy);
	return 0;
}

/* Is it still where it was seen last? Then 0 and a duplicate, or why there is none. */
static int fetch_seen(struct holders *holders, size_t i, const struct listener *listener,
		      int *ret_fd)
{
	char name[16];

	if (holders->seen[i].pid == 0)
		return -ENOENT;
	snprintf(name, sizeof(name), "%d", holders->seen[i].fd);
	if (socket_inode(holders->seen[i].pid, name) != listener->inode)
		return -ENOENT;
	return fetch(holders->seen[i].pid, holders->seen[i].fd, listener, ret_fd);
}

/* Note what @pid holds of those in @wanted. -EACCES where it may not be looked into. */
static int look_into(struct holders *holders, pid_t pid, const struct listeners *listeners,
		     const bool wanted[static PROTOCOL_SOCKETS_MAX])
{
	struct dirent *entry;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return errno == EACCES ? -EACCES : 0;
	while ((entry = readdir(dir))) {
		uint64_t inode = socket_inode(pid, entry->d_name);

		for (size_t i = 0; inode != 0 && i < listeners->n; i++) {
			if (!wanted[i] || listeners->list[i].inode != inode)
				continue;
			holders->seen[i].pid = pid;
			holders->seen[i].fd = (int)strtol(entry->d_name, NULL, 10);
		}
	}
	closedir(dir);
	return 0;
}

/* @ret_blind: there is a process that may not be looked into. */
static int look_for(struct holders *holders, const struct processes *processes,
		    const struct listeners *listeners,
		    const bool wanted[static PROTOCOL_SOCKETS_MAX], bool *ret_blind)
{
	cleanup_free pid_t *pids = NULL;
	size_t n;
	int r;

	*ret_blind = false;
	r = processes_list(processes, &pids, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < listeners->n; i++)
		if (wanted[i])
			holders->seen[i].pid = 0;
	for (size_t i = 0; i < n; i++)
		if (look_into(holders, pids[i], listeners, wanted) < 0)
			*ret_blind = true;
	return 0;
}

typedef void (*held_handler)(const struct listener *listener, int fd, void *data);

/*
 * Examine those in @wanted where they were seen last, and take from it what is settled. @last: an
 * answer is needed, and what fled from one process to another meanwhile counts as there.
 */
static void examine(struct holders *holders, const struct listeners *listeners, bool blind,
		    bool last, bool wanted[static PROTOCOL_SOCKETS_MAX], held_handler found,
		    void *data)
{
	for (size_t i = 0; i < listeners->n; i++) {
		cleanup_close int fd = -1;
		int r;

		if (!wanted[i])
			continue;
		r = fetch_seen(holders, i, &listeners->list[i], &fd);
		if (r == -ENOENT && holders->seen[i].pid != 0 && !last)
			continue;
		wanted[i] = false;
		if (r == -ENOENT && holders->seen[i].pid != 0)
			r = -EAGAIN;
		if (r == -ENOENT && blind)
			r = -EACCES;
		if (r != -ENOENT && r != -ESHUTDOWN)
			found(&listeners->list[i], r < 0 ? r : fd, data);
	}
}

static bool any_wanted(const bool wanted[static PROTOCOL_SOCKETS_MAX])
{
	for (size_t i = 0; i < PROTOCOL_SOCKETS_MAX; i++)
		if (wanted[i])
			return true;
	return false;
}

/*
 * Call @found for each socket that is held and listens, with a duplicate, or with the error that
 * prevents one. All processes are looked through only for those that are not where they were.
 */
static int for_each_held(struct holders *holders, const struct processes *processes,
			 const struct listeners *listeners, held_handler found, void *data)
{
	bool wanted[PROTOCOL_SOCKETS_MAX] = {false}, known[PROTOCOL_SOCKETS_MAX], blind = false;
	int r;

	for (size_t i = 0; i < listeners->n; i++)
		wanted[i] = true;
	for (size_t i = 0; i < PROTOCOL_SOCKETS_MAX; i++)
		known[i] = wanted[i] && holders->seen[i].pid != 0;
	examine(holders, listeners, false, false, known, found, data);
	for (size_t i = 0; i < listeners->n; i++)
		wanted[i] = known[i] || holders->seen[i].pid == 0;
	for (int round = 1; any_wanted(wanted) && round <= ROUNDS_MAX; round++) {
		r = look_for(holders, processes, listeners, wanted, &blind);
		if (r < 0)
			return r;
		examine(holders, listeners, blind, round == ROUNDS_MAX, wanted, found, data);
	}
	return 0;
}

static void count_held(const struct listener *listener, int fd, void *data)
{
	(void)listener;
	(void)fd;
	++*(int *)data;
}

int holders_count(struct holders *holders, const struct processes *processes,
		  const struct listeners *listeners)
{
	int n = 0, r;

	r = for_each_held(holders, processes, listeners, count_held, &n);
	return r < 0 ? r : n;
}

struct shutting {
	int n;
	int error;
	struct error *err;
};

static void shut_held(const struct listener *listener, int fd, void *data)
{
	struct shutting *shutting = data;
	int r = fd;

	if (fd >= 0)
		r = shutdown(fd, SHUT_RD) < 0 ? -errno : 0;
	if (r == 0)
		shutting->n++;
	else if (shutting->error == 0)
		shutting->error = error_set(shutting->err, r, "shut down the listener of %s",
					    listener->address.text);
}

int holders_shut(struct holders *holders, const struct processes *processes,
		 const struct listeners *listeners, struct error *err)
{
	struct shutting shutting = {.err = err};
	int r;

	r = for_each_held(holders, processes, listeners, shut_held, &shutting);
	if (r < 0)
		return error_set(err, r, "look for listeners");
	return shutting.error < 0 ? shutting.error : shutting.n;
}
