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

#define FIRST_MS 1000
#define MOST_MS  60000

struct kept_file {
	sd_event *event;
	char *path, *spare;
	char *unwritten; /* NULL: @path has what was written last, or there is no memory for it */
	bool failing;
	struct timer retry;
	uint64_t tries;
};

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata);

struct kept_file *kept_file_new(sd_event *event, const char *path, const char *spare)
{
	cleanup(kept_file_free) struct kept_file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->event = event;
	file->path = strdup(path);
	file->spare = spare ? strdup(spare) : NULL;
	if (!file->path || (spare && !file->spare))
		return NULL;
	if (event && timer_prepare(&file->retry, event, on_retry, file) < 0)
		return NULL;
	return TAKE_PTR(file);
}

/* ---- writing -------------------------------------------------------------------------------- */

static int write_file(const char *path, const char *text)
{
	int r = file_make_folder(path, 0700);

	return r < 0 ? r : file_replace(path, text, strlen(text), 0600);
}

static void tell_failure(struct kept_file *file, int why, int spare)
{
	if (file->failing)
		return;
	file->failing = true;
	if (spare == 0)
		log_warning("%s: %s; what it should hold is in %s, until it can be written again",
			    file->path, strerror(-why), file->spare);
	else
		log_warning("%s: %s; what it should hold is kept in memory only, until it can be "
			    "written again",
			    file->path, strerror(-why));
}

static void succeed(struct kept_file *file)
{
	free(TAKE_PTR(file->unwritten));
	timer_stop(&file->retry);
	file->tries = 0;
	if (file->failing)
		log_info("%s: can be written again, and has all that it should hold", file->path);
	file->failing = false;
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

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct kept_file *file = userdata;

	(void)source, (void)usec;
	if (!file->unwritten)
		return 0;
	if (write_file(file->path, file->unwritten) == 0) {
		succeed(file);
		return 0;
	}
	file->tries++;
	try_later(file);
	return 0;
}

int kept_file_write(struct kept_file *file, const char *text, struct error *err)
{
	int r = write_file(file->path, text), spare;

	if (r == 0) {
		succeed(file);
		return 0;
	}
	spare = file->spare ? write_file(file->spare, text) : -ENOENT;
	tell_failure(file, r, spare);
	free(file->unwritten);
	file->unwritten = strdup(text);
	try_later(file);
	error_set(err, r, "%s", file->path);
	return spare == 0 ? 1 : r;
}

const char *kept_file_path(const struct kept_file *file)
{
	return file->path;
}

bool kept_file_is_written(const struct kept_file *file)
{
	return !file->failing;
}

void kept_file_free(struct kept_file *file)
{
	if (!file)
		return;
	if (file->unwritten && write_file(file->path, file->unwritten) == 0)
		succeed(file);
	timer_done(&file->retry);
	free(file->unwritten);
	free(file->path);
	free(file->spare);
	free(file);
}
