/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/api/event_stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

_Static_assert(EVENT_STREAM_END != -ENOMEM, "the end is no error");

struct event_stream {
	const struct events *events;
	char *service;  /* NULL: all */
	uint64_t seq;   /* the last one taken */
	uint64_t until; /* the last one wanted, if .follow is false */
	bool follow;
	bool beat;
	enum event_format format;

	char *piece; /* what is being sent; NULL: nothing */
	size_t length, sent;
};

int event_stream_new(const struct events *events, const char *service, uint64_t since, bool follow,
		     enum event_format format, struct event_stream **ret)
{
	cleanup(event_stream_free) struct event_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return -ENOMEM;
	if (service) {
		stream->service = strdup(service);
		if (!stream->service)
			return -ENOMEM;
	}
	stream->events = events;
	stream->until = events_last(events);
	/* A number from the future is one of an earlier daemon's: nothing of this one's is known.
	 */
	stream->seq = since <= stream->until ? since : stream->until;
	stream->follow = follow;
	stream->format = format;
	*ret = TAKE_PTR(stream);
	return 0;
}

void event_stream_free(struct event_stream *stream)
{
	if (!stream)
		return;
	free(stream->service);
	free(stream->piece);
	free(stream);
}

static const char *next_event(const struct event_stream *stream, uint64_t *ret_seq)
{
	const char *line = events_next(stream->events, stream->seq, stream->service, ret_seq);

	return line && (stream->follow || *ret_seq <= stream->until) ? line : NULL;
}

bool event_stream_ready(const struct event_stream *stream)
{
	uint64_t seq;

	return stream->piece || stream->beat || !stream->follow || next_event(stream, &seq);
}

/* Make the next piece. 1: there is one, 0: nothing for now, else as event_stream_read(). */
static int next_piece(struct event_stream *stream)
{
	uint64_t seq;
	const char *line = next_event(stream, &seq);
	int n;

	if (!line && !stream->follow)
		return EVENT_STREAM_END;
	if (!line && !stream->beat)
		return 0;
	stream->beat = false;
	if (!line)
		n = asprintf(&stream->piece, "%s",
			     stream->format == EVENT_FORMAT_SSE ? ": \n\n" : "\n");
	else if (stream->format == EVENT_FORMAT_SSE)
		n = asprintf(&stream->piece, "id: %" PRIu64 "\ndata: %s\n\n", seq, line);
	else
		n = asprintf(&stream->piece, "%s\n", line);
	if (n < 0) {
		stream->piece = NULL;
		return -ENOMEM;
	}
	if (line)
		stream->seq = seq;
	stream->length = (size_t)n;
	stream->sent = 0;
	return 1;
}

ssize_t event_stream_read(struct event_stream *stream, char *buffer, size_t size)
{
	size_t total = 0;

	while (total < size) {
		size_t n;

		if (!stream->piece) {
			int r = next_piece(stream);

			/* An end or an error is told by the next call, when the rest is gone. */
			if (r <= 0)
				return total ? (ssize_t)total : r;
		}
		n = stream->length - stream->sent;
		if (n > size - total)
			n = size - total;
		memcpy(buffer + total, stream->piece + stream->sent, n);
		stream->sent += n;
		total += n;
		if (stream->sent == stream->length) {
			free(stream->piece);
			stream->piece = NULL;
		}
	}
	return (ssize_t)total;
}

void event_stream_beat(struct event_stream *stream)
{
	stream->beat = true;
}

void event_stream_finish(struct event_stream *stream)
{
	if (!stream->follow)
		return;
	stream->follow = false;
	stream->until = events_last(stream->events);
}
