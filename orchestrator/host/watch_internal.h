/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watch_internal: what the parts of watch share, and what their tests call.
 *
 *	watch.c		when to look, and when to tell
 *	watch_look.c	what a path leads to
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "orchestrator/host/file_hash.h"
#include "orchestrator/host/watch.h"

/* More symlinks than this on the way of one path lead nowhere (the kernel follows 40). */
#define WATCH_LINKS_MAX 16

/*
 * How long a path that is finished waits for others that have changed and are not finished: they
 * may be parts of one deployment. Then it is told alone.
 */
#define WATCH_OTHERS_MS 30000

struct watch_pace {
	uint64_t quiet_ms, poll_ms, others_ms;
};

/* watch_new() at a pace of the caller's. */
int watch_new_paced(sd_event *event, char *const *paths, const struct watch_pace *pace,
		    void (*on_change)(void *userdata, const char *path), void *userdata,
		    struct watch **ret, struct error *err);

/* Has a helper seen what later looks are compared with? */
bool watch_has_begun(const struct watch *watch);

/* ---- watch_look.c --------------------------------------------------------------------------- */

struct watch_look {
	char real[PATH_MAX]; /* "": it leads nowhere */
	struct stat st;
	char hash[FILE_HASH_TEXT_MAX]; /* of a file, by watch_look_read(); "": not known */
};

/*
 * See what @path leads to. Before each name is looked up, even if it is not there, @on_step is
 * called with it and the real path of its folder: whoever watches these folders for these names
 * learns of every change.
 */
void watch_look(const char *path,
		void (*on_step)(void *userdata, const char *folder, const char *name),
		void *userdata, struct watch_look *ret);

/*
 * Fill in @look->hash, if it is a file that can be hashed. False: it has changed since it was
 * looked at.
 */
bool watch_look_read(struct watch_look *look);

/*
 * Is it another thing than before? (What watch.h says that counts.) Both have been read. Files
 * without a hash are compared by inode, size and time of the last write.
 */
bool watch_look_changed(const struct watch_look *before, const struct watch_look *now);

/* Has anything been done to it? Cheap: nothing is read. */
bool watch_look_moved(const struct watch_look *before, const struct watch_look *now);

/*
 * Does @now look as if more were to come? It leads nowhere, is a file that somebody has open for
 * writing, or one that nobody may execute although somebody could execute @before.
 */
bool watch_look_unfinished(const struct watch_look *before, const struct watch_look *now);
