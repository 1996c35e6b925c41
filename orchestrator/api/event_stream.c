/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/api/event_stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"

_Static_assert(EVENT_STREAM_END != -ENOMEM, "the end is no error");

struct event_stream {
	const struct events *events;
	char *service; /* NULL: all */
	struct events_cursor cursor;
	uint64_t until; /* the last one wanted, if .follow is false */
	bool follow;
	bool beat;
	uint64_t stranger_seq; /* the number that it came with, if it is of another history */
	bool is_stranger;      /* ... and has not been told so yet */
	bool has_begun;        /* it has had an event, or there was none */
	enum event_format format;

	char *piece; /* what is being sent; NULL: nothing */
	size_t length, sent;
};

bool event_start_parse(const char *text, struct event_start *ret)
{
	const char *colon = strchr(text, ':'), *number = colon ? colon + 1 : text;
	char *end;

	if (colon) {
		char epoch[20];

		snprintf(epoch, sizeof(epoch), "%.*s", (int)(colon - text), text);
		if (!event_epoch_parse(epoch, &ret->epoch))
			return false;
	}
	if (number[0] < '0' || number[0] > '9')
		return false;
	errno = 0;
	ret->since = strtoull(number, &end, 10);
	return errno == 0 && *end == '\0';
}

int event_stream_new(const struct events *events, const char *service,
		     const struct event_start *start, bool follow, enum event_format format,
		     struct event_stream **ret)
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
	stream->stranger_seq = start->since;
	stream->has_begun = start->from_now;
	if (start->from_now)
		events_end(events, &stream->cursor);
	else
		stream->is_stranger =
			!events_seek(events, start->epoch, start->since, &stream->cursor);
	if (!follow)
		stream->cursor.passing = EVENTS_NONE_PASSING;
	stream->until = events_last(events);
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

/* ---- pieces --------------------------------------------------------------------------------- */

static bool find(struct event_stream *stream, struct events_found *ret)
{
	return events_find(stream->events, &stream->cursor, stream->service, ret) &&
	       (stream->follow || ret->seq <= stream->until);
}

static bool is_dropped_due(const struct event_stream *stream)
{
	return stream->is_stranger || stream->cursor.missed || stream->cursor.absent;
}

bool event_stream_ready(struct event_stream *stream)
{
	struct events_found found;

	return stream->piece || stream->beat || !stream->follow || find(stream, &found) ||
	       is_dropped_due(stream);
}

/* The reasons exclude each other seldom enough: the worse one is told. */
static void describe_dropped(const struct event_stream *stream, uint64_t missed, char *ret,
			     size_t size)
{
	const char *whose = stream->service ? ", of all services," : "";
	const char *plural = missed == 1 ? "" : "s", *verb = missed == 1 ? "is" : "are";
	unsigned long long n = missed;

	if (stream->is_stranger)
		snprintf(ret, size,
			 "the history of events has begun anew since number %llu, which this "
			 "reader has had: how many it has missed is not known",
			 (unsigned long long)stream->stranger_seq);
	else if (stream->cursor.absent)
		snprintf(ret, size,
			 "%llu event%s%s %s missing: the file of events could not be written when "
			 "they happened",
			 n, plural, whose, verb);
	else if (stream->has_begun)
		snprintf(ret, size, "%llu event%s%s %s dropped: this reader was too slow", n,
			 plural, whose, missed == 1 ? "was" : "were");
	else
		snprintf(ret, size, "%llu event%s%s %s no longer kept", n, plural, whose, verb);
}

static int take_piece(struct event_stream *stream, const char *epoch, uint64_t seq,
		      const char *line)
{
	int n;

	if (stream->format == EVENT_FORMAT_SSE)
		n = asprintf(&stream->piece, "id: %s:%" PRIu64 "\ndata: %s\n\n", epoch, seq, line);
	else
		n = asprintf(&stream->piece, "%s\n", line);
	if (n < 0)
		stream->piece = NULL;
	return n < 0 ? -ENOMEM : 1;
}

static int take_dropped(struct event_stream *stream, const struct events_found *found)
{
	uint64_t missed = stream->cursor.missed + stream->cursor.absent;
	cleanup_free char *line = NULL;
	char message[256];

	describe_dropped(stream, missed, message, sizeof(message));
	line = events_dropped_line(stream->events, &stream->cursor, clock_realtime_ms(),
				   stream->is_stranger ? UINT64_MAX : missed, found, message);
	if (!line)
		return -ENOMEM;
	stream->is_stranger = false;
	stream->cursor.missed = stream->cursor.absent = 0;
	return take_piece(stream, events_epoch(stream->events), stream->cursor.seq, line);
}

static int take_beat(struct event_stream *stream)
{
	stream->piece = strdup(stream->format == EVENT_FORMAT_SSE ? ": \n\n" : "\n");
	return stream->piece ? 1 : -ENOMEM;
}

/* Make the next piece. 1: there is one, 0: nothing for now, else as event_stream_read(). */
static int next_piece(struct event_stream *stream)
{
	struct events_found found;
	bool any = find(stream, &found);
	bool beat = stream->beat;
	int r;

	stream->beat = false;
	if (is_dropped_due(stream))
		return take_dropped(stream, any ? &found : NULL);
	if (!any && !stream->follow)
		return EVENT_STREAM_END;
	stream->has_begun = true;
	if (!any)
		return beat ? take_beat(stream) : 0;
	r = take_piece(stream, found.epoch, found.seq, found.line);
	if (r > 0)
		events_take(&stream->cursor, &found);
	return r;
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
			stream->length = strlen(stream->piece);
			stream->sent = 0;
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
	stream->cursor.passing = EVENTS_NONE_PASSING;
	stream->until = events_last(stream->events);
}
