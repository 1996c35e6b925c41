/* SPDX-License-Identifier: BSD-2-Clause */
/* cgroup: what daemons have left, wherever in the tree they were. */
#include "orchestrator/host/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"

#define DEPTH_MAX 16

#define ANCHOR "anchor"

struct search {
	const char *name;
	cgroup_on_base *on_base;
	void *userdata;
};

enum cgroup_leaf cgroup_parse_leaf(const char *leaf, char ret_service[static CGROUP_LEAF_MAX])
{
	size_t n = strcspn(leaf, ".");
	const char *rest = leaf[n] ? leaf + n + 1 : "";
	unsigned generation, index;
	int length = 0;

	ret_service[0] = '\0';
	if (n == 0 || n >= CGROUP_LEAF_MAX || !rest[0])
		return CGROUP_LEAF_OTHER;
	if (sscanf(rest, "%u.%u%n", &generation, &index, &length) == 2 && !rest[length]) {
		snprintf(ret_service, CGROUP_LEAF_MAX, "%.*s", (int)n, leaf);
		return CGROUP_LEAF_INSTANCE;
	}
	if (strchr(rest, '.'))
		return CGROUP_LEAF_OTHER;
	if (strcmp(rest, ANCHOR) == 0)
		snprintf(ret_service, CGROUP_LEAF_MAX, "%.*s", (int)n, leaf);
	else if (n == strlen(ANCHOR) && strncmp(leaf, ANCHOR, n) == 0)
		snprintf(ret_service, CGROUP_LEAF_MAX, "%s", rest);
	return ret_service[0] ? CGROUP_LEAF_ANCHOR : CGROUP_LEAF_OTHER;
}

static void close_folder(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static const struct dirent *next_folder(DIR *dir)
{
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			return entry;
	return NULL;
}

static bool has_leaf(const char *path)
{
	__attribute__((__cleanup__(close_folder))) DIR *dir = opendir(path);
	const struct dirent *entry;
	char service[CGROUP_LEAF_MAX];

	while ((entry = next_folder(dir)))
		if (cgroup_parse_leaf(entry->d_name, service) != CGROUP_LEAF_OTHER)
			return true;
	return false;
}

static void search(const struct search *s, const char *path, unsigned depth)
{
	__attribute__((__cleanup__(close_folder))) DIR *dir = opendir(path);
	const struct dirent *entry;

	while (depth < DEPTH_MAX && (entry = next_folder(dir))) {
		char below[CGROUP_PATH_MAX];

		if (snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) >=
		    (int)sizeof(below))
			continue;
		if (strcmp(entry->d_name, s->name) == 0 && has_leaf(below))
			s->on_base(s->userdata, below);
		else
			search(s, below, depth + 1);
	}
}

int cgroup_each_base(const char *name, cgroup_on_base *on_base, void *userdata)
{
	const struct search s = {.name = name, .on_base = on_base, .userdata = userdata};
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	char mount[CGROUP_PATH_MAX] = "";
	const struct mntent *entry;

	if (!mounts)
		return -errno;
	/* One mount shows the whole tree. */
	while (!mount[0] && (entry = getmntent(mounts)))
		if (strcmp(entry->mnt_type, "cgroup2") == 0 &&
		    snprintf(mount, sizeof(mount), "%s", entry->mnt_dir) >= (int)sizeof(mount))
			mount[0] = '\0';
	endmntent(mounts);
	if (mount[0])
		search(&s, mount, 0);
	return 0;
}
