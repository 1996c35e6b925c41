/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * print_event: what happens, for people: the progress of one rollout, and the stream of events.
 */
#pragma once

#include "cli/print.h"

/* One rollout as it goes on. Plain data; initialise with print_progress_init(). */
struct print_progress {
	char last_probe[PRINT_CELL_MAX]; /* the same failed probe is shown once */
	char failed_step[PRINT_CELL_MAX];
	bool quiet; /* steps are followed, but not shown */
};

void print_progress_init(struct print_progress *progress, bool quiet);

/*
 * The head line; @answer is what the daemon said to the order ("web: generation 4 replaces 3";
 * "web: restart, once rollout 6 is undone" where another one is undone first).
 */
void print_progress_begin(const struct print *to, const json_t *answer);

/* The last event of the rollout that is undone for this one ("supersedes" in the answer). */
void print_progress_superseded(const struct print *to, const json_t *event);

/* One event of the rollout that is not its last. */
void print_progress_step(const struct print *to, struct print_progress *progress,
			 const json_t *event);

/*
 * The last event: what serves now, and where the rollout did not succeed, at which step and why.
 * @answer is that of print_progress_begin().
 */
void print_progress_end(const struct print *to, const struct print_progress *progress,
			const json_t *answer, const json_t *event);

/* Does the rollout wait for somebody from here on, until "baton promote" or "baton abort"? */
bool print_event_is_waiting(const json_t *event);

/* "done", "failed" and "rolled-back" end a rollout. */
bool print_event_is_last(const json_t *event);

/* Any event, on one line (and lines below it with the reason of a failure). */
void print_event(const struct print *to, const json_t *event);
