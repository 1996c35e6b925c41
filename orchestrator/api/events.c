/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/api/events.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "common/fields.h"
#include "common/json_memory.h"

#define EPOCH_MAX 17

struct entry {
	uint64_t seq; /* 0: not used */
	uint64_t epoch;
	char epoch_text[EPOCH_MAX], time[EVENT_TIME_MAX];
	char *line, *service;
};

/*
 * Event number n lies in ring[n % EVENTS_MAX], so that a reader's place is found without search. If
 * another number lies there, event n is missing. Those that pass have numbers of their own.
 */
struct events {
	struct entry ring[EVENTS_MAX];
	uint64_t last;
	struct entry passing[EVENTS_PASSING_MAX]; /* .seq: that of the event before it */
	uint64_t last_passing;
	uint64_t epoch;
	char epoch_text[EPOCH_MAX];
	struct event_file *file; /* NULL: they are kept in memory only */
	void (*on_event)(void *userdata);
	void *userdata;
};

/* ---- life ----------------------------------------------------------------------------------- */

static void set_epoch(struct events *events, uint64_t epoch)
{
	events->epoch = epoch;
	snprintf(events->epoch_text, sizeof(events->epoch_text), EVENT_EPOCH_FORMAT, epoch);
}

int events_new(struct events **ret)
{
	struct events *events = calloc(1, sizeof(*events));
	uint64_t epoch = 0;

	if (!events)
		return -ENOMEM;
	/* Before the kernel has gathered randomness the time must do. */
	if (getrandom(&epoch, sizeof(epoch), GRND_NONBLOCK) != sizeof(epoch) || epoch == 0)
		epoch = (uint64_t)time(NULL);
	set_epoch(events, epoch);
	*ret = events;
	return 0;
}

static void clear(struct entry *entry)
{
	free(entry->line);
	free(entry->service);
	*entry = (struct entry){};
}

void events_free(struct events *events)
{
	if (!events)
		return;
	event_file_free(events->file);
	for (size_t i = 0; i < EVENTS_MAX; i++)
		clear(&events->ring[i]);
	for (size_t i = 0; i < EVENTS_PASSING_MAX; i++)
		clear(&events->passing[i]);
	free(events);
}

/* Put an event into @entry. Both texts are taken over, also on failure. */
static int put(struct entry *entry, const struct event_line *event, char *line)
{
	char *service = strdup(event->service);

	if (!line || !service) {
		free(line);
		free(service);
		return -ENOMEM;
	}
	clear(entry);
	*entry = (struct entry){
		.seq = event->seq, .epoch = event->epoch, .line = line, .service = service};
	snprintf(entry->epoch_text, sizeof(entry->epoch_text), EVENT_EPOCH_FORMAT, event->epoch);
	snprintf(entry->time, sizeof(entry->time), "%s", event->time);
	return 0;
}

static void take_back(void *userdata, const struct event_line *line)
{
	struct events *events = userdata;

	put(&events->ring[line->seq % EVENTS_MAX], line, strdup(line->text));
}

int events_open(struct events *events, const struct event_place *place, struct error *err)
{
	const struct event_file_taker taker = {.take = take_back, .userdata = events};
	int r;

	assert(events->last == 0 && events->last_passing == 0 && !events->file);
	r = event_file_open(place, events->epoch, &taker, &events->file, err);
	if (r < 0)
		return r;
	set_epoch(events, event_file_epoch(events->file));
	events->last = event_file_last(events->file);
	return r;
}

void events_finish(struct events *events)
{
	if (events->file)
		event_file_finish(events->file);
}

/* ---- adding --------------------------------------------------------------------------------- */

static void format_time(uint64_t realtime_ms, char ret[static EVENT_TIME_MAX])
{
	time_t seconds = (time_t)(realtime_ms / 1000);
	struct tm tm = {};
	size_t n;

	gmtime_r(&seconds, &tm);
	n = strftime(ret, EVENT_TIME_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ret + n, EVENT_TIME_MAX - n, ".%03uZ", (unsigned)(realtime_ms % 1000));
}

/* An event's line, malloc'ed; NULL without memory, or if a text is not UTF-8. */
static char *render(uint64_t seq, const char *epoch, const char *time, const char *service,
		    const char *event, json_t *details)
{
	uint64_t lacks = json_memory_lacks();
	json_t *object = json_object();
	char *line = NULL;

	/*
	 * The _new setters refuse a NULL value, so a failed allocation inside shows here. Not so in
	 * json_object_update_missing(): it leaves out what it has no memory for, and says nothing.
	 */
	if (json_object_set_new(object, "seq", json_integer((json_int_t)seq)) == 0 &&
	    json_object_set_new(object, "epoch", json_string(epoch)) == 0 &&
	    json_object_set_new(object, "time", json_string(time)) == 0 &&
	    json_object_set_new(object, "service", json_string(service)) == 0 &&
	    json_object_set_new(object, "event", json_string(event)) == 0 &&
	    (!details || json_object_update_missing(object, details) == 0) &&
	    json_memory_lacks() == lacks)
		line = fields_text(object, JSON_COMPACT);
	json_decref(object);
	return line;
}

/* Consumes @details. */
static int add(struct events *events, struct entry *entry, uint64_t seq, uint64_t realtime_ms,
	       const char *service, const char *event, json_t *details)
{
	char time[EVENT_TIME_MAX];
	const struct event_line line = {
		.seq = seq, .epoch = events->epoch, .time = time, .service = service};
	char *text;

	format_time(realtime_ms, time);
	text = render(seq, events->epoch_text, time, service, event, details);
	json_decref(details);
	return put(entry, &line, text);
}

static void tell_listener(struct events *events)
{
	if (events->on_event)
		events->on_event(events->userdata);
}

uint64_t events_add(struct events *events, uint64_t realtime_ms, const char *service,
		    const char *event, json_t *details)
{
	uint64_t seq = events->last + 1;
	struct entry *entry = &events->ring[seq % EVENTS_MAX];

	if (add(events, entry, seq, realtime_ms, service, event, details) < 0)
		return 0;
	events->last = seq;
	/* Nobody hears of a number that a later daemon could use again. */
	if (events->file)
		event_file_add(events->file, entry->line);
	tell_listener(events);
	return seq;
}

void events_miss(struct events *events)
{
	clear(&events->ring[++events->last % EVENTS_MAX]);
	tell_listener(events);
}

void events_pass(struct events *events, uint64_t realtime_ms, const char *service,
		 const char *event, json_t *details)
{
	uint64_t n = events->last_passing + 1;

	if (add(events, &events->passing[n % EVENTS_PASSING_MAX], events->last, realtime_ms,
		service, event, details) < 0)
		return;
	events->last_passing = n;
	tell_listener(events);
}

uint64_t events_last(const struct events *events)
{
	return events->last;
}

const char *events_epoch(const struct events *events)
{
	return events->epoch_text;
}

void events_listen(struct events *events, void (*on_event)(void *userdata), void *userdata)
{
	events->on_event = on_event;
	events->userdata = userdata;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* The oldest number that the ring has room for. */
static uint64_t oldest_place(const struct events *events)
{
	return events->last < EVENTS_MAX ? 1 : events->last - EVENTS_MAX + 1;
}

static const struct entry *entry_of(const struct events *events, uint64_t seq)
{
	const struct entry *entry = &events->ring[seq % EVENTS_MAX];

	return entry->seq == seq ? entry : NULL;
}

void events_end(const struct events *events, struct events_cursor *ret)
{
	*ret = (struct events_cursor){.seq = events->last, .passing = events->last_passing};
}

/* The last number of @epoch that is kept and not above @since; 0: none. */
static uint64_t last_known(const struct events *events, uint64_t epoch, uint64_t since)
{
	for (uint64_t n = events->last; n >= oldest_place(events); n--) {
		const struct entry *entry = entry_of(events, n);

		if (entry && entry->epoch == epoch && n <= since)
			return n;
	}
	return 0;
}

static uint64_t before_oldest(const struct events *events)
{
	uint64_t n = oldest_place(events);

	while (n <= events->last && !entry_of(events, n))
		n++;
	return n - 1;
}

bool events_seek(const struct events *events, uint64_t epoch, uint64_t since,
		 struct events_cursor *ret)
{
	bool known = (epoch == 0 || epoch == events->epoch) && since <= events->last;

	events_end(events, ret);
	ret->seq = since;
	if (!known)
		ret->seq = epoch ? last_known(events, epoch, since) : 0;
	if (ret->seq == 0 && (!known || epoch == 0))
		ret->seq = before_oldest(events);
	return known;
}

static bool is_of(const struct entry *entry, const char *service)
{
	return !service || strcmp(service, entry->service) == 0;
}

/* The next one of the history, or NULL; the cursor is moved up to it. */
static const struct entry *find_kept(const struct events *events, struct events_cursor *cursor,
				     const char *service)
{
	uint64_t oldest = oldest_place(events);

	if (cursor->seq + 1 < oldest) {
		cursor->missed += oldest - cursor->seq - 1;
		cursor->seq = oldest - 1;
	}
	for (; cursor->seq < events->last; cursor->seq++) {
		const struct entry *entry = entry_of(events, cursor->seq + 1);

		if (!entry)
			cursor->absent++;
		else if (is_of(entry, service))
			return entry;
	}
	return NULL;
}

/* The same of those that pass. Whoever is too slow for them misses answers that are old by now. */
static const struct entry *find_passing(const struct events *events, struct events_cursor *cursor,
					const char *service)
{
	uint64_t last = events->last_passing;

	if (cursor->passing >= last)
		return NULL;
	if (last - cursor->passing > EVENTS_PASSING_MAX)
		cursor->passing = last - EVENTS_PASSING_MAX;
	for (; cursor->passing < last; cursor->passing++) {
		const struct entry *entry =
			&events->passing[(cursor->passing + 1) % EVENTS_PASSING_MAX];

		if (is_of(entry, service))
			return entry;
	}
	return NULL;
}

bool events_find(const struct events *events, struct events_cursor *cursor, const char *service,
		 struct events_found *ret)
{
	const struct entry *passing = find_passing(events, cursor, service);
	const struct entry *entry = find_kept(events, cursor, service);
	bool passes = passing && (!entry || passing->seq < entry->seq);

	if (passes)
		entry = passing;
	if (!entry)
		return false;
	*ret = (struct events_found){.line = entry->line,
				     .epoch = entry->epoch_text,
				     .time = entry->time,
				     .seq = entry->seq,
				     .passing = passes};
	return true;
}

void events_take(struct events_cursor *cursor, const struct events_found *found)
{
	if (found->passing)
		cursor->passing++;
	else
		cursor->seq = found->seq;
}

char *events_dropped_line(const struct events *events, const struct events_cursor *cursor,
			  uint64_t realtime_ms, uint64_t missed, const struct events_found *found,
			  const char *message)
{
	char time[EVENT_TIME_MAX];
	json_t *details =
		json_pack("{s:o, s:s?, s:s}", "missed",
			  missed == UINT64_MAX ? json_null() : json_integer((json_int_t)missed),
			  "next", found ? found->time : NULL, "message", message);
	char *line;

	format_time(realtime_ms, time);
	line = details ? render(cursor->seq, events->epoch_text, time, "", "dropped", details)
		       : NULL;
	json_decref(details);
	return line;
}
