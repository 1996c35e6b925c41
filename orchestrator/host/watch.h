/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watch: has what one of these paths leads to been replaced? For services that are rolled when
 * their files change ("watch" in the configuration).
 *
 * A path may be a file, a folder or a symlink to one, and need not exist. What counts is what it
 * leads to: its real path, the contents of a file (by file_hash.h; by inode, size and time of the
 * last write where that cannot tell), the inode of a folder; not what happens inside a folder. A
 * change is told when nothing has moved for as long as @settle_ms says, once, however many steps it
 * had; one that is taken back meanwhile is not told. A change that is unfinished is waited for: the
 * path leads nowhere, or the file is still open for writing, or nobody may execute it although
 * somebody could execute the former file (it is copied first, and made executable then).
 *
 * A helper looks (errand.h): nothing here waits for a file system. While one does not answer, which
 * is logged, changes are not seen.
 *
 * inotify(7) wakes it, on the folders along the path; a slow look every WATCH_POLL_MS covers what
 * inotify does not see (file systems of other hosts, symlinks further up).
 */
#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"

#define WATCH_SETTLE_MS     500 /* if nothing else is wished */
#define WATCH_SETTLE_MAX_MS (60ull * 60 * 1000)
#define WATCH_POLL_MS       5000

struct watch;

/*
 * @paths (absolute, NULL-terminated) are copied. @on_change may free the watch. How things are
 * right after the call is what later looks are compared with.
 */
int watch_new(sd_event *event, char *const *paths, uint64_t settle_ms,
	      void (*on_change)(void *userdata, const char *path), void *userdata,
	      struct watch **ret, struct error *err);
void watch_free(struct watch *watch);

/*
 * When something was last seen to move (monotonic): whoever has looked at the files since knows
 * what is there.
 */
uint64_t watch_moved_ms(const struct watch *watch);
DEFINE_CLEANUP(struct watch *, watch_free);
