/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * events: what happened, as JSON objects with growing sequence numbers: the history.
 *
 * An event is an object with at least "seq" (from 1), "epoch", "time" (RFC 3339, UTC,
 * milliseconds), "service" and "event"; the rest depends on the event (docs/api.md). The newest
 * EVENTS_MAX are kept, in memory and, after events_open(), in a file that outlives the daemon
 * (event_file.h, which says what an epoch is).
 *
 * An event that passes (events_pass()) is no part of the history: it has the number of the last one
 * that is. Only a few are kept, for readers who follow; thus many of them push out nothing.
 *
 * A reader has a cursor. One that is too slow misses the oldest, and is told how many.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/api/event_file.h"

#define EVENTS_MAX         EVENT_FILE_READ_MAX
#define EVENTS_PASSING_MAX 64

struct events;

/* Another epoch than that of any other batond begins. */
int events_new(struct events **ret);
void events_free(struct events *events);
DEFINE_CLEANUP(struct events *, events_free);

/*
 * Read back what earlier daemons have kept in the file at @place, and keep what happens there from
 * now on. Call it at most once, before the first event. 1: @err has a warning; -ENOMEM.
 */
int events_open(struct events *events, const struct event_place *place, struct error *err);

/* At the end, when no loop runs any more: what is not in the file is written, within a limit. */
void events_finish(struct events *events);

/*
 * Add an event; @details (a JSON object, or NULL) is consumed, also on failure. Returns the
 * sequence number, 0 without memory.
 */
uint64_t events_add(struct events *events, uint64_t realtime_ms, const char *service,
		    const char *event, json_t *details);

/* There was no memory for an event: readers are told by an event "dropped". */
void events_miss(struct events *events);

/* The same as events_add() for one that passes. */
void events_pass(struct events *events, uint64_t realtime_ms, const char *service,
		 const char *event, json_t *details);

/* The number of the newest event; 0: there is none. */
uint64_t events_last(const struct events *events);

/* 16 hexadecimal digits; valid as long as @events. */
const char *events_epoch(const struct events *events);

/* ---- reading -------------------------------------------------------------------------------- */

/* Where a reader stands. Plain data. */
struct events_cursor {
	uint64_t seq;     /* the last number that it has had, or that does not concern it */
	uint64_t passing; /* the same among those that pass; EVENTS_NONE_PASSING: it wants none */
	uint64_t missed;  /* numbers passed over since the reader was told: no longer kept */
	uint64_t absent;  /* ... never written, and not known to this daemon */
};

#define EVENTS_NONE_PASSING UINT64_MAX

/* Behind the newest event. */
void events_end(const struct events *events, struct events_cursor *ret);

/*
 * Behind event @since of @epoch (0: the reader has not said; then @since 0 means before the oldest
 * that is kept). False: the present epoch is another, or has not come so far. Then *ret is behind
 * the last event that the reader may know, else before the oldest one.
 */
bool events_seek(const struct events *events, uint64_t epoch, uint64_t since,
		 struct events_cursor *ret);

/* Valid until the next event is added. */
struct events_found {
	const char *line;  /* JSON without newline */
	const char *epoch; /* as of events_epoch() */
	const char *time;
	uint64_t seq;
	bool passing;
};

/*
 * What comes next for a reader at @cursor (of @service, unless that is NULL). The cursor is moved
 * up to it, and what had to be passed over is counted there. False: there is none, and the cursor
 * is at the end.
 */
bool events_find(const struct events *events, struct events_cursor *cursor, const char *service,
		 struct events_found *ret);

/* The reader has had what events_find() has found. */
void events_take(struct events_cursor *cursor, const struct events_found *found);

/*
 * A line as of an event that says what the reader at @cursor has missed, malloc'ed; NULL without
 * memory. @missed: how many, UINT64_MAX: not known. @found: what comes next, or NULL.
 */
char *events_dropped_line(const struct events *events, const struct events_cursor *cursor,
			  uint64_t realtime_ms, uint64_t missed, const struct events_found *found,
			  const char *message);

/* Call @on_event after each event; one listener only (the API). */
void events_listen(struct events *events, void (*on_event)(void *userdata), void *userdata);
