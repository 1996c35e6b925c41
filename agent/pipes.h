/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pipes: the two pipes that the server writes its stdout and stderr to (relay.h reads them).
 *
 * The server's end of a pipe is open for reading as well. So when the agent, the only other reader,
 * is killed, a server that writes gets neither SIGPIPE nor EPIPE: what it writes waits in the pipe,
 * up to 64 KiB, until the next agent reads it. That one finds the pipes by their inodes in the
 * server's processes.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "common/processes.h"

struct pipe_ends {
	int reader; /* O_NONBLOCK */
	int writer; /* the server's: it blocks, as a program expects of its stdout */
};

/*
 * Make a pipe. It belongs to @owner, unless that is (uid_t)-1: a server that opens /dev/stderr by
 * name needs permission. Both ends are close-on-exec and the caller's. Returns 0 or a negative
 * errno.
 */
int pipes_make(uid_t owner, struct pipe_ends *ret);

/*
 * The same for the pipe with @inode, which a process of the instance has open. -ENOENT if none has
 * it among its first descriptors, -EACCES if we may not open it.
 */
int pipes_find(const struct processes *processes, uint64_t inode, struct pipe_ends *ret);

/* The inode of the pipe that @fd is; 0: not known. */
uint64_t pipes_inode(int fd);
