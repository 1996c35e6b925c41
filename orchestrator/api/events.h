/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * events: what happened, as JSON objects with growing sequence numbers, in a ring.
 *
 * An event is an object with at least "seq" (from 1), "time" (RFC 3339, UTC, milliseconds),
 * "service" and "event"; the rest depends on the event (docs/api.md). Readers keep the sequence
 * number they have seen; one that is too slow for the ring misses the oldest.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

#define EVENTS_MAX 1024

struct events;

int events_new(struct events **ret);
void events_free(struct events *events);
DEFINE_CLEANUP(struct events *, events_free);

/*
 * Add an event; @details (a JSON object, or NULL) is consumed, also on failure. Returns the
 * sequence number, 0 without memory.
 */
uint64_t events_add(struct events *events, uint64_t realtime_ms, const char *service,
		    const char *event, json_t *details);

/* The number of the newest event; 0: there is none. */
uint64_t events_last(const struct events *events);

/*
 * The first event after @seq (of @service, unless that is NULL), as one line of JSON without
 * newline; it stays the module's and is valid until the next events_add(). NULL: there is none.
 */
const char *events_next(const struct events *events, uint64_t seq, const char *service,
			uint64_t *ret_seq);

/* Call @on_event after each events_add(); one listener only (the API). */
void events_listen(struct events *events, void (*on_event)(void *userdata), void *userdata);
