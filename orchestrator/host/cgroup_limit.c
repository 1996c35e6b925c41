/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/cgroup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "orchestrator/host/cgroup_control.h"

#define CPU_PERIOD_US 100000 /* the kernel's own default */
#define WORDS_MAX     64     /* "+memory +cpu +pids" */

/* A set of these is a mask of bits. */
enum limit {
	LIMIT_MEMORY,
	LIMIT_CPU,
	LIMIT_PIDS,
	_LIMIT_COUNT,
};

static const struct {
	const char *controller, *key, *file;
} limit_files[_LIMIT_COUNT] = {
	[LIMIT_MEMORY] = {"memory", "resources.memory_max", "memory.max"},
	[LIMIT_CPU] = {"cpu", "resources.cpu_max", "cpu.max"},
	[LIMIT_PIDS] = {"pids", "resources.pids_max", "pids.max"},
};

/* The folders from the mount's to the leaf's parent; each is known by the length of its path. */
struct way {
	const char *path; /* of the leaf */
	size_t root, parent;
	unsigned char switched_on[CGROUP_PATH_MAX]; /* by us: sets */
};

static unsigned bit(enum limit limit)
{
	return 1u << limit;
}

static enum limit first_of(unsigned set)
{
	return (enum limit)__builtin_ctz(set);
}

static bool has_word(const char *list, const char *word)
{
	size_t length = strlen(word);

	while (*list) {
		size_t n = strcspn(list, " \n");

		if (n == length && memcmp(list, word, n) == 0)
			return true;
		list += n + (list[n] != '\0');
	}
	return false;
}

/* ---- the way -------------------------------------------------------------------------------- */

static const char *folder_at(const struct way *way, size_t length, char ret[static CGROUP_PATH_MAX])
{
	memcpy(ret, way->path, length);
	ret[length] = '\0';
	return ret;
}

/* The folder above the one at @length; 0: there is none. */
static size_t above(const struct way *way, size_t length)
{
	while (length > 0 && way->path[length - 1] != '/')
		length--;
	return length > 0 ? length - 1 : 0;
}

static size_t below(const struct way *way, size_t length)
{
	return length + 1 + strcspn(way->path + length + 1, "/");
}

/* Only cgroups have controllers: the root is the last folder upwards that does. */
static int find_way(const char *path, struct way *ret, struct error *err)
{
	char folder[CGROUP_PATH_MAX];
	size_t length = strlen(path);

	*ret = (struct way){.path = path};
	if (length >= CGROUP_PATH_MAX)
		return error_set(err, -ENAMETOOLONG, "cgroup: %s", path);
	ret->parent = above(ret, length);
	for (size_t at = ret->parent; at > 0; at = above(ret, at)) {
		cleanup_free char *controllers = NULL;
		int r = cgroup_control_read(folder_at(ret, at, folder), "cgroup.controllers",
					    &controllers);

		if (r < 0)
			return error_set(err, r, "cgroup: %s/cgroup.controllers", folder);
		if (r == 0)
			break;
		ret->root = at;
	}
	if (!ret->root)
		return error_text(err, -ENOENT, "cgroup: %s: not in a cgroup v2 hierarchy", path);
	return 0;
}

/* ---- switching on --------------------------------------------------------------------------- */

/* Which of @set does the list in @file not have? */
static int missing_in(const char *folder, const char *file, unsigned set, unsigned *ret,
		      struct error *err)
{
	cleanup_free char *list = NULL;
	int r = cgroup_control_read(folder, file, &list);

	if (r <= 0)
		return error_set(err, r < 0 ? r : -ENOENT, "cgroup: %s/%s", folder, file);
	*ret = 0;
	for (enum limit i = 0; i < _LIMIT_COUNT; i++)
		if ((set & bit(i)) && !has_word(list, limit_files[i].controller))
			*ret |= bit(i);
	return 0;
}

static int unavailable(const char *folder, enum limit limit, struct error *err)
{
	return error_text(err, -EOPNOTSUPP,
			  "%s: the %s controller is not available in cgroup v2 at %s (it may be "
			  "bound to cgroup v1)",
			  limit_files[limit].key, limit_files[limit].controller, folder);
}

static int check_available(const char *folder, unsigned set, struct error *err)
{
	unsigned missing = 0;
	int r = missing_in(folder, "cgroup.controllers", set, &missing, err);

	if (r == 0 && missing)
		return unavailable(folder, first_of(missing), err);
	return r;
}

/* All in one write, which the kernel carries out as a whole or not at all (cgroup-v2.rst). */
static int switch_all(const char *folder, char sign, unsigned set)
{
	char words[WORDS_MAX] = "";
	size_t n = 0;

	for (enum limit i = 0; i < _LIMIT_COUNT; i++)
		if (set & bit(i))
			n += (size_t)snprintf(words + n, sizeof(words) - n, "%s%c%s", n ? " " : "",
					      sign, limit_files[i].controller);
	return cgroup_control_write(folder, "cgroup.subtree_control", words);
}

static int cannot_switch(const char *folder, enum limit limit, int r, struct error *err)
{
	const char *key = limit_files[limit].key, *controller = limit_files[limit].controller;

	/* "No internal processes", cgroup-v2.rst. */
	if (r == -EBUSY)
		return error_text(
			err, r,
			"%s: the %s controller cannot be switched on in %s, as processes "
			"are in that cgroup itself; move what its cgroup.procs lists to a "
			"cgroup below it (mkdir main; echo PID > main/cgroup.procs)",
			key, controller, folder);
	if (r == -EACCES || r == -EPERM || r == -EROFS)
		return error_set(
			err, r,
			"%s: the %s controller is not on in %s, and must be switched on by "
			"who owns that cgroup (under systemd: Delegate=yes)",
			key, controller, folder);
	return error_set(err, r, "%s: switch on the %s controller in %s", key, controller, folder);
}

/* A folder's controllers are those that the one above passes on, so from the top downwards. */
static int switch_on(struct way *way, unsigned set, struct error *err)
{
	char folder[CGROUP_PATH_MAX];

	for (size_t at = way->root; at <= way->parent; at = below(way, at)) {
		unsigned off = 0;
		int r;

		folder_at(way, at, folder);
		r = check_available(folder, set, err);
		if (r == 0)
			r = missing_in(folder, "cgroup.subtree_control", set, &off, err);
		if (r < 0)
			return r;
		if (!off)
			continue;
		r = switch_all(folder, '+', off);
		if (r < 0)
			return cannot_switch(folder, first_of(off), r, err);
		way->switched_on[at] = (unsigned char)off;
	}
	return 0;
}

/* From below upwards: no folder may stop what one below it passes on. */
static void switch_off(const struct way *way)
{
	char folder[CGROUP_PATH_MAX];

	for (size_t at = way->parent; at >= way->root; at = above(way, at))
		if (way->switched_on[at])
			switch_all(folder_at(way, at, folder), '-', way->switched_on[at]);
}

/* ---- the limits ----------------------------------------------------------------------------- */

static unsigned wanted(const struct cgroup_limits *limits)
{
	return (limits->memory_max ? bit(LIMIT_MEMORY) : 0) |
	       (limits->cpu_max ? bit(LIMIT_CPU) : 0) | (limits->pids_max ? bit(LIMIT_PIDS) : 0);
}

static int write_limit(const char *path, enum limit limit, const struct cgroup_limits *limits,
		       struct error *err)
{
	char text[WORDS_MAX];
	int r;

	switch (limit) {
	case LIMIT_MEMORY:
		snprintf(text, sizeof(text), "%" PRIu64, limits->memory_max);
		break;
	case LIMIT_CPU:
		snprintf(text, sizeof(text), "%" PRIu64 " %d",
			 (uint64_t)limits->cpu_max * CPU_PERIOD_US / 100, CPU_PERIOD_US);
		break;
	default:
		snprintf(text, sizeof(text), "%" PRIu32, limits->pids_max);
	}
	r = cgroup_control_write(path, limit_files[limit].file, text);
	if (r < 0)
		return error_set(err, r, "%s: write \"%s\" to %s/%s", limit_files[limit].key, text,
				 path, limit_files[limit].file);
	return 0;
}

int cgroup_limit(const char *path, const struct cgroup_limits *limits, struct error *err)
{
	unsigned set = wanted(limits);
	struct way way;
	int r;

	if (!set)
		return 0;
	r = find_way(path, &way, err);
	if (r < 0)
		return r;
	r = switch_on(&way, set, err);
	for (enum limit i = 0; r == 0 && i < _LIMIT_COUNT; i++)
		if (set & bit(i))
			r = write_limit(path, i, limits, err);
	if (r < 0)
		switch_off(&way);
	return r;
}
