/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/sight.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

#define RECORDED_MAX ((size_t)256 * 1024 * 1024)

/* One of the process: functions deep down ask, and are given nothing to keep it in. */
static struct {
	bool records;
	char *bytes; /* in a row: two lengths, question, answer */
	size_t n, size;
	bool failed;
	char *place;
	size_t place_size;

	const char *recalled; /* NULL: nothing is */
	size_t n_recalled;
	const char *nothing; /* why nothing was seen; NULL: it was */
	size_t at; /* behind the last one that was found: most are asked in the same order */
} sight;

void sight_use_nothing(const char *why)
{
	sight_forget();
	sight.nothing = why;
}

const char *sight_why_nothing(void)
{
	return sight.nothing;
}

bool sight_is_on(void)
{
	return sight.records || sight.recalled;
}

void sight_ask(char question[static SIGHT_QUESTION_MAX], const char *format, ...)
{
	va_list ap;

	question[0] = '\0';
	if (!sight_is_on())
		return;
	va_start(ap, format);
	vsnprintf(question, SIGHT_QUESTION_MAX, format, ap);
	va_end(ap);
}

void sight_at(const char *what)
{
	if (sight.place)
		snprintf(sight.place, sight.place_size, "%s", what);
}

/* ---- recording ------------------------------------------------------------------------------ */

void sight_record(char *place, size_t size)
{
	sight_forget();
	sight.records = true;
	sight.place = place;
	sight.place_size = size;
}

static bool make_room(size_t n)
{
	size_t size = sight.size ? sight.size : 4096;
	char *bytes;

	while (size < sight.n + n && size < RECORDED_MAX)
		size *= 2;
	if (size < sight.n + n)
		return false;
	if (size == sight.size)
		return true;
	bytes = realloc(sight.bytes, size);
	if (!bytes)
		return false;
	sight.bytes = bytes;
	sight.size = size;
	return true;
}

static void append(const void *bytes, size_t n)
{
	if (n > 0)
		memcpy(sight.bytes + sight.n, bytes, n);
	sight.n += n;
}

void sight_note(const char *question, const void *answer, size_t n)
{
	const uint64_t lengths[] = {strlen(question) + 1, n};

	if (!sight.records || sight.failed)
		return;
	if (!make_room(sizeof(lengths) + lengths[0] + n)) {
		sight.failed = true;
		return;
	}
	append(lengths, sizeof(lengths));
	append(question, lengths[0]);
	append(answer, n);
}

const char *sight_recorded(size_t *ret_n)
{
	*ret_n = sight.n;
	return sight.failed ? NULL : sight.bytes ? sight.bytes : "";
}

/* ---- recalling ------------------------------------------------------------------------------ */

void sight_use(const char *bytes, size_t n)
{
	sight_forget();
	sight.recalled = bytes;
	sight.n_recalled = n;
}

void sight_forget(void)
{
	free(sight.bytes);
	memset(&sight, 0, sizeof(sight));
}

/* Where the next one begins; 0: there is none at @at. */
static size_t read_one(size_t at, const char **question, const void **answer, size_t *n)
{
	uint64_t lengths[2];
	size_t left;

	if (at > sight.n_recalled || sight.n_recalled - at < sizeof(lengths))
		return 0;
	memcpy(lengths, sight.recalled + at, sizeof(lengths));
	at += sizeof(lengths);
	left = sight.n_recalled - at;
	if (lengths[0] == 0 || lengths[0] > left || lengths[1] > left - lengths[0])
		return 0;
	*question = sight.recalled + at;
	*answer = sight.recalled + at + lengths[0];
	*n = lengths[1];
	return at + lengths[0] + lengths[1];
}

static bool find(const char *question, size_t from, size_t to, const void **ret, size_t *ret_n)
{
	for (size_t at = from; at < to;) {
		const char *asked;
		size_t next = read_one(at, &asked, ret, ret_n);

		if (next == 0)
			return false;
		at = next;
		if (strcmp(asked, question) != 0)
			continue;
		sight.at = at;
		return true;
	}
	return false;
}

bool sight_recall(const char *question, const void **ret, size_t *ret_n)
{
	if (!sight.recalled)
		return false;
	return find(question, sight.at, sight.n_recalled, ret, ret_n) ||
	       find(question, 0, sight.at, ret, ret_n);
}

/* ---- questions ------------------------------------------------------------------------------ */

struct stat_answer {
	int r;
	struct stat st;
};

static int ask_stat(const char *kind, const char *path, int flags, struct stat *ret)
{
	char question[SIGHT_QUESTION_MAX];
	struct stat_answer answer = {};
	const void *known;
	size_t n;

	if (sight.nothing)
		return -ETIMEDOUT;
	sight_ask(question, "%s %s", kind, path);
	if (sight_recall(question, &known, &n) && n == sizeof(answer)) {
		memcpy(&answer, known, n);
	} else {
		sight_at(path);
		answer.r = fstatat(AT_FDCWD, path, &answer.st, flags) < 0 ? -errno : 0;
		sight_note(question, &answer, sizeof(answer));
	}
	if (answer.r == 0)
		*ret = answer.st;
	return answer.r;
}

int sight_stat(const char *path, struct stat *ret)
{
	return ask_stat("stat", path, 0, ret);
}

int sight_lstat(const char *path, struct stat *ret)
{
	return ask_stat("lstat", path, AT_SYMLINK_NOFOLLOW, ret);
}

int sight_access(const char *path, int mode)
{
	char question[SIGHT_QUESTION_MAX];
	const void *known;
	size_t n;
	int r;

	sight_ask(question, "access %d %s", mode, path);
	if (sight_recall(question, &known, &n) && n == sizeof(r)) {
		memcpy(&r, known, n);
		return r;
	}
	sight_at(path);
	r = faccessat(AT_FDCWD, path, mode, AT_EACCESS) < 0 ? -errno : 0;
	sight_note(question, &r, sizeof(r));
	return r;
}

/* The answer is a number, and a text if that is 0. */
static void note_text(const char *question, int r, const char *text)
{
	char answer[sizeof(r) + PATH_MAX];

	memcpy(answer, &r, sizeof(r));
	snprintf(answer + sizeof(r), PATH_MAX, "%s", r < 0 ? "" : text);
	sight_note(question, answer, sizeof(r) + strlen(answer + sizeof(r)) + 1);
}

static bool recall_text(const char *question, int *ret, char text[static PATH_MAX])
{
	const void *known;
	size_t n;

	if (!sight_recall(question, &known, &n) || n <= sizeof(*ret))
		return false;
	memcpy(ret, known, sizeof(*ret));
	snprintf(text, PATH_MAX, "%s", (const char *)known + sizeof(*ret));
	return true;
}

int sight_realpath(const char *path, char **ret)
{
	char question[SIGHT_QUESTION_MAX], text[PATH_MAX];
	int r;

	sight_ask(question, "realpath %s", path);
	if (!recall_text(question, &r, text)) {
		sight_at(path);
		r = realpath(path, text) ? 0 : -errno;
		note_text(question, r, text);
	}
	if (r < 0)
		return r;
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

int sight_readlink(const char *path, char ret[static PATH_MAX])
{
	char question[SIGHT_QUESTION_MAX];
	ssize_t n;
	int r = 0;

	sight_ask(question, "readlink %s", path);
	if (recall_text(question, &r, ret))
		return r;
	sight_at(path);
	n = readlink(path, ret, PATH_MAX);
	if (n < 0)
		r = -errno;
	else if (n == 0 || n == PATH_MAX)
		r = -ENAMETOOLONG;
	else
		ret[n] = '\0';
	note_text(question, r, ret);
	return r;
}
