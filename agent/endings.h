/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * endings: notices at once that one of a few processes has ended, by pidfds (pidfd_open(2)).
 *
 * It is a hint, not a proof: a process that cannot be watched is not, nor are those beyond
 * ENDINGS_MAX. Whoever must know looks from time to time as well.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"

#define ENDINGS_MAX 64

struct endings;

/* Called from the event loop: some have ended, and are not watched any more. */
typedef void (*endings_handler)(void *userdata);

/* Returns 0 or a negative errno. */
int endings_new(sd_event *event, endings_handler handler, void *userdata, struct endings **ret,
		struct error *err);
void endings_free(struct endings *endings);
DEFINE_CLEANUP(struct endings *, endings_free);

/* Watch these @n processes (at most ENDINGS_MAX, each once), and no others. */
void endings_watch(struct endings *endings, const pid_t *pids, size_t n);
