/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * underway: what rollouts of a service are under way, and whether it is paused, in a file for the
 * daemon that takes over if this one dies in the middle of that.
 *
 * The file is "/run/NAME/rollouts.SERVICE.json": it goes with a reboot, as agents and servers do,
 * and costs no disk access. It is there only while something is under way.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/paths.h"
#include "orchestrator/rollout/run.h"

#define UNDERWAY_MAX 24 /* rollouts of one service */

#define UNDERWAY_QUEUED "queued" /* the step of one that has not begun */

/* A rollout, as far as the next daemon needs to know it. Compared as memory: zeroed at first. */
struct underway {
	uint32_t id;
	enum run_order order;
	uint32_t generation, replaces; /* 0: none */
	bool partial;                  /* see struct run */
	bool quits;                    /* it is batond or the service that ends, not an order */
	bool shifted;                  /* some table has named the new side */
	bool undone;                   /* it is being undone, for .reason */
	bool committed;                /* it cannot be undone any more */
	uint32_t instances_before, instances_wanted; /* "scale" */
	uint64_t began_ms;                           /* monotonic: of the same boot */
	uint64_t cut, cut_by_server, unexpected;     /* connections, so far: see run.h */
	char step[16];                               /* that it is at, or was when it was found */
	char reason[512];
};

/* Zeroed but for .list[0 .. n - 1]. */
struct underway_list {
	struct underway list[UNDERWAY_MAX];
	size_t n;
	bool paused; /* the service is, by an order */
};

void underway_path(const struct paths *paths, const char *service, char ret[static PATHS_MAX]);

/*
 * *ret is empty if there is no file. One that makes no sense, or that a later version of baton has
 * written, is removed, and the error (-EBADMSG) says so; then *ret has no rollouts, but the service
 * stays paused if it was, as far as the file still says so.
 */
int underway_read(const char *path, struct underway_list *ret, struct error *err);

/* An empty list of a service that is not paused removes the file. */
int underway_write(const char *path, const struct underway_list *list, struct error *err);
