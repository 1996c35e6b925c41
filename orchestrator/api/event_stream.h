/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * event_stream: one reader's view of the events, as the bytes to be sent to it. It knows nothing
 * of connections: the API asks it for bytes when the reader can take some.
 *
 * Two formats: one JSON object a line (application/x-ndjson), or server-sent events
 * (text/event-stream, https://html.spec.whatwg.org/multipage/server-sent-events.html) whose ids are
 * "EPOCH:SEQ". A heartbeat is an empty line, or a comment.
 *
 * A reader who has missed events is told so by an event of its own, "dropped", at their place. It
 * has the number of the last one that is missing, so that a reader can go on from there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "orchestrator/api/events.h"

struct event_stream;

enum event_format {
	EVENT_FORMAT_LINES,
	EVENT_FORMAT_SSE,
};

/* Where a stream begins. */
struct event_start {
	bool from_now;         /* with what comes from now on; the rest of this does not count */
	uint64_t epoch, since; /* as events_seek() takes them */
};

/*
 * "SEQ", or "EPOCH:SEQ" as in the ids of server-sent events. False: it is neither. A number of its
 * own leaves ret->epoch as it is.
 */
bool event_start_parse(const char *text, struct event_start *ret);

/*
 * Events from @start on (of @service only, unless NULL). Without @follow the stream ends with the
 * newest event there is now, and has none that pass. @events must outlive the stream. -ENOMEM.
 */
int event_stream_new(const struct events *events, const char *service,
		     const struct event_start *start, bool follow, enum event_format format,
		     struct event_stream **ret);
void event_stream_free(struct event_stream *stream);
DEFINE_CLEANUP(struct event_stream *, event_stream_free);

#define EVENT_STREAM_END (-1)

/*
 * Up to @size bytes. 0: nothing for now; EVENT_STREAM_END: the end; -ENOMEM. An event begun is
 * kept by the stream until it is read to its end, even if the ring has dropped it.
 */
ssize_t event_stream_read(struct event_stream *stream, char *buffer, size_t size);

/* Would event_stream_read() return anything but 0? */
bool event_stream_ready(struct event_stream *stream);

/* Send a heartbeat, unless there is something better to send. */
void event_stream_beat(struct event_stream *stream);

/* No longer follow: the stream ends with the newest event there is now. */
void event_stream_finish(struct event_stream *stream);
