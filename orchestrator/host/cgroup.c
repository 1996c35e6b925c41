/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/cgroup.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/processes.h"
#include "orchestrator/host/cgroup_control.h"
#include "orchestrator/host/file.h"
#include "orchestrator/host/first.h"

#define MOUNTINFO_MAX   (8 * 1024 * 1024)
#define CGROUP_FILE_MAX (1024 * 1024)
#define DEPTH_MAX       32  /* open folders of nftw(3), not a limit of depth */
#define KILL_ROUNDS     100 /* against processes that fork while they are being killed */

/* ---- finding the place ---------------------------------------------------------------------- */

/* Undo the "\040" of proc_pid_mountinfo(5) in place. */
static void unescape(char *text)
{
	char *to = text;

	while (*text) {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' &&
		    text[2] <= '7' && text[3] >= '0' && text[3] <= '7') {
			*to++ = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + text[3] - '0');
			text += 4;
		} else {
			*to++ = *text++;
		}
	}
	*to = '\0';
}

/* What of the own cgroup is below a mount of @root; NULL: it is not below it. */
static const char *below(const char *own, const char *root)
{
	size_t n = strlen(root);

	if (strcmp(root, "/") == 0)
		return own;
	if (strncmp(own, root, n) == 0 && (own[n] == '/' || !own[n]))
		return own + n;
	return NULL;
}

/*
 * Does the line of a mount (36 35 98:0 ROOT POINT OPTIONS [FIELD...] - TYPE SOURCE SUPER) lead to
 * the own cgroup? @line is written to. 0, or -ENOENT.
 */
static int match_mount(char *line, const char *own, char ret_path[static CGROUP_PATH_MAX])
{
	enum { ROOT = 3, POINT = 4, FIXED = 6 };
	char *fields[FIXED], *separator = strstr(line, " - "), *at = line;
	const char *rest;
	int n;

	if (!separator || strncmp(separator + 3, "cgroup2 ", 8) != 0)
		return -ENOENT;
	*separator = '\0';
	for (size_t i = 0; i < FIXED; i++) {
		fields[i] = strsep(&at, " ");
		if (!fields[i])
			return -ENOENT;
	}
	unescape(fields[ROOT]);
	unescape(fields[POINT]);
	rest = below(own, fields[ROOT]);
	if (!rest)
		return -ENOENT;
	n = snprintf(ret_path, CGROUP_PATH_MAX, "%s%s", fields[POINT],
		     strcmp(rest, "/") == 0 ? "" : rest);
	return n < CGROUP_PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* The own path in the v2 hierarchy: the line "0::PATH" (cgroups(7)). */
static int own_cgroup(const char *cgroup, char ret[static CGROUP_PATH_MAX])
{
	for (const char *line = cgroup; *line;) {
		size_t n = strcspn(line, "\n");

		if (n > 3 && strncmp(line, "0::", 3) == 0) {
			if (n - 3 >= CGROUP_PATH_MAX)
				return -ENAMETOOLONG;
			memcpy(ret, line + 3, n - 3);
			ret[n - 3] = '\0';
			return 0;
		}
		line += line[n] ? n + 1 : n;
	}
	return -ENOENT;
}

/* No leaf of an instance is called so: those have dots. */
#define OWN_LEAF "batond"

/* What is the daemon's is beside the leaf that it is in itself, see cgroup_step_aside(). */
static void leave_own_leaf(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash && slash != path && strcmp(slash + 1, OWN_LEAF) == 0)
		*slash = '\0';
}

int cgroup_locate(const char *mountinfo, const char *cgroup, unsigned nth,
		  char ret_path[static CGROUP_PATH_MAX], struct error *err)
{
	cleanup_free char *text = strdup(mountinfo);
	char own[CGROUP_PATH_MAX];
	char *line, *rest = text;
	int r;

	if (!text)
		return error_set(err, -ENOMEM, "cgroup");
	r = own_cgroup(cgroup, own);
	if (r < 0)
		return error_text(err, r,
				  "cgroup: cgroup v2 is not mounted (/proc/self/cgroup has no "
				  "line 0::)");
	/* Outside of the cgroup namespace it is shown so (cgroup_namespaces(7)). */
	if (strncmp(own, "/..", 3) == 0)
		return error_set(err, -ENOENT, "cgroup: %s is outside the cgroup namespace", own);
	while ((line = strsep(&rest, "\n"))) {
		r = match_mount(line, own, ret_path);
		if (r == 0 && nth-- > 0)
			continue;
		if (r == 0) {
			leave_own_leaf(ret_path);
			return 0;
		}
		if (r != -ENOENT)
			return error_set(err, r, "cgroup: %s", own);
	}
	return error_text(err, -ENOENT, "cgroup: cgroup v2 is not mounted where %s can be reached",
			  own);
}

static int make(const char *path, struct error *err)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return error_set(err, -errno, "cgroup: make %s", path);
	return 0;
}

static int join(const char *path, const char *name, char ret[static CGROUP_PATH_MAX],
		struct error *err)
{
	int n = snprintf(ret, CGROUP_PATH_MAX, "%s/%s", path, name);

	return n < CGROUP_PATH_MAX ? 0 : error_set(err, -ENAMETOOLONG, "cgroup: %s/%s", path, name);
}

/* Mounts stay in mountinfo when others are mounted over them. */
static int locate_visible(const char *mountinfo, const char *cgroup,
			  char ret_path[static CGROUP_PATH_MAX], struct error *err)
{
	for (unsigned nth = 0;; nth++) {
		char path[CGROUP_PATH_MAX];
		struct error why;
		struct statfs st;
		int r = cgroup_locate(mountinfo, cgroup, nth, path, &why);

		if (r < 0 && nth > 0)
			return error_text(err, -ENOENT, "cgroup: something else is mounted over %s",
					  ret_path);
		if (r < 0)
			return error_text(err, r, "%s", why.text);
		strcpy(ret_path, path);
		if (statfs(path, &st) == 0 && st.f_type == CGROUP2_SUPER_MAGIC)
			return 0;
	}
}

int cgroup_own(char ret_path[static CGROUP_PATH_MAX], struct error *err)
{
	cleanup_free char *mountinfo = NULL;
	cleanup_free char *cgroup = NULL;
	int r;

	r = file_read("/proc/self/mountinfo", MOUNTINFO_MAX, &mountinfo, NULL);
	if (r < 0)
		return error_set(err, r, "/proc/self/mountinfo");
	r = file_read("/proc/self/cgroup", CGROUP_FILE_MAX, &cgroup, NULL);
	if (r < 0)
		return error_set(err, r, "/proc/self/cgroup");
	return locate_visible(mountinfo, cgroup, ret_path, err);
}

int cgroup_base(const char *name, char ret_base[static CGROUP_PATH_MAX], struct error *err)
{
	char own[CGROUP_PATH_MAX];
	int r = cgroup_own(own, err);

	if (r < 0)
		return r;
	r = join(own, name, ret_base, err);
	if (r < 0)
		return r;
	return make(ret_base, err);
}

const char *cgroup_how(int code)
{
	if (code == -EPERM || code == -EACCES || code == -EROFS)
		return "run it as root, or in a cgroup that was delegated to its user (systemd: "
		       "Delegate=yes); in a container /sys/fs/cgroup must be writable (docker: "
		       "--security-opt writable-cgroups=true)";
	return "mount cgroup v2: mount -t cgroup2 none /sys/fs/cgroup/unified, or boot with "
	       "systemd.unified_cgroup_hierarchy=1";
}

/* ---- leaves --------------------------------------------------------------------------------- */

int cgroup_create(const char *base, const char *leaf, char ret_path[static CGROUP_PATH_MAX],
		  uint64_t *ret_id, struct error *err)
{
	struct stat st;
	int r;

	assert(leaf[0] && !strchr(leaf, '/'));
	r = join(base, leaf, ret_path, err);
	if (r < 0)
		return r;
	r = make(ret_path, err);
	if (r < 0)
		return r;
	r = cgroup_populated(ret_path);
	if (r < 0)
		return error_set(err, r, "cgroup: %s", ret_path);
	if (r > 0)
		return error_text(err, -EBUSY, "cgroup: %s: processes are in it already", ret_path);
	if (stat(ret_path, &st) < 0)
		return error_set(err, -errno, "cgroup: %s", ret_path);
	*ret_id = st.st_ino;
	return 0;
}

int cgroup_populated(const char *path)
{
	cleanup_free char *text = NULL;
	int r = cgroup_control_read(path, "cgroup.events", &text);

	if (r <= 0)
		return r;
	for (const char *line = text; *line;) {
		size_t n = strcspn(line, "\n");

		if (strncmp(line, "populated ", 10) == 0)
			return line[10] == '1';
		line += line[n] ? n + 1 : n;
	}
	return -EBADMSG;
}

int cgroup_wait_empty(const char *path, int timeout_ms)
{
	uint64_t deadline_ms = clock_monotonic_ms() + (uint64_t)timeout_ms;
	char full[CGROUP_PATH_MAX];
	cleanup_close int fd = -1;
	int r;

	if (join(path, "cgroup.events", full, NULL) < 0)
		return -ENAMETOOLONG;
	fd = open(full, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENODEV ? 0 : -errno;
	while ((r = cgroup_populated(path)) > 0) {
		/* A change of cgroup.events raises POLLPRI (cgroup-v2.rst). */
		struct pollfd changed = {.fd = fd, .events = POLLPRI};
		uint64_t now_ms = clock_monotonic_ms();
		char byte;

		if (now_ms >= deadline_ms)
			return -ETIMEDOUT;
		/* Reading re-arms it; a change in between shows at the next look, soon enough. */
		if (pread(fd, &byte, 1, 0) >= 0 && cgroup_populated(path) > 0)
			poll(&changed, 1, (int)(deadline_ms - now_ms));
	}
	return r;
}

/* Frozen (Linux 5.2) they cannot fork; what is frozen dies of SIGKILL all the same. */
static int kill_one_by_one(const char *path)
{
	cleanup(processes_free) struct processes *processes = NULL;
	int r = processes_new(path, 0, &processes);

	(void)cgroup_control_write(path, "cgroup.freeze", "1");
	for (int round = 0; round < KILL_ROUNDS && r == 0; round++) {
		unsigned n;

		r = processes_signal(processes, SIGKILL, &n);
		if (r == 0)
			r = cgroup_populated(path);
		if (r <= 0)
			break;
		r = 0;
	}
	/* It may be used again. */
	(void)cgroup_control_write(path, "cgroup.freeze", "0");
	return r;
}

int cgroup_kill(const char *path)
{
	int r = cgroup_control_write(path, "cgroup.kill", "1");

	if (r == -ENOENT)
		return kill_one_by_one(path);
	return r == -ENODEV ? 0 : r;
}

static int on_remove_folder(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)ftw;
	/* Control files go with their folder. */
	if (type == FTW_DP && rmdir(path) < 0 && errno != ENOENT)
		return errno;
	return 0;
}

int cgroup_remove(const char *path)
{
	struct statfs st;
	int r;

	if (statfs(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	/* Never walk through a tree of somebody's files because of a wrong path. */
	if (st.f_type != CGROUP2_SUPER_MAGIC)
		return -EINVAL;
	r = cgroup_populated(path);
	if (r != 0)
		return r < 0 ? r : -EBUSY;
	/* Most have nothing below them, and the walk looks at each of their files. */
	if (rmdir(path) == 0)
		return 0;
	r = nftw(path, on_remove_folder, DEPTH_MAX, FTW_PHYS | FTW_MOUNT | FTW_DEPTH);
	if (r < 0)
		return errno == ENOENT ? 0 : -errno;
	return -r;
}

/* ---- stepping aside ------------------------------------------------------------------------- */

/* "0" stands for whoever writes it. In a container process 1 would be in the way as well. */
static int enter(const char *path)
{
	int r = cgroup_control_write(path, "cgroup.procs", "0");

	return r >= 0 && first_is_behind() ? cgroup_control_write(path, "cgroup.procs", "1") : r;
}

static int own_leaf(const char *base, char ret[static CGROUP_PATH_MAX])
{
	const char *slash = strrchr(base, '/');

	if (!slash || (size_t)snprintf(ret, CGROUP_PATH_MAX, "%.*s/" OWN_LEAF, (int)(slash - base),
				       base) >= CGROUP_PATH_MAX)
		return -EINVAL;
	return 0;
}

int cgroup_step_aside(const char *base, struct error *err)
{
	char path[CGROUP_PATH_MAX];
	int r = own_leaf(base, path);

	/* One of an earlier daemon may have agents in it: it is shared. */
	if (r >= 0 && mkdir(path, 0755) < 0 && errno != EEXIST)
		r = -errno;
	if (r >= 0)
		r = enter(path);
	return r < 0 ? error_set(err, r, "%s", path) : 0;
}

int cgroup_step_back(const char *base)
{
	char path[CGROUP_PATH_MAX], above[CGROUP_PATH_MAX];
	int r = own_leaf(base, path);

	if (r < 0)
		return r;
	snprintf(above, sizeof(above), "%.*s", (int)(strrchr(path, '/') - path), path);
	r = enter(above);
	return r < 0 ? r : cgroup_remove(path);
}
