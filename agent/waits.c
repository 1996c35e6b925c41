/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/waits.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/processes.h"

/* So many threads of a process are looked at, and so many descriptors of a poll(2). */
#define THREADS_MAX 1024
#define POLLED_MAX  4096

/* So many descriptors of an epoll. A server with more has its listener among them all the same. */
#define WATCHED_MAX (1u << 20)

/* A system call in which a thread waits. */
struct wait {
	pid_t pid;
	long number;
	unsigned long arguments[2];
};

bool waits_have(const struct waits_sockets *sockets, uint64_t inode)
{
	for (size_t i = 0; i < sockets->n; i++)
		if (sockets->inodes[i] == inode)
			return true;
	return false;
}

static bool is_descriptor(pid_t pid, int fd, const struct waits_sockets *sockets)
{
	char name[16];
	uint64_t inode;

	if (fd < 0)
		return false;
	snprintf(name, sizeof(name), "%d", fd);
	inode = processes_socket(pid, name);
	return inode != 0 && waits_have(sockets, inode);
}

/* ---- epoll(7) ------------------------------------------------------------------------------- */

/* "tfd:        5 events:       19 data:  5  pos:0 ino:2c1f sdev:8" (proc(5)); ino is hexadecimal.
 */
static bool line_has(const char *line, const struct waits_sockets *sockets)
{
	const char *ino = strstr(line, " ino:");
	unsigned long long inode;
	unsigned events;

	return ino && sscanf(line, "tfd: %*d events: %x", &events) == 1 &&
	       sscanf(ino, " ino:%llx", &inode) == 1 && (events & (EPOLLIN | EPOLLRDNORM)) &&
	       waits_have(sockets, inode);
}

bool waits_in_epoll(pid_t pid, int fd, const struct waits_sockets *sockets)
{
	char path[64], line[256];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)pid, fd);
	file = fopen(path, "re");
	if (!file)
		return false;
	for (unsigned i = 0; !found && i < WATCHED_MAX && fgets(line, sizeof(line), file); i++)
		found = line_has(line, sockets);
	fclose(file);
	return found;
}

static bool waits_epoll(const struct wait *wait, const struct waits_sockets *sockets)
{
	return waits_in_epoll(wait->pid, (int)wait->arguments[0], sockets);
}

/* ---- the others ----------------------------------------------------------------------------- */

static bool waits_accept(const struct wait *wait, const struct waits_sockets *sockets)
{
	return is_descriptor(wait->pid, (int)wait->arguments[0], sockets);
}

static bool read_memory(pid_t pid, unsigned long address, void *ret, size_t size)
{
	struct iovec local = {.iov_base = ret, .iov_len = size};
	struct iovec remote = {.iov_base = (void *)address, .iov_len = size};

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)size;
}

static bool waits_poll(const struct wait *wait, const struct waits_sockets *sockets)
{
	unsigned long n = wait->arguments[1];
	cleanup_free struct pollfd *list = NULL;

	if (n == 0 || n > POLLED_MAX)
		return false;
	list = calloc(n, sizeof(*list));
	if (!list || !read_memory(wait->pid, wait->arguments[0], list, n * sizeof(*list)))
		return false;
	for (size_t i = 0; i < n; i++)
		if ((list[i].events & (POLLIN | POLLRDNORM)) &&
		    is_descriptor(wait->pid, list[i].fd, sockets))
			return true;
	return false;
}

static bool waits_select(const struct wait *wait, const struct waits_sockets *sockets)
{
	unsigned long n = wait->arguments[0];
	fd_set set;

	if (n == 0 || n > FD_SETSIZE || wait->arguments[1] == 0)
		return false;
	/* The process has room for whole words of them only. */
	FD_ZERO(&set);
	if (!read_memory(wait->pid, wait->arguments[1], &set, (n + 63) / 64 * 8))
		return false;
	for (int fd = 0; fd < (int)n; fd++)
		if (FD_ISSET(fd, &set) && is_descriptor(wait->pid, fd, sockets))
			return true;
	return false;
}

static const struct {
	long number;
	bool (*waits)(const struct wait *wait, const struct waits_sockets *sockets);
} calls[] = {
	{SYS_accept, waits_accept},     {SYS_accept4, waits_accept},
	{SYS_epoll_pwait, waits_epoll}, {SYS_epoll_pwait2, waits_epoll},
	{SYS_ppoll, waits_poll},        {SYS_pselect6, waits_select},
/* Newer architectures have only what is above. */
#ifdef SYS_epoll_wait
	{SYS_epoll_wait, waits_epoll},
#endif
#ifdef SYS_poll
	{SYS_poll, waits_poll},
#endif
#ifdef SYS_select
	{SYS_select, waits_select},
#endif
};

/* "running", or the number of the call and its arguments. A call that is not one is -1. */
static bool read_wait(pid_t pid, const char *thread, struct wait *ret)
{
	char path[64], text[256];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/syscall", (int)pid, thread);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	ret->pid = pid;
	return sscanf(text, "%ld %lx %lx", &ret->number, &ret->arguments[0], &ret->arguments[1]) ==
	       3;
}

static bool thread_waits(pid_t pid, const char *thread, const struct waits_sockets *sockets)
{
	struct wait wait;

	if (!read_wait(pid, thread, &wait))
		return false;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i].number == wait.number)
			return calls[i].waits(&wait, sockets);
	return false;
}

bool waits_for(pid_t pid, const struct waits_sockets *sockets)
{
	bool found = false;
	struct dirent *entry;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return false;
	for (int i = 0; !found && i < THREADS_MAX && (entry = readdir(dir)); i++)
		if (entry->d_name[0] != '.')
			found = thread_waits(pid, entry->d_name, sockets);
	closedir(dir);
	return found;
}
