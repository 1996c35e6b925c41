/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/writer.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/host/errand.h"
#include "orchestrator/host/file.h"
#include "orchestrator/host/sight.h"

struct place {
	struct place *next;
	struct writer *writer;
	char *path;
	char *text, *waiting; /* that is being written; that comes next; NULL: none */
	size_t length, n_waiting;
	struct errand *errand;
	bool late, failed; /* which was told */
};

struct writer {
	sd_event *event;
	int keep_fd;
	struct place *places;
	sd_event_source *defer; /* begins: what is put in one turn of the loop is written once */
};

/* ---- one file ------------------------------------------------------------------------------- */

static void question_of(const struct place *place, char ret[static SIGHT_QUESTION_MAX])
{
	sight_ask(ret, "replace %s", place->path);
}

/* In the helper. */
static void write_place(void *userdata)
{
	const struct place *place = userdata;
	char question[SIGHT_QUESTION_MAX];
	int r;

	sight_at(place->path);
	question_of(place, question);
	r = file_replace(place->path, place->text, place->length, 0600);
	sight_note(question, &r, sizeof(r));
}

/* It is written with what is put next, or at the end. */
static void keep(struct place *place, const char *why)
{
	if (!place->failed)
		log_warning("%s: cannot be written: %s; a next batond would read what was written "
			    "before",
			    place->path, why);
	place->failed = true;
	if (place->waiting)
		return;
	place->waiting = TAKE_PTR(place->text);
	place->n_waiting = place->length;
}

static void on_late(void *userdata, const struct error *why)
{
	struct place *place = userdata;

	place->late = true;
	log_warning("%s; it is still being written, and nothing else waits for it", why->text);
}

static int begin(struct place *place);

static void on_written(void *userdata, int r, const struct error *why)
{
	struct place *place = userdata;
	char question[SIGHT_QUESTION_MAX];
	const void *known;
	size_t n;

	place->errand = NULL;
	question_of(place, question);
	if (r >= 0 && sight_recall(question, &known, &n) && n == sizeof(r))
		memcpy(&r, known, sizeof(r));
	if (r < 0) {
		keep(place, why->text[0] ? why->text : strerror(-r));
	} else if (place->late || place->failed) {
		log_info("%s: is written", place->path);
		place->late = place->failed = false;
	}
	free(TAKE_PTR(place->text));
	if (place->waiting && !place->failed)
		(void)begin(place);
}

static void take_waiting(struct place *place)
{
	place->text = TAKE_PTR(place->waiting);
	place->length = place->n_waiting;
}

/* Write what waits. */
static int begin(struct place *place)
{
	struct errand_spec spec = {
		.look = write_place,
		.on_seen = on_written,
		.on_late = on_late,
		.finishes = true,
		.userdata = place,
		.timeout_ms = WRITER_TIMEOUT_MS,
		.keep_fd = place->writer->keep_fd,
	};
	struct error err;
	int r;

	take_waiting(place);
	r = errand_start(place->writer->event, &spec, &place->errand, &err);
	if (r >= 0)
		return 0;
	keep(place, err.text);
	free(TAKE_PTR(place->text));
	return r;
}

static int on_defer(sd_event_source *source, void *userdata)
{
	struct writer *writer = userdata;

	(void)source;
	for (struct place *place = writer->places; place; place = place->next)
		if (place->waiting && !place->errand)
			(void)begin(place);
	return 0;
}

int writer_new(sd_event *event, int keep_fd, struct writer **ret, struct error *err)
{
	struct writer *writer = calloc(1, sizeof(*writer));
	int r;

	if (!writer)
		return error_set(err, -ENOMEM, "writer");
	writer->event = sd_event_ref(event);
	writer->keep_fd = keep_fd;
	r = sd_event_add_defer(event, &writer->defer, on_defer, writer);
	/* Before anything else: a next daemon may need it soon. */
	if (r >= 0)
		r = sd_event_source_set_priority(writer->defer, SD_EVENT_PRIORITY_IMPORTANT - 1);
	if (r >= 0)
		r = sd_event_source_set_enabled(writer->defer, SD_EVENT_OFF);
	if (r < 0) {
		writer_finish(writer, 0);
		return error_set(err, r, "writer");
	}
	*ret = writer;
	return 0;
}

static struct place *place_of(struct writer *writer, const char *path)
{
	struct place *place;

	for (place = writer->places; place; place = place->next)
		if (strcmp(place->path, path) == 0)
			return place;
	place = calloc(1, sizeof(*place));
	if (place)
		place->path = strdup(path);
	if (!place || !place->path) {
		free(place);
		return NULL;
	}
	place->writer = writer;
	place->next = writer->places;
	writer->places = place;
	return place;
}

int writer_put(struct writer *writer, const char *path, const char *text, size_t length)
{
	struct place *place = place_of(writer, path);
	char *copy = place ? strndup(text, length) : NULL;

	if (!copy)
		return -ENOMEM;
	free(place->waiting);
	place->waiting = copy;
	place->n_waiting = strlen(copy);
	return sd_event_source_set_enabled(writer->defer, SD_EVENT_ONESHOT);
}

size_t writer_behind(const struct writer *writer)
{
	size_t n = 0;

	for (const struct place *place = writer->places; place; place = place->next)
		n += place->errand || place->waiting;
	return n;
}

/* ---- the end -------------------------------------------------------------------------------- */

static bool finish_errand(struct place *place, uint64_t end_ms)
{
	uint64_t now_ms = clock_monotonic_ms();
	bool done;

	done = errand_finish(TAKE_PTR(place->errand), end_ms > now_ms ? end_ms - now_ms : 0);
	free(TAKE_PTR(place->text));
	return done;
}

/* The end comes whether it is written or not. */
static void finish_place(struct place *place, uint64_t end_ms)
{
	bool done = !place->errand || finish_errand(place, end_ms);

	if (done && place->waiting)
		done = begin(place) >= 0 && finish_errand(place, end_ms);
	if (!done)
		log_warning("%s: was not written before the end", place->path);
}

void writer_finish(struct writer *writer, uint64_t timeout_ms)
{
	uint64_t end_ms = clock_monotonic_ms() + timeout_ms;

	if (!writer)
		return;
	while (writer->places) {
		struct place *place = writer->places;

		finish_place(place, end_ms);
		writer->places = place->next;
		free(place->waiting);
		free(place->path);
		free(place);
	}
	sd_event_source_disable_unref(writer->defer);
	sd_event_unref(writer->event);
	free(writer);
}
