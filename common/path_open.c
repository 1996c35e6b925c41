/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/path_open.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/cleanup.h"

/* How often the file may be replaced between the look at it and its opening. */
#define RACES_MAX 8

const char *path_why(int r)
{
	if (r == -PATH_IS_NO_FILE)
		return "is not a regular file (but a FIFO, a socket or a device)";
	if (r == -PATH_IS_REFUSED)
		return "is refused, as somebody else than root could choose which file that is";
	return strerror(-r);
}

static int refuse(struct error *err, int r)
{
	return error_text(err, r, "%s", path_why(r));
}

/* ---- kinds of files ------------------------------------------------------------------------- */

/* One that somebody has opened and passed: it has no name that others could open. */
static bool is_passed_pipe(int fd, const struct stat *st)
{
	struct statfs fs;

	return S_ISFIFO(st->st_mode) && fstatfs(fd, &fs) == 0 && fs.f_type == PIPEFS_MAGIC;
}

/* The devices that are files to everybody: an empty one, and a full one. */
static bool is_harmless_device(const struct stat *st, enum path_use use)
{
	if (!S_ISCHR(st->st_mode))
		return false;
	return st->st_rdev == makedev(1, 3) || (use == PATH_APPEND && st->st_rdev == makedev(1, 7));
}

/* @fd may be -1, or one of O_PATH: then a FIFO is not known to be a passed one. */
static int check_kind(int fd, const struct stat *st, enum path_use use)
{
	if (S_ISDIR(st->st_mode))
		return -EISDIR;
	if (S_ISREG(st->st_mode) || is_harmless_device(st, use))
		return 0;
	if (use == PATH_READ_OR_PIPE && S_ISFIFO(st->st_mode) && (fd < 0 || is_passed_pipe(fd, st)))
		return 0;
	return -PATH_IS_NO_FILE;
}

static int open_flags(enum path_use use)
{
	return (use == PATH_APPEND ? O_WRONLY | O_APPEND : O_RDONLY) | O_CLOEXEC | O_NOCTTY |
	       O_NONBLOCK;
}

/* What was opened: the same kind as when it was looked at? Whoever reads a pipe waits for it. */
static int check_opened(int fd, enum path_use use, struct stat *ret)
{
	int r;

	if (fstat(fd, ret) < 0)
		return -errno;
	r = check_kind(fd, ret, use);
	if (r == 0 && S_ISFIFO(ret->st_mode) && fcntl(fd, F_SETFL, 0) < 0)
		r = -errno;
	return r;
}

/* ---- with the rights that we have ----------------------------------------------------------- */

static int make(int dir, const char *path, int flags)
{
	mode_t mask = umask(0);
	int fd = openat(dir, path, open_flags(PATH_APPEND) | O_CREAT | flags, PATH_APPEND_MODE);
	int r = fd < 0 ? -errno : fd;

	umask(mask);
	return r;
}

/* Opening a device may do something, so look first; then it may still become a FIFO. */
static int open_plainly(const char *path, enum path_use use)
{
	cleanup_close int fd = -1;
	struct stat st;
	int r;

	if (stat(path, &st) == 0)
		r = check_kind(-1, &st, use);
	else
		r = errno == ENOENT && use == PATH_APPEND ? 0 : -errno;
	if (r < 0)
		return r;
	r = open(path, open_flags(use));
	if (r < 0)
		r = errno == ENOENT && use == PATH_APPEND ? make(AT_FDCWD, path, 0) : -errno;
	if (r < 0)
		return r == -ENXIO ? -PATH_IS_NO_FILE : r;
	fd = r;
	r = check_opened(fd, use, &st);
	return r < 0 ? r : TAKE_FD(fd);
}

/* May we make a file in the folder of @path? */
static int check_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX] = ".";
	size_t n = slash ? (size_t)(slash - path) + 1 : 0;

	if (n >= sizeof(folder))
		return -ENAMETOOLONG;
	if (n > 0) {
		memcpy(folder, path, n);
		folder[n] = '\0';
	}
	return faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

static int check_plainly(const char *path, enum path_use use)
{
	struct stat st;
	int r;

	if (stat(path, &st) < 0)
		return errno == ENOENT && use == PATH_APPEND ? check_folder(path) : -errno;
	r = check_kind(-1, &st, use);
	if (r == 0 && faccessat(AT_FDCWD, path, use == PATH_APPEND ? W_OK : R_OK, AT_EACCESS) < 0)
		r = -errno;
	return r;
}

static int do_plainly(const char *path, enum path_use use, bool check)
{
	return check ? check_plainly(path, use) : open_plainly(path, use);
}

/* ---- who else can write to a folder --------------------------------------------------------- */

enum writers { ONLY_ROOT, ITS_OWNER, ITS_GROUP, EVERYBODY };

#define OVERFLOW_UID 65534 /* user_namespaces(7): whoever has no id in ours */

/* Does @uid stand for somebody of this user namespace? */
static bool is_mapped(uid_t uid)
{
	unsigned long first, count;
	FILE *file = fopen("/proc/self/uid_map", "re");
	bool mapped = !file;

	while (file && !mapped && fscanf(file, "%lu %*u %lu", &first, &count) == 2)
		mapped = uid >= first && uid - first < count;
	if (file)
		fclose(file);
	return mapped;
}

/* In a container the folders of the host's root are nobody's. */
static bool is_roots(const struct stat *folder)
{
	return folder->st_uid == 0 || (folder->st_uid == OVERFLOW_UID && !is_mapped(OVERFLOW_UID));
}

static enum writers writers_of(const struct stat *folder)
{
	if (!is_roots(folder))
		return ITS_OWNER;
	if (folder->st_mode & S_IWOTH)
		return EVERYBODY;
	return folder->st_mode & S_IWGRP ? ITS_GROUP : ONLY_ROOT;
}

/* Only who has made a file in it, and root, may replace that. */
static bool is_sticky(const struct stat *folder)
{
	return is_roots(folder) && (folder->st_mode & S_ISVTX);
}

/* "uid 1000 can write to its folder /srv/web" */
static void name_writers(const struct stat *folder, const char *path, char *ret, size_t size)
{
	switch (writers_of(folder)) {
	case ONLY_ROOT:
		snprintf(ret, size, "only root can write to its folder %s", path);
		break;
	case ITS_OWNER:
		snprintf(ret, size, "uid %u can write to its folder %s", (unsigned)folder->st_uid,
			 path);
		break;
	case ITS_GROUP:
		snprintf(ret, size, "the members of gid %u can write to its folder %s",
			 (unsigned)folder->st_gid, path);
		break;
	case EVERYBODY:
		snprintf(ret, size, "everybody can write to its folder %s", path);
		break;
	}
}

/* ---- the walk of root ----------------------------------------------------------------------- */

struct walk {
	enum path_use use;
	const struct as_user *user;
	struct error *err;
	int folder; /* O_PATH */
	struct stat folder_stat;
	char shown[PATH_MAX]; /* where that is, for people */
	char rest[PATH_MAX];  /* still to be walked */
	unsigned links;
};

static int refuse_part(const struct walk *walk, const char *name, const char *what,
		       const char *change)
{
	char writers[PATH_MAX + 64];

	name_writers(&walk->folder_stat, walk->shown, writers, sizeof(writers));
	return error_text(walk->err, -PATH_IS_REFUSED,
			  "root does not open it: \"%.64s\" %s, and %.300s; %s, or make the folder "
			  "root's alone (chown root, chmod go-w)",
			  name, what, writers, change);
}

static int begin(struct walk *walk, const char *path)
{
	bool absolute = path[0] == '/';

	if (!path[0])
		return -ENOENT;
	if (strlen(path) >= sizeof(walk->rest))
		return -ENAMETOOLONG;
	strcpy(walk->rest, path);
	strcpy(walk->shown, absolute ? "/" : ".");
	walk->folder = open(walk->shown, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (walk->folder < 0 || fstat(walk->folder, &walk->folder_stat) < 0)
		return -errno;
	return 0;
}

/* Take the first name off the rest; "." if there is none. */
static int take_name(struct walk *walk, char name[static NAME_MAX + 1])
{
	char *start = walk->rest + strspn(walk->rest, "/");
	size_t length = strcspn(start, "/");

	if (length > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, start, length);
	name[length] = '\0';
	memmove(walk->rest, start + length, strlen(start + length) + 1);
	if (length == 0)
		strcpy(name, ".");
	return 0;
}

static void show_step(struct walk *walk, const char *name)
{
	size_t n = strlen(walk->shown);

	if (strcmp(name, ".") != 0 && n + strlen(name) + 2 < sizeof(walk->shown))
		snprintf(walk->shown + n, sizeof(walk->shown) - n, "%s%s",
			 walk->shown[n - 1] == '/' ? "" : "/", name);
}

static void enter(struct walk *walk, int fd, const struct stat *st, const char *name)
{
	close(walk->folder);
	walk->folder = fd;
	walk->folder_stat = *st;
	show_step(walk, name);
}

static bool may_follow(const struct walk *walk, const struct stat *link)
{
	if (writers_of(&walk->folder_stat) == ONLY_ROOT)
		return true;
	return is_sticky(&walk->folder_stat) && link->st_uid == 0 && link->st_nlink == 1;
}

/* @link is a symbolic link: its target comes in front of the rest. */
static int follow(struct walk *walk, int link, const char *name)
{
	char target[PATH_MAX], rest[2 * PATH_MAX];
	ssize_t n;

	if (++walk->links > PATH_LINKS_MAX)
		return refuse(walk->err, -ELOOP);
	n = readlinkat(link, "", target, sizeof(target) - 1);
	if (n <= 0)
		return refuse(walk->err, n < 0 ? -errno : -ENOENT);
	target[n] = '\0';
	snprintf(rest, sizeof(rest), "%s%s", target, walk->rest);
	if (strlen(rest) >= sizeof(walk->rest))
		return refuse(walk->err, -ENAMETOOLONG);
	strcpy(walk->rest, rest);
	if (target[0] == '/') {
		int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
		struct stat st;

		if (root < 0 || fstat(root, &st) < 0) {
			int r = -errno;

			if (root >= 0)
				close(root);
			return error_set(walk->err, r, "follow \"%.64s\"", name);
		}
		strcpy(walk->shown, "/");
		enter(walk, root, &st, ".");
	}
	return 0;
}

/* In /proc a link may lead where its text does not: /proc/self/fd/3. */
static bool is_of_proc(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* May root open @st, which is the file itself? */
static int check_file(const struct walk *walk, const char *name, const struct stat *st)
{
	const struct stat *folder = &walk->folder_stat;

	if (!S_ISREG(st->st_mode) || writers_of(folder) == ONLY_ROOT)
		return 0;
	if (st->st_nlink > 1)
		return refuse_part(walk, name, "has several names (hard links)",
				   "remove the others");
	if (walk->use == PATH_APPEND && is_sticky(folder) && st->st_uid != 0 &&
	    !(walk->user && st->st_uid == walk->user->uid)) {
		char what[64];

		snprintf(what, sizeof(what), "belongs to uid %u", (unsigned)st->st_uid);
		return refuse_part(walk, name, what, "remove it");
	}
	return 0;
}

/*
 * @looked is an O_PATH descriptor of the file, with @st. Open what has that name now, and make sure
 * that it is the same file. -EAGAIN: it is not.
 */
static int open_file(const struct walk *walk, const char *name, const struct stat *looked,
		     bool jump)
{
	cleanup_close int fd =
		openat(walk->folder, name, open_flags(walk->use) | (jump ? 0 : O_NOFOLLOW));
	struct stat st;
	int r;

	if (fd < 0) {
		if (errno == ENOENT || errno == ELOOP)
			return -EAGAIN;
		return refuse(walk->err, errno == ENXIO ? -PATH_IS_NO_FILE : -errno);
	}
	r = check_opened(fd, walk->use, &st);
	if (r < 0)
		return refuse(walk->err, r);
	if (st.st_dev != looked->st_dev || st.st_ino != looked->st_ino)
		return -EAGAIN;
	r = check_file(walk, name, &st);
	return r < 0 ? r : TAKE_FD(fd);
}

static int make_file(const struct walk *walk, const char *name, bool check)
{
	int r;

	if (check)
		return 0;
	r = make(walk->folder, name, O_EXCL | O_NOFOLLOW);
	if (r == -EEXIST)
		return -EAGAIN;
	return r < 0 ? refuse(walk->err, r) : r;
}

enum { GO_ON = INT_MAX };

/* The last part: the file itself, @part, or nothing (-1) if there is none. */
static int arrive(struct walk *walk, const char *name, int part, const struct stat *st, bool jump,
		  bool check)
{
	int r;

	if (part < 0)
		return make_file(walk, name, check);
	r = check_kind(part, st, walk->use);
	if (r < 0)
		return refuse(walk->err, r);
	r = check_file(walk, name, st);
	if (r < 0 || check)
		return r;
	return open_file(walk, name, st, jump);
}

static bool is_last(const struct walk *walk)
{
	return walk->rest[0] == '\0';
}

/* One part of the path. Returns GO_ON, or the result of it all. */
static int step(struct walk *walk, bool check)
{
	cleanup_close int part = -1;
	char name[NAME_MAX + 1];
	bool jump = false;
	struct stat st;
	int r = take_name(walk, name);

	if (r < 0)
		return refuse(walk->err, r);
	part = openat(walk->folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (part < 0 && errno == ENOENT && is_last(walk) && walk->use == PATH_APPEND)
		return arrive(walk, name, -1, NULL, false, check);
	if (part < 0 || fstat(part, &st) < 0)
		return refuse(walk->err, -errno);
	if (S_ISLNK(st.st_mode) && !may_follow(walk, &st))
		return refuse_part(walk, name, "is a symbolic link",
				   "name the file that it leads to");
	if (S_ISLNK(st.st_mode) && !is_of_proc(walk->folder)) {
		r = follow(walk, part, name);
		return r < 0 ? r : GO_ON;
	}
	if (S_ISLNK(st.st_mode)) {
		jump = true;
		close(part);
		part = openat(walk->folder, name, O_PATH | O_CLOEXEC);
		if (part < 0 || fstat(part, &st) < 0)
			return refuse(walk->err, -errno);
	}
	if (is_last(walk))
		return arrive(walk, name, part, &st, jump, check);
	if (!S_ISDIR(st.st_mode))
		return refuse(walk->err, -ENOTDIR);
	enter(walk, TAKE_FD(part), &st, name);
	return GO_ON;
}

static int walk_once(const char *path, enum path_use use, const struct as_user *user, bool check,
		     struct error *err)
{
	struct walk walk = {.use = use, .user = user, .err = err, .folder = -1};
	int r = begin(&walk, path);

	if (r < 0)
		r = refuse(err, r);
	else
		do
			r = step(&walk, check);
		while (r == GO_ON);
	if (walk.folder >= 0)
		close(walk.folder);
	return r;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static int do_as_root(const char *path, enum path_use use, const struct as_user *user, bool check,
		      struct error *err)
{
	int r = -EAGAIN;

	for (int k = 0; k < RACES_MAX && r == -EAGAIN; k++)
		r = walk_once(path, use, user, check, err);
	if (r == -EAGAIN)
		return error_text(err, r, "it is replaced again and again while it is opened");
	return r;
}

/* The rule refuses it, or root has fewer rights there (NFS, FUSE). */
static bool may_be_the_users(int r)
{
	return r == -PATH_IS_REFUSED || r == -EACCES || r == -EPERM;
}

static int do_as_user(const char *path, enum path_use use, const struct as_user *user, bool check,
		      int before, struct error *err)
{
	struct as_user_before own;
	struct error why = {};
	int r;

	if (err)
		why = *err;
	r = as_user_begin(user, &own);
	if (r < 0)
		return before;
	r = do_plainly(path, use, check);
	as_user_end(&own);
	if (r >= 0 || before != -PATH_IS_REFUSED)
		return r < 0 ? refuse(err, r) : r;
	return error_text(err, before, "%.800s; and uid %u, as which the service runs, gets: %s",
			  why.text, (unsigned)user->uid, path_why(r));
}

static int do_it(const char *path, enum path_use use, const struct as_user *user, bool check,
		 struct error *err)
{
	int r;

	if (geteuid() != 0) {
		r = do_plainly(path, use, check);
		return r < 0 ? refuse(err, r) : r;
	}
	r = do_as_root(path, use, user, check, err);
	if (r < 0 && may_be_the_users(r) && as_user_differs(user))
		r = do_as_user(path, use, user, check, r, err);
	return r;
}

int path_open(const char *path, enum path_use use, const struct as_user *user, struct error *err)
{
	return do_it(path, use, user, false, err);
}

int path_check(const char *path, enum path_use use, const struct as_user *user, struct error *err)
{
	return do_it(path, use, user, true, err);
}
