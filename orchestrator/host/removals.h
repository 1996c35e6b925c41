/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * removals: removes cgroups, if need be later.
 *
 * A cgroup stays busy for a while after its last process is no longer listed: a thread is still
 * ending, or a process does not even die of SIGKILL. Such a cgroup is tried again by a timer, after
 * 10 ms at first and every second at last, until it is gone; if it has processes for two seconds,
 * that is logged. What is left when the daemon ends is removed by the next one (takeover.h).
 */
#pragma once

#include <stddef.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"

struct removals;

/* One for the daemon. Returns 0 or -ENOMEM. */
int removals_new(sd_event *event, struct removals **ret, struct error *err);

/*
 * The daemon has its own cgroups in @base, which stays. The folder of an earlier daemon, which had
 * them elsewhere, goes with the last one in it. Until this is said, no folder goes.
 */
void removals_keep(struct removals *removals, const char *base);

/* Tries once more what is left, then forgets it. Takes NULL. */
void removals_free(struct removals *removals);
DEFINE_CLEANUP(struct removals *, removals_free);

/*
 * Remove the cgroup at @path: at once, or as soon as it can be removed. If it never can, that is
 * logged. @removals may be NULL: then it is tried once.
 */
void removals_add(struct removals *removals, const char *path);

/* @path is used again: it must not be removed. @removals may be NULL. */
void removals_forget(struct removals *removals, const char *path);

/* How many are left. */
size_t removals_left(const struct removals *removals);
