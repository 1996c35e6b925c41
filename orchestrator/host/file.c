/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/vector.h"
#include "common/write_all.h"
#include "orchestrator/host/sight.h"

#define FILE_CHUNK   4096
#define TREE_FDS_MAX 8 /* open folders of nftw(3), not a limit of depth */

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

static int read_for(const struct as_user *user, const char *path, enum path_use use, size_t max,
		    char **ret_text, size_t *ret_length, struct error *err)
{
	cleanup_close int fd = path_open(path, use, user, err);
	int r;

	if (fd < 0)
		return fd;
	r = read_all(fd, max, ret_text, ret_length);
	return r < 0 ? error_text(err, r, "%s", file_why(r)) : 0;
}

/* What a helper has read, or why not: the text is behind it. */
struct read_answer {
	int r;
	struct error why;
};

static bool recall_read(const char *question, int *ret, char **ret_text, size_t *ret_length,
			struct error *err)
{
	struct read_answer answer;
	const void *known;
	size_t n;

	if (!sight_recall(question, &known, &n) || n < sizeof(answer))
		return false;
	memcpy(&answer, known, sizeof(answer));
	n -= sizeof(answer);
	*ret = answer.r;
	if (answer.r < 0) {
		error_text(err, answer.r, "%s", answer.why.text);
		return true;
	}
	*ret_text = malloc(n + 1);
	if (!*ret_text) {
		*ret = error_text(err, -ENOMEM, "out of memory");
		return true;
	}
	memcpy(*ret_text, (const char *)known + sizeof(answer), n);
	(*ret_text)[n] = '\0';
	if (ret_length)
		*ret_length = n;
	return true;
}

static void note_read(const char *question, int r, const char *text, size_t length,
		      const struct error *why)
{
	const struct read_answer head = {.r = r, .why = *why};
	size_t n = r < 0 ? 0 : length;
	char *answer = sight_is_on() ? malloc(sizeof(head) + n) : NULL;

	/* If there is no memory for it, it is asked again. */
	if (!answer)
		return;
	memcpy(answer, &head, sizeof(head));
	if (n > 0)
		memcpy(answer + sizeof(head), text, n);
	sight_note(question, answer, sizeof(head) + n);
	free(answer);
}

int file_read_for(const struct as_user *user, const char *path, enum path_use use, size_t max,
		  char **ret_text, size_t *ret_length, struct error *err)
{
	char question[SIGHT_QUESTION_MAX];
	struct error why = {};
	size_t length = 0;
	int r;

	sight_ask(question, "read %u %zu %u %s", use, max, user ? user->uid : 0, path);
	if (recall_read(question, &r, ret_text, ret_length, err))
		return r;
	sight_at(path);
	r = read_for(user, path, use, max, ret_text, &length, &why);
	note_read(question, r, r < 0 ? "" : *ret_text, length, &why);
	if (r < 0)
		return error_text(err, r, "%s", why.text);
	if (ret_length)
		*ret_length = length;
	return 0;
}

int file_check_for(const struct as_user *user, const char *path, enum path_use use,
		   struct error *err)
{
	char question[SIGHT_QUESTION_MAX];
	struct read_answer answer = {};
	const void *known;
	size_t n;

	sight_ask(question, "check %u %u %s", use, user ? user->uid : 0, path);
	if (sight_recall(question, &known, &n) && n == sizeof(answer)) {
		memcpy(&answer, known, n);
	} else {
		sight_at(path);
		answer.r = path_check(path, use, user, &answer.why);
		sight_note(question, &answer, sizeof(answer));
	}
	return answer.r < 0 ? error_text(err, answer.r, "%s", answer.why.text) : answer.r;
}

int file_read(const char *path, size_t max, char **ret_text, size_t *ret_length)
{
	return file_read_for(NULL, path, PATH_READ, max, ret_text, ret_length, NULL);
}

/* ---- folders -------------------------------------------------------------------------------- */

/* Not as strcoll(3): the order must not depend on the locale. */
static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_names(const char *folder, bool (*wanted)(const char *name), char ***ret)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	int r = 0;

	if (!dir)
		return -errno;
	errno = 0;
	while (r == 0 && (entry = readdir(dir))) {
		char *copy = wanted(entry->d_name) ? strdup(entry->d_name) : NULL;

		if (copy)
			r = vector_append(ret, copy);
		else if (wanted(entry->d_name))
			r = -ENOMEM;
		errno = 0;
	}
	if (r == 0 && errno)
		r = -errno;
	closedir(dir);
	if (*ret)
		qsort(*ret, vector_length(*ret), sizeof(**ret), by_name);
	return r;
}

/* A number, and the names behind it, each with its NUL. */
static void note_names(const char *question, int r, char *const *names)
{
	size_t n = sizeof(r);
	char *answer;

	if (!sight_is_on())
		return;
	for (char *const *name = names; r == 0 && name && *name; name++)
		n += strlen(*name) + 1;
	answer = malloc(n);
	if (!answer)
		return;
	memcpy(answer, &r, sizeof(r));
	n = sizeof(r);
	for (char *const *name = names; r == 0 && name && *name; name++) {
		strcpy(answer + n, *name);
		n += strlen(*name) + 1;
	}
	sight_note(question, answer, n);
	free(answer);
}

static bool recall_names(const char *question, int *ret_r, char ***ret)
{
	const void *known;
	size_t n;

	if (!sight_recall(question, &known, &n) || n < sizeof(*ret_r))
		return false;
	memcpy(ret_r, known, sizeof(*ret_r));
	for (size_t at = sizeof(*ret_r); *ret_r == 0 && at < n;
	     at += strlen((const char *)known + at) + 1) {
		char *copy = strdup((const char *)known + at);

		*ret_r = copy ? vector_append(ret, copy) : -ENOMEM;
	}
	return true;
}

int file_list(const char *folder, bool (*wanted)(const char *name), char ***ret)
{
	char question[SIGHT_QUESTION_MAX];
	cleanup(vector_free) char **names = NULL;
	int r;

	sight_ask(question, "list %s", folder);
	if (!recall_names(question, &r, &names)) {
		sight_at(folder);
		r = read_names(folder, wanted, &names);
		note_names(question, r, names);
	}
	if (r < 0)
		return r;
	r = names ? (int)vector_length(names) : 0;
	*ret = TAKE_PTR(names);
	return r;
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

static int write_new(const char *path, const char *text, size_t length, mode_t mode, bool sync)
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
	return sync && fsync(fd) < 0 ? -errno : 0;
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

static int replace(const char *path, const char *text, size_t length, mode_t mode, bool sync)
{
	char fresh[PATH_MAX];
	int r;

	if (snprintf(fresh, sizeof(fresh), "%s.new", path) >= (int)sizeof(fresh))
		return -ENAMETOOLONG;
	r = write_new(fresh, text, length, mode, sync);
	if (r == 0 && rename(fresh, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(fresh);
		return r;
	}
	return sync ? sync_folder(path) : 0;
}

int file_replace(const char *path, const char *text, size_t length, mode_t mode)
{
	return replace(path, text, length, mode, true);
}

int file_replace_volatile(const char *path, const char *text, size_t length, mode_t mode)
{
	return replace(path, text, length, mode, false);
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

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	(void)remove(path);
	return 0;
}

void file_remove_tree(const char *path)
{
	nftw(path, remove_entry, TREE_FDS_MAX, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
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
