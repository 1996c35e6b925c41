/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/api/event_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/backoff.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/timer.h"
#include "orchestrator/host/errand.h"
#include "orchestrator/host/file.h"
#include "orchestrator/host/line_file.h"
#include "orchestrator/host/sight.h"

/* What happens within this time is written together. */
#define GATHER_MS 100

/* A helper that could not be sent, or has died: the next one. */
#define FIRST_MS 1000
#define MOST_MS  60000

struct event_writer {
	char path[PATH_MAX], spare[PATH_MAX]; /* .spare "": none */
	char heads[_EVENT_FILE_STATES][EVENT_HEAD_MAX];
	sd_event *event;
	int keep_fd;
	size_t size;    /* of what is whole in the file */
	char *pending;  /* lines that the file does not have, each with its newline */
	size_t n, room; /* bytes of these */
	size_t batch;   /* so many of them has the helper that is on its way */
	uint64_t lost;  /* lines that are missing since it could be written last */
	bool ends_lost; /* so is the last one of all: there was no room for it here */
	bool in_spare;  /* the spare has all that is pending */
	bool silent;    /* it does not answer, which was told */
	bool finishes;
	struct errand *errand;
	struct timer timer;
	uint64_t tries;
};

/* ---- the file ------------------------------------------------------------------------------- */

/* What has become of a batch. */
struct outcome {
	size_t size;   /* of the file */
	uint64_t lost; /* lines */
	int r;         /* why the first of them is lost */
	bool ends_lost;
};

static enum event_file_state last_state(const struct event_writer *w, const struct outcome *outcome)
{
	if (outcome->ends_lost || w->ends_lost)
		return EVENT_FILE_LOST;
	return w->finishes ? EVENT_FILE_DONE : EVENT_FILE_OPEN;
}

static void add_line(struct line_file *file, const char *line, int r, struct outcome *ret)
{
	if (file)
		r = line_file_add(file, line);
	ret->ends_lost = r < 0;
	if (r == 0)
		return;
	if (ret->lost++ == 0)
		ret->r = r;
}

/* A file that somebody has removed, or emptied. */
static bool is_gone(const struct event_writer *w)
{
	struct stat st;

	return stat(w->path, &st) < 0 || st.st_size < (off_t)w->size;
}

/*
 * The batch, to the end of the file. Until it is there the next daemon must not take the numbers of
 * lines that are missing for unused: the head says that some are.
 */
static void write_batch(const struct event_writer *w, struct outcome *ret)
{
	const enum event_file_state first = w->lost > 0 ? EVENT_FILE_LOST : EVENT_FILE_OPEN;
	cleanup(line_file_free) struct line_file *file = NULL;
	cleanup_free char *lines = strndup(w->pending ? w->pending : "", w->batch);
	char *at = lines, *line;
	int r = -ENOMEM;

	*ret = (struct outcome){.size = w->size, .ends_lost = w->lost > 0};
	/* A new one without an event would say that no number has been used. */
	if (w->batch == 0 && is_gone(w))
		return;
	if (lines)
		r = line_file_open(w->path, w->size, w->heads[first], EVENT_FILE_SIZE_MAX, &file);
	while (lines && (line = strsep(&at, "\n")) && at)
		add_line(file, line, r, ret);
	if (!file)
		return;
	if (last_state(w, ret) != first)
		(void)line_file_set_head(file, w->heads[last_state(w, ret)]);
	ret->size = line_file_size(file);
}

/* ---- the spare ------------------------------------------------------------------------------ */

/* It has what is pending, and nothing else; it is gone if nothing is. */
static void replace_spare(struct event_writer *w)
{
	if (!w->spare[0])
		return;
	w->in_spare = true;
	if (w->n == 0)
		unlink(w->spare);
	else
		w->in_spare = file_replace_volatile(w->spare, w->pending, w->n, 0600) == 0;
}

/* The last @n bytes of what is pending. */
static void extend_spare(struct event_writer *w, size_t n)
{
	cleanup_close int fd = -1;

	if (!w->in_spare) {
		replace_spare(w);
		return;
	}
	fd = open(w->spare, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
		  0600);
	w->in_spare = fd >= 0 && write(fd, w->pending + w->n - n, n) == (ssize_t)n;
}

/* ---- what is pending ------------------------------------------------------------------------ */

static void tell_lost(struct event_writer *w, uint64_t n, const char *why)
{
	if (w->lost == 0)
		log_warning("%s: %s; events are kept in memory only, until it can be written again",
			    w->path, why);
	w->lost += n;
}

/* @text has whole lines. */
static int append(struct event_writer *w, const char *text, const char *end)
{
	size_t n = strlen(text) + strlen(end);

	if (w->n + n > EVENT_FILE_SIZE_MAX)
		return -ENOBUFS;
	if (w->n + n + 1 > w->room) {
		size_t room = 2 * (w->n + n + 1);
		char *pending = realloc(w->pending, room);

		if (!pending)
			return -ENOMEM;
		w->pending = pending;
		w->room = room;
	}
	stpcpy(stpcpy(w->pending + w->n, text), end);
	w->n += n;
	return 0;
}

static void settle(struct event_writer *w, const struct outcome *outcome)
{
	bool told = w->silent || w->lost > 0;

	w->size = outcome->size;
	w->n -= w->batch;
	if (w->n > 0)
		memmove(w->pending, w->pending + w->batch, w->n + 1);
	w->batch = 0;
	w->tries = 0;
	w->silent = false;
	replace_spare(w);
	if (outcome->lost > 0) {
		tell_lost(w, outcome->lost, file_why(outcome->r));
		told = true;
	}
	if (outcome->ends_lost || w->ends_lost || !told)
		return;
	log_info("%s: can be written again; %" PRIu64 " events were not written to it", w->path,
		 w->lost);
	w->lost = 0;
}

/* ---- by a helper ---------------------------------------------------------------------------- */

static void question_of(const struct event_writer *w, char ret[static SIGHT_QUESTION_MAX])
{
	sight_ask(ret, "add events to %s", w->path);
}

static void write_in_helper(void *userdata)
{
	const struct event_writer *w = userdata;
	char question[SIGHT_QUESTION_MAX];
	struct outcome outcome;

	sight_at(w->path);
	question_of(w, question);
	write_batch(w, &outcome);
	sight_note(question, &outcome, sizeof(outcome));
}

static void tell_silence(struct event_writer *w, const struct error *why)
{
	if (!w->silent)
		log_warning("%s; until it answers, events are kept in memory%s%s", why->text,
			    w->in_spare ? " and in " : " only", w->in_spare ? w->spare : "");
	w->silent = true;
}

static void on_late(void *userdata, const struct error *why)
{
	tell_silence(userdata, why);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata);

static void arm(struct event_writer *w, uint64_t delay_ms)
{
	timer_set(&w->timer, w->event, clock_monotonic_ms() + delay_ms, on_time, w);
}

/* What it has written, if anything, is cut off by the next one, and written again. */
static void try_later(struct event_writer *w, const struct error *why)
{
	struct error told;

	error_text(&told, -EAGAIN, "%.400s: %.300s", w->path, why->text);
	tell_silence(w, &told);
	w->batch = 0;
	if (!w->finishes)
		arm(w, backoff_delay_ms(FIRST_MS, MOST_MS, w->tries++));
}

static void on_seen(void *userdata, int r, const struct error *why)
{
	struct event_writer *w = userdata;
	char question[SIGHT_QUESTION_MAX];
	struct outcome outcome;
	const void *known;
	size_t n;

	w->errand = NULL;
	question_of(w, question);
	if (r < 0 || !sight_recall(question, &known, &n) || n != sizeof(outcome)) {
		try_later(w, why);
		return;
	}
	memcpy(&outcome, known, sizeof(outcome));
	settle(w, &outcome);
	if (w->n > 0 && !w->finishes)
		arm(w, GATHER_MS);
}

static void send_helper(struct event_writer *w)
{
	const struct errand_spec spec = {
		.look = write_in_helper,
		.on_seen = on_seen,
		.on_late = on_late,
		.finishes = true,
		.userdata = w,
		.timeout_ms = EVENT_WRITER_TIMEOUT_MS,
		.keep_fd = w->keep_fd,
	};
	struct error why;

	w->batch = w->n;
	if (errand_start(w->event, &spec, &w->errand, &why) < 0)
		try_later(w, &why);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	send_helper(userdata);
	return 0;
}

/* ---- for all -------------------------------------------------------------------------------- */

static void write_here(struct event_writer *w)
{
	struct outcome outcome;

	w->batch = w->n;
	write_batch(w, &outcome);
	settle(w, &outcome);
}

/* Write what is pending, soon or now. */
static void wake(struct event_writer *w)
{
	if (!w->event)
		write_here(w);
	else if (!w->errand && !timer_is_set(&w->timer))
		arm(w, GATHER_MS);
}

struct event_writer *event_writer_new(const struct event_place *place, size_t size,
				      char heads[_EVENT_FILE_STATES][EVENT_HEAD_MAX],
				      const char *pending)
{
	cleanup(event_writer_free) struct event_writer *w = calloc(1, sizeof(*w));

	if (!w || strlen(place->path) >= sizeof(w->path) ||
	    (place->spare && strlen(place->spare) >= sizeof(w->spare)))
		return NULL;
	strcpy(w->path, place->path);
	strcpy(w->spare, place->spare ? place->spare : "");
	memcpy(w->heads, heads, sizeof(w->heads));
	w->event = place->event ? sd_event_ref(place->event) : NULL;
	w->keep_fd = place->keep_fd;
	w->size = size;
	if (w->event && timer_prepare(&w->timer, w->event, on_time, w) < 0)
		return NULL;
	if (pending && append(w, pending, "") < 0)
		return NULL;
	replace_spare(w);
	if (w->n > 0)
		wake(w);
	return TAKE_PTR(w);
}

void event_writer_add(struct event_writer *w, const char *line)
{
	int r = append(w, line, "\n");

	w->ends_lost = r < 0;
	if (r < 0) {
		tell_lost(w, 1, r == -ENOBUFS ? "too many events wait for it" : strerror(-r));
		return;
	}
	if (w->event && w->spare[0])
		extend_spare(w, strlen(line) + 1);
	wake(w);
}

static uint64_t left_ms(uint64_t end_ms)
{
	uint64_t now_ms = clock_monotonic_ms();

	return end_ms > now_ms ? end_ms - now_ms : 0;
}

/* A helper that is on its way, and then the last one. */
static bool finish_helpers(struct event_writer *w, uint64_t end_ms)
{
	timer_stop(&w->timer);
	if (w->errand && !errand_finish(TAKE_PTR(w->errand), left_ms(end_ms)))
		return false;
	send_helper(w);
	return w->errand && errand_finish(TAKE_PTR(w->errand), left_ms(end_ms));
}

void event_writer_finish(struct event_writer *w, uint64_t timeout_ms)
{
	if (w->finishes)
		return;
	w->finishes = true;
	if (!w->event)
		write_here(w);
	else if (!finish_helpers(w, clock_monotonic_ms() + timeout_ms) && w->n > 0)
		log_warning("%s: was not written before the end%s%s", w->path,
			    w->in_spare ? "; the next batond takes what is missing from " : "",
			    w->in_spare ? w->spare : "");
}

void event_writer_free(struct event_writer *w)
{
	if (!w)
		return;
	errand_cancel(w->errand);
	timer_done(&w->timer);
	sd_event_unref(w->event);
	free(w->pending);
	free(w);
}
