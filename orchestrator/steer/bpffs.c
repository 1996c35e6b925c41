/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/bpffs.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <ftw.h>
#include <linux/capability.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/capability_sets.h"
#include "common/cleanup.h"
#include "common/log.h"

#define BPFFS     "/sys/fs/bpf"
#define LEVELS    3 /* NAME, SERVICE, ENDPOINT */
#define DEPTH_MAX 8 /* open folders of nftw(3) */

/* 1: there is one; 0: none; negative errno: that cannot be told. */
static int find_mount(char ret[static BPFFS_PATH_MAX])
{
	struct mntent *entry;
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	int r = 0;

	if (!mounts)
		return -errno;
	while (r == 0 && (entry = getmntent(mounts))) {
		if (strcmp(entry->mnt_type, "bpf") != 0)
			continue;
		r = snprintf(ret, BPFFS_PATH_MAX, "%s", entry->mnt_dir) < BPFFS_PATH_MAX
			    ? 1
			    : -ENAMETOOLONG;
	}
	endmntent(mounts);
	return r;
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
			return error_set(err, r, "mount bpffs on " BPFFS);
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

void bpffs_remove(const char *path)
{
	char folder[BPFFS_PATH_MAX];

	snprintf(folder, sizeof(folder), "%s", path);
	for (int level = 0; level < LEVELS && rmdir(folder) == 0; level++) {
		char *slash = strrchr(folder, '/');

		if (!slash)
			break;
		*slash = '\0';
	}
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	/* What cannot be removed stays; the rest is removed all the same. */
	(void)remove(path);
	return 0;
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
		nftw(path, remove_entry, DEPTH_MAX, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
