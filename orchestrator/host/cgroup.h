/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cgroup: one cgroup v2 leaf per instance, below the daemon's own cgroup.
 *
 * <mount><own cgroup>/NAME/SERVICE.GENERATION.INDEX. The leaf is what an instance's processes are
 * counted, found and killed by, whatever they fork. Its id (the inode of the folder) is what
 * sock_diag filters by: a socket belongs to the cgroup its creator was in at socket(2).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define CGROUP_PATH_MAX 512

/*
 * The pure part of cgroup_base(): from the texts of /proc/self/mountinfo and /proc/self/cgroup, the
 * path of the process's own cgroup v2 folder. If several mounts show it, that of the @nth, from 0
 * on. -ENOENT: cgroup v2 is not mounted (so often), or the own cgroup is outside what is mounted (a
 * container that was given another part of the tree).
 */
int cgroup_locate(const char *mountinfo, const char *cgroup, unsigned nth,
		  char ret_path[static CGROUP_PATH_MAX], struct error *err);

/*
 * The path of the process's own cgroup v2 folder, also in hybrid layouts, by a mount over which
 * nothing else is mounted. As cgroup_locate().
 */
int cgroup_own(char ret_path[static CGROUP_PATH_MAX], struct error *err);

/* Make NAME below it. @ret_base is its path. */
int cgroup_base(const char *name, char ret_base[static CGROUP_PATH_MAX], struct error *err);

/* How to get what cgroup_base() refuses with this negative errno. */
const char *cgroup_how(int code);

/*
 * Call @on_base for each folder in the whole cgroup v2 tree that daemons called @name have made:
 * one of that name with a leaf of an instance or of anchors in it. The cgroup of a daemon that was
 * killed need not be near the own one. 0, also without cgroup v2; or a negative errno.
 */
typedef void cgroup_on_base(void *userdata, const char *base);
int cgroup_each_base(const char *name, cgroup_on_base *on_base, void *userdata);

/* "web.3.0" is of an instance, "anchor.web" and "web.anchor" of anchors; *ret_service: "web". */
#define CGROUP_LEAF_MAX 128
enum cgroup_leaf { CGROUP_LEAF_OTHER, CGROUP_LEAF_INSTANCE, CGROUP_LEAF_ANCHOR };
enum cgroup_leaf cgroup_parse_leaf(const char *leaf, char ret_service[static CGROUP_LEAF_MAX]);

/*
 * Make the leaf @leaf below @base; an empty one that is already there is taken over. Its path and
 * id are returned. -EBUSY: a process is in it.
 */
int cgroup_create(const char *base, const char *leaf, char ret_path[static CGROUP_PATH_MAX],
		  uint64_t *ret_id, struct error *err);

/*
 * 1: a process is in the cgroup at @path or below it; 0: none is, or there is no such cgroup;
 * negative errno: that cannot be read.
 */
int cgroup_populated(const char *path);

/*
 * SIGKILL everything in it and in what is below it (cgroup.kill, Linux 5.14; else it is
 * frozen and killed process by process). Does not wait for the end of what it killed: ask
 * cgroup_populated(). 0, too, if there is no such cgroup.
 */
int cgroup_kill(const char *path);

/*
 * Wait until no process is in it. -ETIMEDOUT after @timeout_ms; another negative errno if it cannot
 * be told. Blocks: for the moment after a cgroup_kill(), which takes the kernel some milliseconds.
 */
int cgroup_wait_empty(const char *path, int timeout_ms);

/*
 * Remove the leaf with what the instance made below it. 0, too, if it does not exist; -EBUSY while
 * a process is in it; -EINVAL: @path is no cgroup.
 */
int cgroup_remove(const char *path);

/*
 * cgroup v2 switches controllers on only below a cgroup without processes of its own. So that
 * cgroup_limit() can do so, this process goes into a leaf "batond" beside @base, with all that it
 * will start. And back, before @base is removed: 0, or a negative errno if the kernel does not
 * allow it any more; then whoever has made the cgroup above (a service manager) must remove it all.
 *
 * cgroup_locate() and cgroup_base() take a last part "batond" of the own cgroup for that leaf: with
 * DelegateSubgroup=batond systemd puts the daemon there from the beginning. It must do so if agents
 * outlive the daemon: it could not put the next daemon above them.
 */
int cgroup_step_aside(const char *base, struct error *err);
int cgroup_step_back(const char *base);

/* Limits of a leaf; 0: none. */
struct cgroup_limits {
	uint64_t memory_max; /* bytes */
	uint32_t cpu_max;    /* percent of one CPU */
	uint32_t pids_max;
};

/*
 * Write @limits to the leaf at @path, after switching on the controllers that they need in the
 * folders from the mount down to its parent. -EOPNOTSUPP: cgroup v2 does not have a controller (a
 * hybrid layout gives it to v1); the text names it and the key of the configuration. -EBUSY: a
 * folder above has processes of its own, which cgroup v2 does not allow; the text has a way out.
 */
int cgroup_limit(const char *path, const struct cgroup_limits *limits, struct error *err);
