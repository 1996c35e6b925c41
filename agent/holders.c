/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/holders.h"

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* How often all processes are searched again because a socket moved to another one meanwhile. */
#define ROUNDS_MAX 4

/* The longest delay before a lost socket is looked for again. */
#define LOOK_AGAIN_MAX_MS 1000

static bool listens(int fd)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value;
}

static bool is_mptcp(int fd)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &value, &size) == 0 &&
	       value == IPPROTO_MPTCP;
}

static bool has_cookie(int fd, uint64_t cookie)
{
	uint64_t value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &value, &size) == 0 && value == cookie;
}

/* The same as fetch(), whether it listens or not. */
static int fetch_any(pid_t pid, int fd, const struct listener *listener, int *ret_fd)
{
	cleanup_close int pidfd = -1, copy = -1;

	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0)
		return errno == ESRCH ? -ENOENT : -errno;
	copy = pidfd_getfd(pidfd, fd, 0);
	if (copy < 0)
		return errno == ESRCH || errno == EBADF ? -ENOENT : -errno;
	if (is_mptcp(copy))
		return -EPROTONOSUPPORT;
	if (!has_cookie(copy, listener->cookie))
		return -ENOENT;
	*ret_fd = TAKE_FD(copy);
	return 0;
}

/*
 * Fetch a duplicate of @listener from descriptor @fd of @pid. Returns 0 or
 *	-ENOENT			that descriptor is something else by now
 *	-ESHUTDOWN		the socket no longer listens, whoever holds it
 *	-EPROTONOSUPPORT	it is an MPTCP socket
 *	another negative errno
 */
static int fetch(pid_t pid, int fd, const struct listener *listener, int *ret_fd)
{
	cleanup_close int copy = -1;
	int r = fetch_any(pid, fd, listener, &copy);

	if (r < 0)
		return r;
	if (!listens(copy))
		return -ESHUTDOWN;
	*ret_fd = TAKE_FD(copy);
	return 0;
}

/* Is it still where it was seen last? (By its inode: it is not fetched.) */
static bool is_where_seen(const struct listener *listener)
{
	char name[16];

	if (listener->seen_pid == 0)
		return false;
	snprintf(name, sizeof(name), "%d", listener->seen_fd);
	return processes_socket(listener->seen_pid, name) == listener->inode;
}

/* Fetch it from where it was seen last. Errors are those of fetch(). */
static int fetch_seen(const struct listener *listener, int *ret_fd)
{
	if (!is_where_seen(listener))
		return -ENOENT;
	return fetch(listener->seen_pid, listener->seen_fd, listener, ret_fd);
}

/* Note which of the @wanted listeners @pid holds. -EACCES if we may not look. */
static int search_process(pid_t pid, struct listeners *listeners,
			  const bool wanted[static LISTENERS_MAX])
{
	struct dirent *entry;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return errno == EACCES ? -EACCES : 0;
	while ((entry = readdir(dir))) {
		uint64_t inode = processes_socket(pid, entry->d_name);

		for (size_t i = 0; inode != 0 && i < listeners->n; i++) {
			if (!wanted[i] || listeners->list[i].inode != inode)
				continue;
			listeners->list[i].seen_pid = pid;
			listeners->list[i].seen_fd = (int)strtol(entry->d_name, NULL, 10);
		}
	}
	closedir(dir);
	return 0;
}

/* Search all processes for the @wanted listeners. *ret_blind: we may not look into one of them. */
static int search_all(const struct processes *processes, struct listeners *listeners,
		      const bool wanted[static LISTENERS_MAX], bool *ret_blind)
{
	cleanup_free pid_t *pids = NULL;
	size_t n;
	int r;

	*ret_blind = false;
	r = processes_list(processes, &pids, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < listeners->n; i++)
		if (wanted[i]) {
			listeners->list[i].seen_pid = 0;
			listeners->list[i].seen_away = false;
		}
	for (size_t i = 0; i < n; i++)
		if (search_process(pids[i], listeners, wanted) < 0)
			*ret_blind = true;
	return 0;
}

/* Search all processes of the host but the agent for those @wanted listeners that are not seen. */
static void search_host(struct listeners *listeners, const bool wanted[static LISTENERS_MAX])
{
	bool unseen[LISTENERS_MAX] = {false}, any = false;
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	for (size_t i = 0; i < listeners->n; i++) {
		unseen[i] = wanted[i] && listeners->list[i].seen_pid == 0;
		any |= unseen[i];
	}
	while (dir && any && (entry = readdir(dir))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (pid > 0 && pid != getpid())
			(void)search_process(pid, listeners, unseen);
	}
	if (dir)
		closedir(dir);
	for (size_t i = 0; i < listeners->n; i++)
		if (unseen[i])
			listeners->list[i].seen_away = listeners->list[i].seen_pid != 0;
}

/* *fd is a duplicate, or the negative errno why there is none. Set it to -1 to keep it. */
typedef void (*held_handler)(struct listener *listener, int *fd, void *data);

/*
 * Fetch the @wanted listeners from where they were seen last, call @found for those that are held,
 * and clear @wanted of all that are decided. @blind: an unseen one may be in a process that we may
 * not look into. @last: decide all; a socket that has moved to another process meanwhile counts as
 * held.
 */
static void examine(struct listeners *listeners, bool blind, bool last,
		    bool wanted[static LISTENERS_MAX], held_handler found, void *data)
{
	for (size_t i = 0; i < listeners->n; i++) {
		struct listener *listener = &listeners->list[i];
		cleanup_close int fd = -1;
		int r;

		if (!wanted[i])
			continue;
		r = fetch_seen(listener, &fd);
		if (r == -ENOENT && listener->seen_pid != 0 && !last)
			continue;
		wanted[i] = false;
		if (r == -ENOENT && listener->seen_pid != 0)
			r = -EAGAIN;
		if (r == -ENOENT && blind)
			r = -EACCES;
		if (r == -ENOENT || r == -ESHUTDOWN)
			continue;
		if (r < 0)
			fd = r;
		found(listener, &fd, data);
	}
}

static bool any_wanted(const bool wanted[static LISTENERS_MAX], size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (wanted[i])
			return true;
	return false;
}

/*
 * Call @found for each listener that a process of the instance holds and that listens, with a
 * duplicate, or with the reason why there is none. All processes are searched only for those that
 * have moved.
 */
static int for_each_held(const struct processes *processes, struct listeners *listeners,
			 held_handler found, void *data)
{
	bool wanted[LISTENERS_MAX] = {false}, known[LISTENERS_MAX] = {false}, blind = false;
	int r;

	for (size_t i = 0; i < listeners->n; i++)
		known[i] = listeners->list[i].seen_pid != 0 && !listeners->list[i].seen_away;
	for (size_t i = 0; i < listeners->n; i++)
		wanted[i] = !known[i];
	examine(listeners, false, false, known, found, data);
	for (size_t i = 0; i < listeners->n; i++)
		wanted[i] |= known[i];
	for (int round = 1; any_wanted(wanted, listeners->n) && round <= ROUNDS_MAX; round++) {
		r = search_all(processes, listeners, wanted, &blind);
		if (r < 0)
			return r;
		examine(listeners, blind, round == ROUNDS_MAX, wanted, found, data);
	}
	return 0;
}

static void count_held(struct listener *listener, int *fd, void *data)
{
	(void)listener;
	(void)fd;
	++*(int *)data;
}

int holders_count(const struct processes *processes, struct listeners *listeners)
{
	int n = 0, r;

	r = for_each_held(processes, listeners, count_held, &n);
	return r < 0 ? r : n;
}

/* What shut_held() has done so far. */
struct shutting {
	int n;
	int error;
	struct error *err;
};

static void shut_held(struct listener *listener, int *fd, void *data)
{
	struct shutting *shutting = data;
	int r = *fd;

	if (r >= 0)
		r = shutdown(*fd, SHUT_RD) < 0 ? -errno : 0;
	if (r == 0)
		shutting->n++;
	else if (shutting->error == 0)
		shutting->error = error_set(shutting->err, r, "shut down the listener of %s",
					    listener->address.text);
}

int holders_shut(const struct processes *processes, struct listeners *listeners, struct error *err)
{
	struct shutting shutting = {.err = err};
	int r;

	r = for_each_held(processes, listeners, shut_held, &shutting);
	if (r < 0)
		return error_set(err, r, "look for listeners");
	return shutting.error < 0 ? shutting.error : shutting.n;
}

static void take_held(struct listener *listener, int *fd, void *data)
{
	int *error = data;

	if (*fd >= 0)
		listener->fd = TAKE_FD(*fd);
	else if (*fd == -EPROTONOSUPPORT)
		listener->mptcp = true;
	else if (*error == 0)
		*error = *fd;
}

int holders_fetch(const struct processes *processes, struct listeners *listeners)
{
	int error = 0, r;

	r = for_each_held(processes, listeners, take_held, &error);
	return r < 0 ? r : error;
}

/* From where it was seen. What only strangers have may be beyond reach: then it is left to them. */
static int adopt_seen(struct listener *listener, bool blind)
{
	int r;

	if (listener->seen_pid == 0)
		return blind ? -EACCES : 0;
	r = fetch_any(listener->seen_pid, listener->seen_fd, listener, &listener->fd);
	if (listener->seen_away) {
		listener->seen_pid = 0;
		listener->seen_away = false;
		return 0;
	}
	return r == -ENOENT ? 0 : r;
}

int holders_adopt(const struct processes *processes, struct listeners *listeners)
{
	bool wanted[LISTENERS_MAX] = {false}, blind;
	int error, r;

	for (size_t i = 0; i < listeners->n; i++)
		wanted[i] = true;
	error = search_all(processes, listeners, wanted, &blind);
	if (error == 0 && !blind)
		search_host(listeners, wanted);
	for (size_t i = 0; error == 0 && i < listeners->n; i++) {
		r = adopt_seen(&listeners->list[i], blind);
		if (r < 0)
			error = r;
	}
	return error;
}

pid_t holders_blind(const struct processes *processes)
{
	cleanup_free pid_t *pids = NULL;
	size_t n;

	if (processes_list(processes, &pids, &n) < 0)
		return 0;
	for (size_t i = 0; i < n; i++) {
		char path[64];
		DIR *dir;

		snprintf(path, sizeof(path), "/proc/%d/fd", (int)pids[i]);
		dir = opendir(path);
		if (dir)
			closedir(dir);
		else if (errno == EACCES)
			return pids[i];
	}
	return 0;
}

/* ---- lost ----------------------------------------------------------------------------------- */

static void note_lost(struct listener *listener, uint64_t now_ms)
{
	uint64_t delay_ms;

	if (listener->lost_ms == 0)
		listener->lost_ms = now_ms;
	delay_ms = now_ms - listener->lost_ms;
	if (delay_ms > LOOK_AGAIN_MAX_MS)
		delay_ms = LOOK_AGAIN_MAX_MS;
	listener->look_ms = now_ms + delay_ms;
}

static void note_found(struct listener *listener)
{
	listener->lost_ms = 0;
	listener->look_ms = 0;
}

int holders_look(const struct processes *processes, struct listeners *listeners, uint64_t now_ms,
		 bool anywhere)
{
	bool wanted[LISTENERS_MAX] = {false}, blind = false;
	int r;

	for (size_t i = 0; i < listeners->n; i++) {
		struct listener *listener = &listeners->list[i];

		if (listener->earlier)
			continue;
		if (is_where_seen(listener))
			note_found(listener);
		else
			wanted[i] = now_ms >= listener->look_ms;
	}
	if (!any_wanted(wanted, listeners->n))
		return 0;
	r = search_all(processes, listeners, wanted, &blind);
	if (r < 0)
		return r;
	if (anywhere && !blind)
		search_host(listeners, wanted);
	for (size_t i = 0; i < listeners->n; i++) {
		if (!wanted[i])
			continue;
		if (blind || listeners->list[i].seen_pid != 0)
			note_found(&listeners->list[i]);
		else
			note_lost(&listeners->list[i], now_ms);
	}
	return 0;
}

bool holders_have_stayed(const struct listeners *listeners)
{
	for (size_t i = 0; i < listeners->n; i++) {
		const struct listener *listener = &listeners->list[i];

		if (!listener->earlier && listener->seen_pid != 0 && !is_where_seen(listener))
			return false;
	}
	return true;
}
