/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/api/event_file.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "orchestrator/host/file.h"
#include "orchestrator/host/line_file.h"

#define BOOT_ID  "/proc/sys/kernel/random/boot_id"
#define BOOT_MAX 37 /* a UUID */

/* All words have one length: they are changed in place. */
static const char *const states[_EVENT_FILE_STATES] = {
	[EVENT_FILE_OPEN] = "open",
	[EVENT_FILE_LOST] = "lost",
	[EVENT_FILE_DONE] = "done",
};

struct event_file {
	const struct event_place *place; /* while it is opened */
	char boot[BOOT_MAX];
	uint64_t epoch, last;
	struct event_writer *writer;
};

/* ---- the head ------------------------------------------------------------------------------- */

struct head {
	json_int_t version;
	uint64_t epoch;
	char boot[BOOT_MAX], state[8];
};

bool event_epoch_parse(const char *text, uint64_t *ret)
{
	if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
		return false;
	*ret = strtoull(text, NULL, 16);
	return *ret != 0;
}

static void read_boot(char ret[static BOOT_MAX])
{
	cleanup_free char *text = NULL;

	if (file_read(BOOT_ID, BOOT_MAX, &text, NULL) >= 0)
		snprintf(ret, BOOT_MAX, "%.*s", (int)strcspn(text, "\n"), text);
}

static void format_head(const struct event_file *file, enum event_file_state state,
			char ret[static EVENT_HEAD_MAX])
{
	snprintf(ret, EVENT_HEAD_MAX,
		 "{\"baton\":\"events\",\"version\":%d,\"epoch\":\"" EVENT_EPOCH_FORMAT
		 "\",\"boot\":\"%-36s\",\"state\":\"%s\"}",
		 EVENT_FILE_VERSION, file->epoch, file->boot, states[state]);
}

/* Of each. */
static size_t head_length(void)
{
	static const struct event_file any;
	char head[EVENT_HEAD_MAX];

	format_head(&any, EVENT_FILE_OPEN, head);
	return strlen(head);
}

static void take_text(const json_t *object, const char *key, char *ret, size_t size)
{
	const char *text = json_string_value(json_object_get(object, key));

	snprintf(ret, size, "%s", text ? text : "");
}

static bool parse_head(const char *text, size_t length, struct head *ret)
{
	json_t *json = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	char what[8], epoch[20];
	bool ok;

	take_text(json, "baton", what, sizeof(what));
	take_text(json, "epoch", epoch, sizeof(epoch));
	take_text(json, "boot", ret->boot, sizeof(ret->boot));
	take_text(json, "state", ret->state, sizeof(ret->state));
	ret->boot[strcspn(ret->boot, " ")] = '\0';
	ret->version = json_integer_value(json_object_get(json, "version"));
	ok = strcmp(what, "events") == 0 && ret->version >= 1 &&
	     (event_epoch_parse(epoch, &ret->epoch) || ret->version > EVENT_FILE_VERSION);
	json_decref(json);
	return ok;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* One of the two files, as it is read. */
struct content {
	char path[PATH_MAX + 2];
	char *text;
	size_t length; /* of what is whole: a head, and lines */
	struct head head;
	char *lines[EVENT_FILE_READ_MAX]; /* the newest, in their order; of .text */
	size_t n, skipped;                /* how many; how many lines are before them */
	uint64_t first, last;             /* numbers of those */
	bool is_torn;                     /* an event was cut off at its end; */
	uint64_t torn;                    /* its number, 0: not known */
};

/* What is read of a line; .json holds the texts. */
struct parsed {
	json_t *json;
	struct event_line line;
};

static bool parse_line(char *text, struct parsed *ret)
{
	json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	const char *epoch = json_string_value(json_object_get(json, "epoch"));

	*ret = (struct parsed){
		.json = json,
		.line = {.seq = (uint64_t)json_integer_value(json_object_get(json, "seq")),
			 .time = json_string_value(json_object_get(json, "time")),
			 .service = json_string_value(json_object_get(json, "service")),
			 .text = text},
	};
	if (ret->line.seq > 0 && ret->line.seq <= INT64_MAX && ret->line.time &&
	    strlen(ret->line.time) < EVENT_TIME_MAX && ret->line.service &&
	    json_string_value(json_object_get(json, "event")) && epoch &&
	    event_epoch_parse(epoch, &ret->line.epoch))
		return true;
	json_decref(json);
	return false;
}

/* Cut off what is behind the last newline. The number stands at the beginning of a line. */
static void cut_torn(struct content *c)
{
	char *end = memrchr(c->text, '\n', c->length);
	size_t whole = end ? (size_t)(end - c->text) + 1 : 0;
	int n = 0;

	c->is_torn = whole < c->length;
	if (sscanf(c->text + whole, "{\"seq\":%" SCNu64 ",%n", &c->torn, &n) != 1 || n == 0)
		c->torn = 0;
	c->length = whole;
	c->text[whole] = '\0';
}

/* Find the newest lines behind the head, and make texts of them. With a NUL in it one is no JSON.
 */
static void split(struct content *c, size_t head_length)
{
	char *begin = c->text + head_length, *end = c->text + c->length, *newline;
	size_t n = 0;

	for (char *at = begin; (at = memchr(at, '\n', (size_t)(end - at))); at++)
		n++;
	c->skipped = n > EVENT_FILE_READ_MAX ? n - EVENT_FILE_READ_MAX : 0;
	for (char *at = begin; at < end; at = newline + 1, n--) {
		newline = memchr(at, '\n', (size_t)(end - at));
		*newline = '\0';
		if (n <= EVENT_FILE_READ_MAX)
			c->lines[c->n++] = at;
	}
}

static int check_lines(struct content *c, char why[static 128])
{
	for (size_t k = 0; k < c->n; k++) {
		struct parsed parsed;
		bool ok = parse_line(c->lines[k], &parsed);

		if (!ok || parsed.line.seq <= c->last) {
			snprintf(why, 128, "damaged: line %zu is %s", c->skipped + k + 2,
				 ok ? "out of its place" : "no event");
			if (ok)
				json_decref(parsed.json);
			return -EBADMSG;
		}
		c->last = parsed.line.seq;
		if (c->first == 0)
			c->first = parsed.line.seq;
		json_decref(parsed.json);
	}
	if (c->torn > c->last)
		c->last = c->torn;
	return 0;
}

static int parse(struct content *c, char why[static 128])
{
	const char *end;

	cut_torn(c);
	end = memchr(c->text, '\n', c->length);
	if (!end || !parse_head(c->text, (size_t)(end - c->text), &c->head)) {
		snprintf(why, 128, "damaged: its first line is not that of a file of events");
		return -EBADMSG;
	}
	if (c->head.version > EVENT_FILE_VERSION) {
		snprintf(why, 128,
			 "written by a later version of baton (format %lld, this one reads %d)",
			 (long long)c->head.version, EVENT_FILE_VERSION);
		return -EPROTONOSUPPORT;
	}
	/* A head takes the place of the old one: of a shorter one it would not. */
	if ((size_t)(end - c->text) != head_length()) {
		snprintf(why, 128, "damaged: its first line has another length than it was given");
		return -EBADMSG;
	}
	split(c, (size_t)(end - c->text) + 1);
	return check_lines(c, why);
}

/* What cannot be used may be of use to a person, or to a later version: it is kept. */
static int move_aside(const char *path, const char *why, struct error *err)
{
	char aside[PATH_MAX];
	int r = file_move_aside(path, aside);

	if (r < 0)
		error_text(err, r, "%.300s: %s; it is left alone, as it cannot be moved aside: %s",
			   path, why, strerror(-r));
	else
		error_text(err, 0,
			   "%.300s: %s; it was moved to %.300s, and its events are not "
			   "shown any more",
			   path, why, aside);
	return 1;
}

static void empty(struct content *c)
{
	free(TAKE_PTR(c->text));
	c->length = c->n = 0;
	c->first = c->last = 0;
}

/* 1: @err says why what there is cannot be used; then @c is empty, as if there were nothing. */
static int read_content(struct content *c, struct error *err)
{
	char why[128] = "";
	int r = file_read(c->path, EVENT_FILE_SIZE_MAX, &c->text, &c->length);

	if (r == -ENOENT || r == -ENOMEM)
		return r == -ENOENT ? 0 : r;
	if (r < 0)
		snprintf(why, sizeof(why), "%s", file_why(r));
	else if (c->length > 0)
		r = parse(c, why);
	if (r >= 0)
		return 0;
	empty(c);
	return move_aside(c->path, why, err);
}

static void take(const struct content *c, uint64_t below, const struct event_file_taker *taker)
{
	for (size_t k = 0; k < c->n; k++) {
		struct parsed parsed;

		if (!parse_line(c->lines[k], &parsed))
			continue; /* without memory */
		if (below == 0 || parsed.line.seq < below)
			taker->take(taker->userdata, &parsed.line);
		json_decref(parsed.json);
	}
}

/* ---- opening -------------------------------------------------------------------------------- */

/* Is every number that was told known from the file? */
static bool is_whole(const struct event_file *file, const struct content *now)
{
	const struct head *head = &now->head;

	if (now->length == 0 || (now->is_torn && now->torn == 0))
		return false;
	if (strcmp(head->state, states[EVENT_FILE_DONE]) == 0)
		return true;
	return strcmp(head->state, states[EVENT_FILE_OPEN]) == 0 &&
	       strcmp(head->boot, file->boot) == 0;
}

/* How much of it there is then; 0: it cannot be written yet. */
static int make_file(const struct event_file *file, size_t keep, size_t *ret_size)
{
	cleanup(line_file_free) struct line_file *lines = NULL;
	char head[EVENT_HEAD_MAX];
	int r;

	format_head(file, EVENT_FILE_OPEN, head);
	r = line_file_open(file->place->path, keep, head, EVENT_FILE_SIZE_MAX, &lines);
	*ret_size = r < 0 ? keep : line_file_size(lines);
	return r;
}

/* What reads like an empty file may be a device. */
static int make_or_replace(const struct event_file *file, size_t keep, size_t *ret_size,
			   struct error *err)
{
	if (make_file(file, keep, ret_size) != -FILE_IS_NO_FILE)
		return 0;
	move_aside(file->place->path, file_why(-FILE_IS_NO_FILE), err);
	make_file(file, 0, ret_size);
	return 1;
}

/* ---- the spare ------------------------------------------------------------------------------ */

/*
 * What the spare has and the file has not, of which @file then knows the last: lines in *ret, NULL
 * if there are none. What is damaged there, or cut off at its end, is passed over.
 */
static int read_spare(struct event_file *file, const struct event_file_taker *taker, char **ret)
{
	cleanup_free char *text = NULL;
	char *at, *line, *end;

	if (!file->place->spare ||
	    file_read(file->place->spare, EVENT_FILE_SIZE_MAX, &text, NULL) < 0)
		return 0;
	end = *ret = malloc(strlen(text) + 1);
	if (!end)
		return -ENOMEM;
	*end = '\0';
	at = text;
	while ((line = strsep(&at, "\n")) && at) {
		struct parsed parsed;

		if (!parse_line(line, &parsed))
			continue;
		if (parsed.line.seq > file->last) {
			file->last = parsed.line.seq;
			taker->take(taker->userdata, &parsed.line);
			end = stpcpy(stpcpy(end, line), "\n");
		}
		json_decref(parsed.json);
	}
	return 0;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static int read_both(struct event_file *file, struct content *now, struct content *older,
		     struct error *err)
{
	struct error second;
	int r, s = 0;

	snprintf(now->path, sizeof(now->path), "%s", file->place->path);
	line_file_older(file->place->path, older->path, sizeof(older->path));
	r = read_content(now, err);
	if (r >= 0 && now->n < EVENT_FILE_READ_MAX)
		s = read_content(older, r > 0 ? &second : err);
	if (r > 0 && s > 0)
		log_warning("%s", second.text);
	return r < 0 ? r : s < 0 ? s : r | s;
}

static int begin_writing(struct event_file *file, const struct content *now, const char *pending,
			 struct error *err)
{
	char heads[_EVENT_FILE_STATES][EVENT_HEAD_MAX];
	size_t size;
	int r = make_or_replace(file, now->length, &size, err);

	for (enum event_file_state k = 0; k < _EVENT_FILE_STATES; k++)
		format_head(file, k, heads[k]);
	file->writer = event_writer_new(file->place, size, heads, pending);
	return file->writer ? r : -ENOMEM;
}

static int begin(struct event_file *file, uint64_t fresh, const struct content *now,
		 const struct content *older, const struct event_file_taker *taker,
		 struct error *err)
{
	cleanup_free char *pending = NULL;
	int r;

	take(older, now->first, taker);
	take(now, 0, taker);
	file->last = now->last > older->last ? now->last : older->last;
	file->epoch = is_whole(file, now) ? now->head.epoch : fresh;
	r = read_spare(file, taker, &pending);
	return r < 0 ? r : begin_writing(file, now, pending, err);
}

int event_file_open(const struct event_place *place, uint64_t fresh,
		    const struct event_file_taker *taker, struct event_file **ret,
		    struct error *err)
{
	cleanup(event_file_free) struct event_file *file = calloc(1, sizeof(*file));
	struct content *contents = calloc(2, sizeof(*contents));
	struct content *now = contents, *older = contents + 1;
	int r = -ENOMEM, s = 0;

	if (file && contents && strlen(place->path) < PATH_MAX) {
		file->place = place;
		read_boot(file->boot);
		r = read_both(file, now, older, err);
	}
	if (r >= 0) {
		s = begin(file, fresh, now, older, taker, err);
		file->place = NULL;
	}
	r = s < 0 ? s : r | s;
	if (r < 0)
		error_set(err, r, "%s", place->path);
	else
		*ret = TAKE_PTR(file);
	if (contents) {
		free(now->text);
		free(older->text);
	}
	free(contents);
	return r;
}

void event_file_finish(struct event_file *file)
{
	if (file->writer)
		event_writer_finish(file->writer, EVENT_WRITER_TIMEOUT_MS);
}

void event_file_free(struct event_file *file)
{
	if (!file)
		return;
	event_file_finish(file);
	event_writer_free(file->writer);
	free(file);
}

uint64_t event_file_epoch(const struct event_file *file)
{
	return file->epoch;
}

uint64_t event_file_last(const struct event_file *file)
{
	return file->last;
}

void event_file_add(struct event_file *file, const char *line)
{
	event_writer_add(file->writer, line);
}
