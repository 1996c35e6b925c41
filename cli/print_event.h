/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * print_event: prints what happens: the progress of one rollout, and the stream of events.
 */
#pragma once

#include "cli/print.h"

/* The progress of one rollout. Plain data; initialise it with print_progress_init(). */
struct print_progress {
	char last_probe[PRINT_CELL_MAX];  /* the last failed probe: it is shown once */
	char last_message[512];           /* of the step before: it is not said again */
	char failed_step[PRINT_CELL_MAX]; /* the first step that failed; "": none */
	bool quiet;                       /* steps are noted, but not shown */
};

/* @quiet: print no steps. */
void print_progress_init(struct print_progress *progress, bool quiet);

/*
 * Print the head line; @answer is the daemon's answer to the order. "web: generation 4 replaces 3",
 * or "web: restart, once rollout 6 is undone" if another rollout is undone first.
 */
void print_progress_begin(const struct print *to, const json_t *answer);

/* Print the last event of the rollout that was undone for this one ("supersedes" in the answer). */
void print_progress_superseded(const struct print *to, const json_t *event);

/* Print an event of the rollout that is not its last. */
void print_progress_step(const struct print *to, struct print_progress *progress,
			 const json_t *event);

/*
 * Print the last event: what serves now; if the rollout did not succeed, also at which step, and
 * why. @answer is that of print_progress_begin().
 */
void print_progress_end(const struct print *to, const struct print_progress *progress,
			const json_t *answer, const json_t *event);

/* Does the rollout now wait for "baton promote" or "baton abort"? */
bool print_event_is_waiting(const json_t *event);

/* Does the event end a rollout? "done", "failed" and "rolled-back" do. */
bool print_event_is_last(const json_t *event);

/* Print any event on one line; below it, the reason of a failure. */
void print_event(const struct print *to, const json_t *event);
