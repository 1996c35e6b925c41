/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leftovers: what daemons of a name have left on the host: cgroups, pins, files in the run
 * directory, state; and which instances live, whose things must stay. Whoever uses it has the lock
 * of that name (lock.h).
 *
 * An instance lives if somebody has the socket of its agent, if its server runs, or if a process is
 * in its cgroup, wherever that is. Only what baton makes is listed: the folders may have the names
 * of somebody else's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/paths.h"
#include "orchestrator/host/cgroup.h"

enum leftovers_kind { LEFTOVERS_CGROUP, LEFTOVERS_PINS, LEFTOVERS_FILE, LEFTOVERS_STATE };

struct leftovers_item {
	enum leftovers_kind kind;
	char path[PATHS_MAX + CGROUP_PATH_MAX];
	char of[CGROUP_LEAF_MAX]; /* instance or service; "": the daemon's own */
	bool is_folder;           /* of the daemon's, for others: it goes when nothing lives */
	bool removed, failed;
	char kept[128]; /* why it stays; "": it need not */
};

struct leftovers_instance {
	char id[CGROUP_LEAF_MAX]; /* "web.3.0" */
	char service[CGROUP_LEAF_MAX];
	char lives[128]; /* by what that is known; "": it is gone */
};

#define LEFTOVERS_MAX 65536 /* of each; more are looked at the next time */

struct leftovers {
	const struct paths *paths;
	const char *pins_dir;
	struct leftovers_instance **instances;
	size_t n_instances;
	void *by_id,
		*living; /* tsearch(3): instances; names of those that live, and their services */
	struct leftovers_item *items; /* in the order in which they are removed */
	size_t n_items;
};

/*
 * @pins_dir: of the daemon, in bpffs; "": none. @state: /var/lib/NAME need not stay, if nothing
 * lives. What they point to must outlive *ret. -ENOMEM, or why a folder cannot be read.
 */
int leftovers_find(const struct paths *paths, const char *pins_dir, bool state,
		   struct leftovers *ret, struct error *err);
void leftovers_done(struct leftovers *left);

/*
 * For a daemon that runs, with its cgroups in @cgroup_base ("": it has none): what is its own
 * stays, and what is of services that @is_known says yes to; but of instances only what is of those
 * that live.
 */
void leftovers_keep(struct leftovers *left, const char *cgroup_base,
		    bool (*is_known)(void *userdata, const char *service), void *userdata);

/* Remove all that need not stay. What could not be has .failed, and .kept says why. */
void leftovers_remove(struct leftovers *left);

/* How many instances live. */
size_t leftovers_living(const struct leftovers *left);
