/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

#define FILE_CHUNK 4096

/* ---- reading -------------------------------------------------------------------------------- */

static int read_all(int fd, size_t max, char **ret_text, size_t *ret_length)
{
	cleanup_free char *text = NULL;
	size_t size = 0, n = 0;

	for (;;) {
		ssize_t got;

		if (n + 1 >= size) {
			char *longer = realloc(text, size + FILE_CHUNK + size / 2);

			if (!longer)
				return -ENOMEM;
			text = longer;
			size += FILE_CHUNK + size / 2;
		}
		got = read(fd, text + n, size - n - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		n += (size_t)got;
		if (n > max)
			return -EFBIG;
	}
	text[n] = '\0';
	*ret_text = TAKE_PTR(text);
	if (ret_length)
		*ret_length = n;
	return 0;
}

int file_read_for(const struct as_user *user, const char *path, enum path_use use, size_t max,
		  char **ret_text, size_t *ret_length, struct error *err)
{
	cleanup_close int fd = path_open(path, use, user, err);
	int r;

	if (fd < 0)
		return fd;
	r = read_all(fd, max, ret_text, ret_length);
	return r < 0 ? error_text(err, r, "%s", file_why(r)) : 0;
}

int file_read(const char *path, size_t max, char **ret_text, size_t *ret_length)
{
	return file_read_for(NULL, path, PATH_READ, max, ret_text, ret_length, NULL);
}

const char *file_text(const char *text)
{
	static const char mark[] = "\xef\xbb\xbf";

	return strncmp(text, mark, strlen(mark)) == 0 ? text + strlen(mark) : text;
}

const char *file_why(int r)
{
	return path_why(r);
}

/* ---- replacing ------------------------------------------------------------------------------ */

static int write_all(int fd, const char *text, size_t length)
{
	while (length) {
		ssize_t n = write(fd, text, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		length -= (size_t)n;
	}
	return 0;
}

static int write_new(const char *path, const char *text, size_t length, mode_t mode)
{
	cleanup_close int fd = -1;
	int r;

	/* A link, a FIFO or a file left in the way must not choose where this goes. */
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	r = write_all(fd, text, length);
	if (r < 0)
		return r;
	return fsync(fd) < 0 ? -errno : 0;
}

/* The folder part of @path; "." if it has none. */
static int folder_of(const char *path, char ret[static PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 1;

	if (slash == path)
		n = 1;
	if (n >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(ret, slash ? path : ".", n);
	ret[n] = '\0';
	return 0;
}

/* The new name is on the disk only once the folder is (fsync(2)). */
static int sync_folder(const char *path)
{
	char folder[PATH_MAX];
	cleanup_close int fd = -1;
	int r = folder_of(path, folder);

	if (r < 0)
		return r;
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

int file_replace(const char *path, const char *text, size_t length, mode_t mode)
{
	char fresh[PATH_MAX];
	int r;

	if (snprintf(fresh, sizeof(fresh), "%s.new", path) >= (int)sizeof(fresh))
		return -ENAMETOOLONG;
	r = write_new(fresh, text, length, mode);
	if (r == 0 && rename(fresh, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(fresh);
		return r;
	}
	return sync_folder(path);
}

int file_move_aside(const char *path, char ret[static PATH_MAX])
{
	for (unsigned k = 1; k <= FILE_ASIDE_MAX; k++) {
		char number[16] = "";

		if (k > 1)
			snprintf(number, sizeof(number), ".%u", k);
		if (snprintf(ret, PATH_MAX, "%s.bad%s", path, number) >= PATH_MAX)
			return -ENAMETOOLONG;
		if (k == FILE_ASIDE_MAX)
			break;
		if (renameat2(AT_FDCWD, path, AT_FDCWD, ret, RENAME_NOREPLACE) == 0)
			return 0;
		/* Some file systems cannot tell whether there is one already. */
		if (errno == EINVAL && access(ret, F_OK) < 0 && rename(path, ret) == 0)
			return 0;
		if (errno != EEXIST && errno != EINVAL)
			return -errno;
	}
	return rename(path, ret) < 0 ? -errno : 0;
}

int file_make_folder(const char *path, mode_t mode)
{
	char folder[PATH_MAX];
	int r = folder_of(path, folder);

	if (r < 0)
		return r;
	for (char *at = folder + 1;; at++) {
		char end = *at;

		if (end != '/' && end != '\0')
			continue;
		*at = '\0';
		if (mkdir(folder, mode) < 0 && errno != EEXIST)
			return -errno;
		if (end == '\0')
			return 0;
		*at = end;
	}
}
