/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * event_stream: one reader's view of the events, as the bytes to be sent to it. It knows nothing
 * of connections: the API asks it for bytes when the reader can take some.
 *
 * Two formats: one JSON object a line (application/x-ndjson), or server-sent events
 * (text/event-stream, https://html.spec.whatwg.org/multipage/server-sent-events.html) with the
 * sequence number as the event's id. A heartbeat is an empty line, or a comment.
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

/*
 * Events after @since (of @service only, unless NULL). Without @follow the stream ends with the
 * newest event there is now. @events must outlive the stream. -ENOMEM.
 */
int event_stream_new(const struct events *events, const char *service, uint64_t since, bool follow,
		     enum event_format format, struct event_stream **ret);
void event_stream_free(struct event_stream *stream);
DEFINE_CLEANUP(struct event_stream *, event_stream_free);

#define EVENT_STREAM_END (-1)

/*
 * Up to @size bytes. 0: nothing for now; EVENT_STREAM_END: the end; -ENOMEM. An event begun is
 * kept by the stream until it is read to its end, even if the ring has dropped it.
 */
ssize_t event_stream_read(struct event_stream *stream, char *buffer, size_t size);

/* Would event_stream_read() return anything but 0? */
bool event_stream_ready(const struct event_stream *stream);

/* Send a heartbeat, unless there is something better to send. */
void event_stream_beat(struct event_stream *stream);

/* No longer follow: the stream ends with the newest event there is now. */
void event_stream_finish(struct event_stream *stream);
