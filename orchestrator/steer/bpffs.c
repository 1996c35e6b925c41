/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/bpffs.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/capability_sets.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "orchestrator/host/file.h"

#define BPFFS  "/sys/fs/bpf"
#define LEVELS 3 /* NAME, SERVICE, ENDPOINT */

/* An earlier daemon of the name that is about to end gets so long. */
#define CLAIM_TRIES   100
#define CLAIM_WAIT_US 10000

/*
 * 1: a bpffs that can be written to; 0: one that cannot; -ENOENT: none, as something else has been
 * mounted over it since.
 */
static int look_at(const char *path)
{
	struct statfs st;

	if (statfs(path, &st) < 0 || st.f_type != BPF_FS_MAGIC)
		return -ENOENT;
	return !(st.f_flags & ST_RDONLY);
}

/*
 * 1: there is one; 0: none; negative errno: that cannot be told. The first that can be written to,
 * else the first.
 */
static int find_mount(char ret[static BPFFS_PATH_MAX])
{
	struct mntent *entry;
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	int found = 0, r = 0;

	if (!mounts)
		return -errno;
	while (r >= 0 && r != 1 && (entry = getmntent(mounts))) {
		if (strcmp(entry->mnt_type, "bpf") != 0)
			continue;
		r = look_at(entry->mnt_dir);
		if (r < 0 || (r == 0 && found)) {
			r = 0;
			continue;
		}
		if (snprintf(ret, BPFFS_PATH_MAX, "%s", entry->mnt_dir) >= BPFFS_PATH_MAX)
			r = -ENAMETOOLONG;
		found = 1;
	}
	endmntent(mounts);
	return r < 0 ? r : found;
}

int bpffs_is_mounted(void)
{
	char path[BPFFS_PATH_MAX];

	return find_mount(path);
}

static int mount_it(void)
{
	uint64_t before = capability_raise(CAP_SYS_ADMIN);
	int r = mount("bpf", BPFFS, "bpf", 0, "mode=0700") < 0 ? -errno : 0;

	capability_put_back(before);
	return r;
}

int bpffs_make(const char *name, const char *service, const char *key,
	       char ret[static BPFFS_PATH_MAX], struct error *err)
{
	const char *const parts[LEVELS] = {name, service, key};
	int r = find_mount(ret);
	size_t n;

	/* Mounted once more, one that is there already would be hidden with its pins. */
	if (r < 0)
		return error_set(err, r, "find the bpffs mount");
	if (r == 0) {
		r = mount_it();
		if (r < 0)
			return error_set(
				err, r,
				"no bpffs is mounted, and batond may not mount one on " BPFFS);
		log_info("mounted bpffs on " BPFFS);
		strcpy(ret, BPFFS);
	}
	n = strlen(ret);
	for (int k = 0; k < LEVELS; k++) {
		assert(parts[k][0] && !strchr(parts[k], '/'));
		n += (size_t)snprintf(ret + n, BPFFS_PATH_MAX - n, "/%s", parts[k]);
		if (n >= BPFFS_PATH_MAX)
			return error_text(err, -ENAMETOOLONG, "bpffs path of %s/%s is too long",
					  name, service);
		if (mkdir(ret, 0700) < 0 && errno != EEXIST)
			return error_set(err, -errno, "mkdir %s", ret);
	}
	return 0;
}

int bpffs_move(const char *from, const char *to, struct error *err)
{
	const char *slash = strrchr(from, '/');
	char above[BPFFS_PATH_MAX];

	if (rename(from, to) < 0)
		return error_set(err, -errno, "rename %s to %s", from, to);
	snprintf(above, sizeof(above), "%.*s", slash ? (int)(slash - from) : 0, from);
	(void)rmdir(above);
	return 0;
}

static int pin(const char *folder, struct error *err)
{
	char path[BPFFS_PATH_MAX + sizeof("/map")];
	cleanup_close int again = -1;
	cleanup_close int map = -1;
	int r = 0;

	map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "baton_try", 4, 4, 1, NULL);
	if (map < 0)
		return error_set(err, -errno, "make a map");
	snprintf(path, sizeof(path), "%s/map", folder);
	if (bpf_obj_pin(map, path) < 0)
		return error_set(err, -errno, "pin a map below %s", folder);
	again = bpf_obj_get(path);
	if (again < 0)
		r = error_set(err, -errno, "open a map that is pinned below %s", folder);
	unlink(path);
	return r;
}

int bpffs_try(const char *name, const char *key, struct error *err)
{
	char folder[BPFFS_PATH_MAX];
	int r = bpffs_make(name, "try", key, folder, err);

	if (r < 0)
		return r;
	r = pin(folder, err);
	bpffs_remove(folder);
	return r;
}

const char *bpffs_how(int code)
{
	switch (code) {
	case -EBUSY:
		return "give this batond a name of its own (-n, BATON_NAME), or its container a "
		       "bpffs of its own";
	case -EROFS:
		return "mount it writable (docker: -v " BPFFS ":/bpf)";
	case -EPERM:
	case -EACCES:
	case -ENOENT:
		return "mount one that batond can write to, anywhere, before it starts (mount -t bpf bpf " BPFFS
		       "; docker: -v " BPFFS ":/bpf)";
	default:
		return "";
	}
}

/* 1: it is ours; 0: another daemon has it; negative errno. */
static int lock_folder(const char *path, int *ret_fd)
{
	cleanup_close int fd = -1;
	struct stat st;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? 0 : -errno;
	/* The other one may have removed it just now. */
	if (fstat(fd, &st) < 0 || st.st_nlink == 0)
		return 0;
	*ret_fd = TAKE_FD(fd);
	return 1;
}

int bpffs_claim(const char *name, int *ret_fd, struct error *err)
{
	char path[BPFFS_PATH_MAX];
	int r = find_mount(path);
	size_t n;

	if (r <= 0)
		return error_set(err, r < 0 ? r : -ENOENT, "find the bpffs mount");
	n = strlen(path);
	if ((size_t)snprintf(path + n, sizeof(path) - n, "/%s", name) >= sizeof(path) - n)
		return error_text(err, -ENAMETOOLONG, "bpffs path of %s is too long", name);
	r = lock_folder(path, ret_fd);
	for (int k = 0; r == 0 && k < CLAIM_TRIES; k++) {
		usleep(CLAIM_WAIT_US);
		r = lock_folder(path, ret_fd);
	}
	if (r == 0)
		return error_text(err, -EBUSY,
				  "another batond called \"%s\", in another container, has its "
				  "pins in %s",
				  name, path);
	return r < 0 ? error_set(err, r, "lock %s", path) : 0;
}

void bpffs_remove(const char *path)
{
	char folder[BPFFS_PATH_MAX];

	snprintf(folder, sizeof(folder), "%s", path);
	/* The daemon's own folder stays: it may be claimed. */
	for (int level = 1; level < LEVELS && rmdir(folder) == 0; level++) {
		char *slash = strrchr(folder, '/');

		if (!slash)
			break;
		*slash = '\0';
	}
}

int bpffs_folder(const char *name, char ret[static BPFFS_PATH_MAX])
{
	int r = find_mount(ret);
	size_t n = r > 0 ? strlen(ret) : 0;

	if (r <= 0)
		return r;
	return (size_t)snprintf(ret + n, BPFFS_PATH_MAX - n, "/%s", name) < BPFFS_PATH_MAX - n
		       ? 1
		       : -ENAMETOOLONG;
}

void bpffs_sweep(const char *name)
{
	char path[BPFFS_PATH_MAX];

	if (bpffs_folder(name, path) > 0)
		file_remove_tree(path);
}
