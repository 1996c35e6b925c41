/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "orchestrator/host/sight.h"
#include "orchestrator/host/watch_internal.h"

/* ---- the way -------------------------------------------------------------------------------- */

struct walk {
	char real[PATH_MAX]; /* so far, without a "/" at its end: "" is the root */
	char rest[PATH_MAX]; /* still to be looked up */
	unsigned links;
	void (*on_step)(void *userdata, const char *folder, const char *name);
	void *userdata;
};

/* Take the first name off the rest. 1; 0: there is none; -ENAMETOOLONG. */
static int take_name(struct walk *walk, char name[static NAME_MAX + 1])
{
	const char *start = walk->rest + strspn(walk->rest, "/");
	size_t length = strcspn(start, "/");

	if (length == 0)
		return 0;
	if (length > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, start, length);
	name[length] = '\0';
	start += length;
	memmove(walk->rest, start, strlen(start) + 1);
	return 1;
}

static bool is_last(const struct walk *walk)
{
	return walk->rest[strspn(walk->rest, "/")] == '\0';
}

static void leave_folder(struct walk *walk)
{
	char *slash = strrchr(walk->real, '/');

	if (slash)
		*slash = '\0';
}

/* walk->real is a symlink: its target takes its place. */
static int follow(struct walk *walk)
{
	char target[PATH_MAX], rest[PATH_MAX];
	int r;

	if (++walk->links > WATCH_LINKS_MAX)
		return -ELOOP;
	r = sight_readlink(walk->real, target);
	if (r < 0)
		return r;
	if (snprintf(rest, sizeof(rest), "%s/%s", target, walk->rest) >= (int)sizeof(rest))
		return -ENAMETOOLONG;
	strcpy(walk->rest, rest);
	if (target[0] == '/')
		walk->real[0] = '\0';
	else
		leave_folder(walk);
	return 0;
}

static int enter(struct walk *walk, const char *name)
{
	size_t length = strlen(walk->real);
	struct stat st;
	int r;

	if (strcmp(name, ".") == 0)
		return 0;
	if (strcmp(name, "..") == 0) {
		leave_folder(walk);
		return 0;
	}
	if (length + 1 + strlen(name) >= sizeof(walk->real))
		return -ENAMETOOLONG;
	if (walk->on_step)
		walk->on_step(walk->userdata, length > 0 ? walk->real : "/", name);
	walk->real[length] = '/';
	strcpy(walk->real + length + 1, name);
	r = sight_lstat(walk->real, &st);
	if (r < 0)
		return r;
	if (S_ISLNK(st.st_mode))
		return follow(walk);
	return S_ISDIR(st.st_mode) || is_last(walk) ? 0 : -ENOTDIR;
}

void watch_look(const char *path,
		void (*on_step)(void *userdata, const char *folder, const char *name),
		void *userdata, struct watch_look *ret)
{
	struct walk walk = {.on_step = on_step, .userdata = userdata};
	char name[NAME_MAX + 1];
	int r;

	memset(ret, 0, sizeof(*ret));
	if (strlen(path) >= sizeof(walk.rest))
		return;
	strcpy(walk.rest, path);
	do {
		r = take_name(&walk, name);
		if (r > 0 && enter(&walk, name) < 0)
			return;
	} while (r > 0);
	if (walk.real[0] == '\0')
		strcpy(walk.real, "/");
	/* A symlink can only be here since a moment ago, and the next look will follow it. */
	if (r == 0 && sight_lstat(walk.real, &ret->st) == 0 && !S_ISLNK(ret->st.st_mode))
		strcpy(ret->real, walk.real);
	else
		memset(&ret->st, 0, sizeof(ret->st));
}

/* ---- comparing ------------------------------------------------------------------------------ */

/* Somewhere else, or something else. */
static bool is_elsewhere(const struct watch_look *a, const struct watch_look *b)
{
	return strcmp(a->real, b->real) != 0 ||
	       (a->st.st_mode & S_IFMT) != (b->st.st_mode & S_IFMT) ||
	       (!S_ISREG(b->st.st_mode) &&
		(a->st.st_dev != b->st.st_dev || a->st.st_ino != b->st.st_ino));
}

static bool read_contents(struct watch_look *look)
{
	cleanup_close int fd = -1;
	struct stat st;

	fd = file_hash_open(look->real, &st);
	if (fd < 0)
		return true;
	if (!file_hash_same_stat(&st, &look->st))
		return false;
	file_hash(fd, &st, look->hash);
	return true;
}

struct read_answer {
	bool same;
	char hash[FILE_HASH_TEXT_MAX];
};

bool watch_look_read(struct watch_look *look)
{
	char question[SIGHT_QUESTION_MAX];
	struct read_answer answer = {};
	const void *known;
	size_t n;

	memset(look->hash, 0, sizeof(look->hash));
	if (!S_ISREG(look->st.st_mode))
		return true;
	sight_ask(question, "contents %s", look->real);
	if (sight_recall(question, &known, &n) && n == sizeof(answer)) {
		memcpy(&answer, known, n);
		memcpy(look->hash, answer.hash, sizeof(look->hash));
		return answer.same;
	}
	sight_at(look->real);
	answer.same = read_contents(look);
	memcpy(answer.hash, look->hash, sizeof(answer.hash));
	sight_note(question, &answer, sizeof(answer));
	return answer.same;
}

bool watch_look_changed(const struct watch_look *before, const struct watch_look *now)
{
	const struct stat *a = &before->st, *b = &now->st;

	if (is_elsewhere(before, now))
		return true;
	if (!S_ISREG(b->st_mode) || file_hash_same_stat(a, b))
		return false;
	if (before->hash[0] && now->hash[0])
		return strcmp(before->hash, now->hash) != 0;
	return a->st_dev != b->st_dev || a->st_ino != b->st_ino || a->st_size != b->st_size ||
	       a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec;
}

bool watch_look_moved(const struct watch_look *before, const struct watch_look *now)
{
	return is_elsewhere(before, now) ||
	       (S_ISREG(now->st.st_mode) && !file_hash_same_stat(&before->st, &now->st));
}

/* ---- finished ------------------------------------------------------------------------------- */

/*
 * A read lease is refused while somebody has the file open for writing (fcntl(2)). It is given back
 * at once, by closing the file. Whoever opens the file in between waits that long, and the kernel
 * signals us: with SIGURG, which nobody hears, since SIGIO would end the process. If there are no
 * leases (a file of another user's, other file systems) it is not known, and taken for no.
 */
static bool look_for_writers(const struct watch_look *look)
{
	cleanup_close int fd =
		open(look->real, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
	struct stat st;

	/* Somebody has a lease on it himself; or we cannot look just now. */
	if (fd < 0)
		return errno == EWOULDBLOCK || errno == EMFILE || errno == ENFILE ||
		       errno == ENOMEM;
	/* Another one by now: the next look will tell. */
	if (fstat(fd, &st) < 0 || st.st_ino != look->st.st_ino || st.st_dev != look->st.st_dev)
		return true;
	if (fcntl(fd, F_SETSIG, SIGURG) < 0)
		return false;
	return fcntl(fd, F_SETLEASE, F_RDLCK) < 0 && errno == EAGAIN;
}

static bool is_being_written(const struct watch_look *look)
{
	char question[SIGHT_QUESTION_MAX];
	const void *known;
	bool written;
	size_t n;

	sight_ask(question, "writers %s", look->real);
	if (sight_recall(question, &known, &n) && n == sizeof(written)) {
		memcpy(&written, known, n);
		return written;
	}
	sight_at(look->real);
	written = look_for_writers(look);
	sight_note(question, &written, sizeof(written));
	return written;
}

static bool is_executable(const struct stat *st)
{
	return S_ISREG(st->st_mode) && (st->st_mode & (S_IXUSR | S_IXGRP | S_IXOTH));
}

bool watch_look_unfinished(const struct watch_look *before, const struct watch_look *now)
{
	if (now->real[0] == '\0')
		return true;
	if (!S_ISREG(now->st.st_mode))
		return false;
	if (is_executable(&before->st) && !is_executable(&now->st))
		return true;
	return is_being_written(now);
}
