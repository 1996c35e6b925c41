/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/pipes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

/* A server that has moved its stdout elsewhere has not moved it further than this. */
#define FDS_MAX 64

/* A new open file description of the pipe at @path, which is somebody's descriptor (proc(5)). */
static int open_end(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_NOCTTY);

	return fd < 0 ? -errno : fd;
}

int pipes_make(uid_t owner, struct pipe_ends *ret)
{
	cleanup_close int reader = -1, writer = -1;
	char path[64];
	int fds[2], both;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	reader = fds[0];
	writer = fds[1];
	if (fcntl(reader, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", writer);
	/* Without /proc the server does without. */
	both = open_end(path, O_RDWR);
	if (both >= 0) {
		close(writer);
		writer = both;
	}
	if (owner != (uid_t)-1 && fchown(writer, owner, (gid_t)-1) < 0)
		return -errno;
	*ret = (struct pipe_ends){.reader = TAKE_FD(reader), .writer = TAKE_FD(writer)};
	return 0;
}

uint64_t pipes_inode(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) ? st.st_ino : 0;
}

static int open_both(const char *path, uint64_t inode, struct pipe_ends *ret)
{
	cleanup_close int reader = open_end(path, O_RDONLY | O_NONBLOCK), writer = -1;

	if (reader < 0)
		return reader;
	writer = open_end(path, O_RDWR);
	if (writer < 0)
		return writer;
	/* The descriptor may be another file by now. */
	if (pipes_inode(reader) != inode || pipes_inode(writer) != inode)
		return -ENOENT;
	*ret = (struct pipe_ends){.reader = TAKE_FD(reader), .writer = TAKE_FD(writer)};
	return 0;
}

static int find_in(pid_t pid, uint64_t inode, struct pipe_ends *ret)
{
	int result = -ENOENT;

	for (int fd = 1; fd < FDS_MAX; fd++) {
		char path[64];
		struct stat st;
		int r;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
		if (stat(path, &st) < 0 || !S_ISFIFO(st.st_mode) || st.st_ino != inode)
			continue;
		r = open_both(path, inode, ret);
		if (r == 0)
			return 0;
		result = r;
	}
	return result;
}

int pipes_find(const struct processes *processes, uint64_t inode, struct pipe_ends *ret)
{
	cleanup_free pid_t *pids = NULL;
	int result = -ENOENT;
	size_t n = 0;
	int r;

	if (inode == 0)
		return -ENOENT;
	r = processes_list(processes, &pids, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		r = find_in(pids[i], inode, ret);
		if (r == 0)
			return 0;
		if (r != -ENOENT)
			result = r;
	}
	return result;
}
