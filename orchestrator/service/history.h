/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * history: the releases that have served a service, the last HISTORY_MAX of them, and which of them
 * a rollback goes to.
 *
 * A release comes into the history when a rollout has committed to it. So one that failed, that was
 * aborted, or that crashed in its bake is never there. The newest one is the one that serves, or
 * that served last. Each release is there once: what serves again is the newest again.
 *
 * One that was thrown out stays, so that it is known, but no rollback goes to it until it has
 * served well once more. history_file.h keeps the history in a file.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "orchestrator/config/config.h"
#include "orchestrator/release/release.h"

#define HISTORY_MAX 8

/* How a release has ended. */
enum past_end {
	PAST_REPLACED,    /* by another one, and it had served well; or it serves */
	PAST_ROLLED_BACK, /* a rollback has thrown it out */
	PAST_FAILED,      /* its servers had ended, and could not be started again */
	_PAST_END_COUNT,
};

struct past {
	uint32_t generation; /* the last one that ran it */
	uint64_t began_ms;   /* realtime: when it began to serve */
	uint64_t ended_ms;   /* when another one took its place; 0: it is the newest */
	enum past_end end;
	bool came_back; /* a rollback has brought it */
	struct release *release;
	struct service_config *config; /* that it ran with */
	char **added;                  /* to the environment, by upgrades; NULL: nothing */
};

struct history {
	struct past *list[HISTORY_MAX]; /* oldest first; owned */
	size_t n;
};

/* Copies what it is given. NULL without memory. */
struct past *past_new(uint32_t generation, const struct release *release,
		      const struct service_config *config, char *const *added, uint64_t now_ms);
void past_free(struct past *past);
DEFINE_CLEANUP(struct past *, past_free);

/* Forget all. */
void history_done(struct history *history);

/* The one that serves, or served last; NULL: there has been none. */
struct past *history_newest(const struct history *history);

/* The one that this generation ran; NULL: none did. */
struct past *history_find(const struct history *history, uint32_t generation);

/*
 * @fresh (taken over) has begun to serve, and the newest one until then has ended as @end says. A
 * restart of the same only takes its place. @origin: the generation that it brings back, which a
 * further rollback is not to bring once more; 0: it is no rollback.
 */
void history_commit(struct history *history, struct past *fresh, enum past_end end,
		    uint32_t origin);

/*
 * Where a rollback goes: to the newest release behind the newest one that was not thrown out and
 * that has the user of @config: sockets of two users never share a port. NULL: there is none.
 */
const struct past *history_target(const struct history *history,
				  const struct service_config *config);

/*
 * Has a rollback thrown out what @config says, and brought what serves now? With @release: exactly
 * this release.
 */
bool history_has_thrown_out(const struct history *history, const struct service_config *config,
			    const struct release *release);

/* "rolled-back" */
const char *past_end_name(enum past_end end);
