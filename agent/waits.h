/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waits: does a process wait for connections on a listening socket? Sockets are named by their
 * inodes.
 *
 * /proc/PID/task/TID/syscall has the system call in which a thread waits, with its arguments. They
 * name the socket (accept(2)), or what watches it: the list of poll(2) and the set of select(2) are
 * read from the process's memory, and /proc/PID/fdinfo/FD lists what an epoll has. The kernel
 * allows all that to whom it allows pidfd_getfd(2), which holders.h needs, too.
 *
 * Not seen are an epoll in an epoll, io_uring, and 32-bit programs on a 64-bit kernel.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct waits_sockets {
	const uint64_t *inodes;
	size_t n;
};

/* Does a thread of @pid wait for a connection on one of @sockets just now? */
bool waits_for(pid_t pid, const struct waits_sockets *sockets);

/* Is descriptor @fd of @pid an epoll(7) that watches one of @sockets for connections? */
bool waits_in_epoll(pid_t pid, int fd, const struct waits_sockets *sockets);

/* Is it one of @sockets? */
bool waits_have(const struct waits_sockets *sockets, uint64_t inode);
