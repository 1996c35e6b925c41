/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/api/events.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct entry {
	char *line;
	char *service;
};

/* Event number n lies in ring[n % EVENTS_MAX], so that a reader's place is found without search. */
struct events {
	struct entry ring[EVENTS_MAX];
	uint64_t last;
	void (*on_event)(void *userdata);
	void *userdata;
};

int events_new(struct events **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

void events_free(struct events *events)
{
	if (!events)
		return;
	for (size_t i = 0; i < EVENTS_MAX; i++) {
		free(events->ring[i].line);
		free(events->ring[i].service);
	}
	free(events);
}

static json_t *time_json(uint64_t realtime_ms)
{
	time_t seconds = (time_t)(realtime_ms / 1000);
	char date[32], text[48];
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || !strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm))
		return NULL;
	snprintf(text, sizeof(text), "%s.%03uZ", date, (unsigned)(realtime_ms % 1000));
	return json_string(text);
}

/* The line of event @seq, malloc'ed; NULL without memory, or if a text is not UTF-8. */
static char *render(uint64_t seq, uint64_t realtime_ms, const char *service, const char *event,
		    json_t *details)
{
	json_t *object = json_object();
	char *line = NULL;

	/* The _new setters refuse a NULL value, so a failed allocation inside shows here. */
	if (json_object_set_new(object, "seq", json_integer((json_int_t)seq)) == 0 &&
	    json_object_set_new(object, "time", time_json(realtime_ms)) == 0 &&
	    json_object_set_new(object, "service", json_string(service)) == 0 &&
	    json_object_set_new(object, "event", json_string(event)) == 0 &&
	    (!details || json_object_update_missing(object, details) == 0))
		line = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return line;
}

uint64_t events_add(struct events *events, uint64_t realtime_ms, const char *service,
		    const char *event, json_t *details)
{
	uint64_t seq = events->last + 1;
	struct entry *entry = &events->ring[seq % EVENTS_MAX];
	cleanup_free char *line = render(seq, realtime_ms, service, event, details);
	cleanup_free char *name = strdup(service);

	json_decref(details);
	if (!line || !name)
		return 0;
	free(entry->line);
	free(entry->service);
	entry->line = TAKE_PTR(line);
	entry->service = TAKE_PTR(name);
	events->last = seq;
	if (events->on_event)
		events->on_event(events->userdata);
	return seq;
}

uint64_t events_last(const struct events *events)
{
	return events->last;
}

const char *events_next(const struct events *events, uint64_t seq, const char *service,
			uint64_t *ret_seq)
{
	uint64_t oldest = events->last < EVENTS_MAX ? 1 : events->last - EVENTS_MAX + 1;

	if (seq >= events->last)
		return NULL;
	for (uint64_t n = seq + 1 > oldest ? seq + 1 : oldest; n <= events->last; n++) {
		const struct entry *entry = &events->ring[n % EVENTS_MAX];

		if (service && strcmp(service, entry->service) != 0)
			continue;
		*ret_seq = n;
		return entry->line;
	}
	return NULL;
}

void events_listen(struct events *events, void (*on_event)(void *userdata), void *userdata)
{
	events->on_event = on_event;
	events->userdata = userdata;
}
