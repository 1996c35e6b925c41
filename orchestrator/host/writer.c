/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/writer.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
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
	struct errand *errand;
	bool failed; /* what waits has been tried */
	writer_told on_told;
	void *userdata;
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
	r = file_make_folder(place->path, 0700);
	if (r >= 0)
		r = file_replace(place->path, place->text, strlen(place->text), 0600);
	sight_note(question, &r, sizeof(r));
}

static void tell(const struct place *place, int r, const struct error *why)
{
	if (place->on_told)
		place->on_told(place->userdata, r, why);
	else if (r < 0)
		log_warning("%s", why->text);
}

static void keep(struct place *place, int r, const struct error *why)
{
	char *text = TAKE_PTR(place->text);

	/* What was put since is the better one, and has not been tried. */
	if (place->waiting) {
		free(text);
	} else {
		place->waiting = text;
		place->failed = true;
	}
	tell(place, r, why);
}

static void on_late(void *userdata, const struct error *why)
{
	tell(userdata, -EINPROGRESS, why);
}

/* What has become of the file. Called while the helper's answer is known. */
static void take_outcome(struct place *place, int r, const struct error *why)
{
	struct error failure = *why;
	char question[SIGHT_QUESTION_MAX];
	const void *known;
	size_t n;

	question_of(place, question);
	if (r >= 0 && sight_recall(question, &known, &n) && n == sizeof(r)) {
		memcpy(&r, known, sizeof(r));
		if (r < 0)
			error_set(&failure, r, "%s", place->path);
	}
	if (r < 0) {
		keep(place, r, &failure);
		return;
	}
	free(TAKE_PTR(place->text));
	if (!place->waiting)
		tell(place, 0, &failure);
}

static void begin(struct place *place);

static void on_written(void *userdata, int r, const struct error *why)
{
	struct place *place = userdata;

	place->errand = NULL;
	take_outcome(place, r, why);
	if (place->waiting && !place->failed)
		begin(place);
}

/* Write what waits. */
static void begin(struct place *place)
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
	struct error err, why;
	int r;

	place->text = TAKE_PTR(place->waiting);
	place->failed = false;
	r = errand_start(place->writer->event, &spec, &place->errand, &err);
	if (r >= 0)
		return;
	error_text(&why, r, "%.400s: %s", place->path, err.text);
	keep(place, r, &why);
}

static int on_defer(sd_event_source *source, void *userdata)
{
	struct writer *writer = userdata;

	(void)source;
	for (struct place *place = writer->places; place; place = place->next)
		if (place->waiting && !place->failed && !place->errand)
			begin(place);
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
		writer_free(writer);
		return error_set(err, r, "writer");
	}
	*ret = writer;
	return 0;
}

static struct place *find_place(const struct writer *writer, const char *path)
{
	for (struct place *place = writer->places; place; place = place->next)
		if (strcmp(place->path, path) == 0)
			return place;
	return NULL;
}

static struct place *place_of(struct writer *writer, const char *path)
{
	struct place *place = find_place(writer, path);

	if (place)
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

static int wake(struct writer *writer)
{
	return sd_event_source_set_enabled(writer->defer, SD_EVENT_ONESHOT);
}

int writer_put(struct writer *writer, const char *path, const char *text, writer_told on_told,
	       void *userdata)
{
	struct place *place = place_of(writer, path);
	char *copy = place ? strdup(text) : NULL;

	if (!copy)
		return -ENOMEM;
	free(place->waiting);
	place->waiting = copy;
	place->failed = false;
	place->on_told = on_told;
	place->userdata = userdata;
	return wake(writer);
}

void writer_forget(struct writer *writer, const char *path, const void *userdata)
{
	struct place *place = find_place(writer, path);

	if (!place || place->userdata != userdata)
		return;
	place->on_told = NULL;
	place->userdata = NULL;
	if (!place->failed)
		return;
	place->failed = false;
	(void)wake(writer);
}

/* ---- the end -------------------------------------------------------------------------------- */

/* The end comes whether it is written or not. */
static void finish_place(struct place *place, uint64_t end_ms)
{
	struct error why;

	if (place->waiting && !place->errand)
		begin(place);
	/* One that ends begins what has waited for it. */
	while (place->errand) {
		uint64_t now_ms = clock_monotonic_ms();

		if (errand_finish(TAKE_PTR(place->errand), end_ms > now_ms ? end_ms - now_ms : 0))
			continue;
		error_text(&why, -ETIMEDOUT, "%.400s: was not written before the end", place->path);
		free(TAKE_PTR(place->text));
		tell(place, -ETIMEDOUT, &why);
	}
}

void writer_finish(struct writer *writer, uint64_t timeout_ms)
{
	uint64_t end_ms = clock_monotonic_ms() + timeout_ms;

	for (struct place *place = writer->places; place; place = place->next)
		finish_place(place, end_ms);
}

void writer_free(struct writer *writer)
{
	if (!writer)
		return;
	while (writer->places) {
		struct place *place = writer->places;

		writer->places = place->next;
		errand_cancel(place->errand);
		free(place->text);
		free(place->waiting);
		free(place->path);
		free(place);
	}
	sd_event_source_disable_unref(writer->defer);
	sd_event_unref(writer->event);
	free(writer);
}
