/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/kept_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/backoff.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/timer.h"
#include "orchestrator/host/file.h"
#include "orchestrator/host/writer.h"

#define FIRST_MS 1000
#define MOST_MS  60000

struct kept_file {
	sd_event *event;
	struct writer *writer;
	char *path, *spare;
	char *unwritten; /* NULL: @path has what was written last, or there is no memory for it */
	bool in_spare;   /* the spare has it, too */
	bool failing;
	int error; /* of the last try that failed, with its text */
	struct error why;
	struct timer retry;
	uint64_t tries;
};

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata);

struct kept_file *kept_file_new(sd_event *event, struct writer *writer, const char *path,
				const char *spare)
{
	cleanup(kept_file_free) struct kept_file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->event = event;
	file->writer = writer;
	file->path = strdup(path);
	file->spare = spare ? strdup(spare) : NULL;
	if (!file->path || (spare && !file->spare))
		return NULL;
	if (event && timer_prepare(&file->retry, event, on_retry, file) < 0)
		return NULL;
	return TAKE_PTR(file);
}

/* ---- what has become of it ------------------------------------------------------------------ */

static void tell_failure(struct kept_file *file)
{
	if (file->failing)
		return;
	file->failing = true;
	if (file->in_spare)
		log_warning("%s; what it should hold is in %s, until it can be written again",
			    file->why.text, file->spare);
	else
		log_warning("%s; what it should hold is kept in memory only, until it can be "
			    "written again",
			    file->why.text);
}

static void succeed(struct kept_file *file)
{
	free(TAKE_PTR(file->unwritten));
	timer_stop(&file->retry);
	file->tries = 0;
	if (file->failing)
		log_info("%s: can be written again, and has all that it should hold", file->path);
	file->failing = false;
	file->in_spare = false;
	if (file->spare)
		unlink(file->spare);
}

static void try_later(struct kept_file *file)
{
	uint64_t delay_ms = backoff_delay_ms(FIRST_MS, MOST_MS, file->tries);

	if (file->event && !timer_is_set(&file->retry))
		timer_set(&file->retry, file->event, clock_monotonic_ms() + delay_ms, on_retry,
			  file);
}

static void fail(struct kept_file *file, int r, const struct error *why)
{
	file->error = r;
	file->why = *why;
	tell_failure(file);
	/* The helper that is late is at it still, and says more. */
	if (r != -EINPROGRESS)
		try_later(file);
}

static void on_told(void *userdata, int r, const struct error *why)
{
	struct kept_file *file = userdata;

	if (r < 0)
		fail(file, r, why);
	else
		succeed(file);
}

/* ---- writing -------------------------------------------------------------------------------- */

static int write_file(const char *path, const char *text)
{
	int r = file_make_folder(path, 0700);

	return r < 0 ? r : file_replace(path, text, strlen(text), 0600);
}

/* No fsync(2): the spare is for a daemon that is killed, the file itself for a power failure. */
static void write_spare(struct kept_file *file, const char *text)
{
	file->in_spare = file->spare && file_make_folder(file->spare, 0700) == 0 &&
			 file_replace_volatile(file->spare, text, strlen(text), 0600) == 0;
}

static void write_or_send(struct kept_file *file, const char *text)
{
	struct error why;
	int r;

	if (file->writer && !file->in_spare)
		write_spare(file, text);
	r = file->writer ? writer_put(file->writer, file->path, text, on_told, file)
			 : write_file(file->path, text);
	if (r < 0) {
		/* Of what was put before it is no use to hear. */
		if (file->writer)
			writer_forget(file->writer, file->path, file);
		else if (!file->in_spare)
			write_spare(file, text);
		error_set(&why, r, "%s", file->path);
		fail(file, r, &why);
	} else if (!file->writer) {
		succeed(file);
	}
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct kept_file *file = userdata;

	(void)source, (void)usec;
	if (!file->unwritten)
		return 0;
	file->tries++;
	write_or_send(file, file->unwritten);
	return 0;
}

int kept_file_write(struct kept_file *file, const char *text, struct error *err)
{
	free(file->unwritten);
	file->unwritten = strdup(text);
	file->in_spare = false;
	write_or_send(file, text);
	if (!file->failing)
		return 0;
	if (err)
		*err = file->why;
	return file->in_spare ? 1 : file->error;
}

const char *kept_file_path(const struct kept_file *file)
{
	return file->path;
}

void kept_file_free(struct kept_file *file)
{
	if (!file)
		return;
	if (file->writer && file->path)
		writer_forget(file->writer, file->path, file);
	else if (file->unwritten && write_file(file->path, file->unwritten) == 0)
		succeed(file);
	timer_done(&file->retry);
	free(file->unwritten);
	free(file->path);
	free(file->spare);
	free(file);
}
