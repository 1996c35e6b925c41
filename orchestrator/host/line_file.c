/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/line_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "orchestrator/host/file.h"

#define HEAD_MAX 256

struct line_file {
	char path[PATH_MAX];
	char head[HEAD_MAX];
	size_t size_max;
	int fd;      /* -1: it has been renamed or removed, and no new one could be made yet */
	size_t size; /* of what is whole */
};

void line_file_older(const char *path, char *ret, size_t size)
{
	snprintf(ret, size, "%s.1", path);
}

/* ---- writing -------------------------------------------------------------------------------- */

/* @text and a newline. A short write is followed by the reason of its shortness. */
static int write_at(int fd, size_t at, const char *text)
{
	size_t length = strlen(text), done = 0;

	while (done < length + 1) {
		const size_t rest = done < length ? length - done : 0;
		struct iovec parts[] = {{(char *)text + length - rest, rest}, {"\n", 1}};
		ssize_t n = pwritev(fd, parts, 2, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

/* A FIFO in its place is not waited for. */
static int open_regular(const char *path, struct stat *ret)
{
	cleanup_close int fd =
		open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);

	if (fd < 0 || fstat(fd, ret) < 0)
		return -errno;
	return S_ISREG(ret->st_mode) ? TAKE_FD(fd) : -FILE_IS_NO_FILE;
}

/* The descriptor. *size: as line_file_open()'s keep; then what is whole. */
static int open_file(const char *path, const char *head, size_t *size)
{
	cleanup_close int fd = -1;
	struct stat st = {};
	int r;

	fd = open_regular(path, &st);
	if (fd < 0)
		return fd;
	if (*size == 0 && st.st_size > 0)
		return -EEXIST;
	/* Somebody has removed or emptied it. */
	if ((off_t)*size > st.st_size)
		*size = 0;
	if (ftruncate(fd, (off_t)*size) < 0)
		return -errno;
	r = write_at(fd, 0, head);
	if (r < 0) {
		/* Whoever comes next must not find a part of a head. */
		if (*size == 0)
			unlink(path);
		return r;
	}
	if (*size == 0)
		*size = strlen(head) + 1;
	return TAKE_FD(fd);
}

int line_file_open(const char *path, size_t keep, const char *head, size_t size_max,
		   struct line_file **ret)
{
	cleanup(line_file_free) struct line_file *file = calloc(1, sizeof(*file));

	assert(strlen(head) < HEAD_MAX && (keep == 0 || keep > strlen(head)));
	if (!file)
		return -ENOMEM;
	if (strlen(path) >= sizeof(file->path))
		return -ENAMETOOLONG;
	strcpy(file->path, path);
	strcpy(file->head, head);
	file->size_max = size_max;
	file->size = keep;
	file->fd = open_file(path, head, &file->size);
	if (file->fd < 0)
		return file->fd;
	*ret = TAKE_PTR(file);
	return 0;
}

void line_file_free(struct line_file *file)
{
	if (!file)
		return;
	if (file->fd >= 0)
		close(file->fd);
	free(file);
}

/* ---- adding --------------------------------------------------------------------------------- */

static void let_go(struct line_file *file)
{
	close(file->fd);
	file->fd = -1;
}

/* What is in the way of the older file and cannot be replaced is kept for a person. */
static int rename_to_older(const char *path)
{
	char older[PATH_MAX + 2], aside[PATH_MAX];

	line_file_older(path, older, sizeof(older));
	if (rename(path, older) == 0)
		return 0;
	if (file_move_aside(older, aside) < 0 || rename(path, older) < 0)
		return -errno;
	return 0;
}

static int begin_new(struct line_file *file)
{
	file->size = 0;
	file->fd = open_file(file->path, file->head, &file->size);
	return file->fd < 0 ? file->fd : 0;
}

static int turn(struct line_file *file)
{
	int r = rename_to_older(file->path);

	if (r < 0)
		return r;
	let_go(file);
	return begin_new(file);
}

static bool is_removed(const struct line_file *file)
{
	struct stat st;

	return fstat(file->fd, &st) == 0 && st.st_nlink == 0;
}

/* Make sure that there is a file with room for @length bytes. */
static int make_room(struct line_file *file, size_t length)
{
	if (strlen(file->head) + 1 + length > file->size_max)
		return -EFBIG;
	if (file->fd >= 0 && is_removed(file))
		let_go(file);
	if (file->fd < 0)
		return begin_new(file);
	return file->size + length > file->size_max ? turn(file) : 0;
}

int line_file_add(struct line_file *file, const char *line)
{
	size_t length = strlen(line) + 1;
	int r = make_room(file, length);

	if (r < 0)
		return r;
	r = write_at(file->fd, file->size, line);
	if (r < 0) {
		/* A part that stays would only be cut off by the next daemon. */
		if (ftruncate(file->fd, (off_t)file->size) < 0)
			return -errno;
		return r;
	}
	file->size += length;
	return 0;
}

size_t line_file_size(const struct line_file *file)
{
	return file->fd < 0 ? 0 : file->size;
}

int line_file_set_head(struct line_file *file, const char *head)
{
	assert(strlen(head) == strlen(file->head));
	strcpy(file->head, head);
	return file->fd < 0 ? -EBADF : write_at(file->fd, 0, head);
}
