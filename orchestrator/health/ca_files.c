/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/health/ca_files.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "orchestrator/host/errand.h"
#include "orchestrator/host/file.h"

#define SIZE_MAX_BYTES ((size_t)4 * 1024 * 1024)

struct ca_file {
	struct ca_file *next;
	struct ca_files *files;
	char *path;
	char *text; /* NULL: not known */
	size_t n;
	uint64_t read_ms;       /* .text is not older */
	int r;                  /* of the last try */
	struct error why;       /* if that is negative */
	uint64_t tried_ms;      /* when that was known */
	struct errand *errand;  /* a helper reads */
	uint64_t sent_ms;       /* when it was sent */
	bool late;              /* it does not answer */
	uint64_t last_asked_ms; /* the one that nobody has asked for longest makes room */
};

struct ca_files {
	sd_event *event;
	void (*on_read)(void *userdata);
	void *userdata;
	struct ca_file *first;
	size_t n;
};

struct ca_files *ca_files_new(sd_event *event, void (*on_read)(void *userdata), void *userdata)
{
	struct ca_files *files = calloc(1, sizeof(*files));

	if (!files)
		return NULL;
	files->event = sd_event_ref(event);
	files->on_read = on_read;
	files->userdata = userdata;
	return files;
}

static void free_file(struct ca_file *file)
{
	errand_cancel(file->errand);
	free(file->path);
	free(file->text);
	free(file);
}

static void remove_file(struct ca_files *files, struct ca_file *file)
{
	struct ca_file **link = &files->first;

	while (*link != file)
		link = &(*link)->next;
	*link = file->next;
	files->n--;
	free_file(file);
}

void ca_files_free(struct ca_files *files)
{
	if (!files)
		return;
	while (files->first)
		remove_file(files, files->first);
	sd_event_unref(files->event);
	free(files);
}

/* ---- reading -------------------------------------------------------------------------------- */

static int read_text(const struct ca_file *file, char **ret, size_t *ret_n, struct error *err)
{
	return file_read_for(NULL, file->path, PATH_READ, SIZE_MAX_BYTES, ret, ret_n, err);
}

/* In the helper. */
static void look(void *userdata)
{
	cleanup_free char *text = NULL;
	struct error err;
	size_t n;

	(void)read_text(userdata, &text, &n, &err);
}

static void settle(struct ca_file *file, int r, const struct error *why)
{
	file->r = r;
	if (r < 0)
		file->why = *why;
	file->tried_ms = clock_monotonic_ms();
	file->files->on_read(file->files->userdata);
}

static void on_seen(void *userdata, int r, const struct error *why)
{
	struct ca_file *file = userdata;
	struct error err = *why;
	char *text = NULL;
	size_t n = 0;

	file->errand = NULL;
	file->late = false;
	if (r >= 0) {
		r = read_text(file, &text, &n, &err);
		/* It has answered: what was there is there no more. */
		free(file->text);
		file->text = text;
		file->n = n;
		file->read_ms = file->sent_ms;
	}
	settle(file, r, &err);
}

static void on_late(void *userdata, const struct error *why)
{
	struct ca_file *file = userdata;

	file->late = true;
	settle(file, -ETIMEDOUT, why);
}

static int send_helper(struct ca_file *file, struct error *err)
{
	const struct errand_spec spec = {
		.look = look, .on_seen = on_seen, .on_late = on_late, .userdata = file};

	if (file->errand)
		return 0;
	file->sent_ms = clock_monotonic_ms();
	return errand_start(file->files->event, &spec, &file->errand, err);
}

/* ---- asking --------------------------------------------------------------------------------- */

static void make_room(struct ca_files *files)
{
	struct ca_file *oldest = files->first;

	for (struct ca_file *file = files->first; file; file = file->next)
		if (file->last_asked_ms < oldest->last_asked_ms)
			oldest = file;
	remove_file(files, oldest);
}

static struct ca_file *file_at(struct ca_files *files, const char *path)
{
	struct ca_file *file = files->first;

	while (file && strcmp(file->path, path) != 0)
		file = file->next;
	if (file)
		return file;
	if (files->n == CA_FILES_MAX)
		make_room(files);
	file = calloc(1, sizeof(*file));
	if (file)
		file->path = strdup(path);
	if (!file || !file->path) {
		free(file);
		return NULL;
	}
	file->files = files;
	file->next = files->first;
	files->first = file;
	files->n++;
	return file;
}

static int answer(const struct ca_file *file, const char **ret, size_t *ret_n)
{
	*ret = file->text;
	*ret_n = file->n;
	return 1;
}

int ca_files_get(struct ca_files *files, const char *path, uint64_t asked_ms, uint64_t since_ms,
		 const char **ret, size_t *ret_n, struct error *err)
{
	struct ca_file *file = file_at(files, path);
	int r;

	if (!file)
		return error_set(err, -ENOMEM, "%s", path);
	file->last_asked_ms = clock_monotonic_ms();
	if (file->text && file->read_ms >= since_ms) {
		/* If that fails it is tried again with the next check. */
		if (file->last_asked_ms - file->read_ms >= CA_FILES_FRESH_MS)
			(void)send_helper(file, err);
		return answer(file, ret, ret_n);
	}
	r = file->late || file->tried_ms >= asked_ms ? file->r : 0;
	if (r == 0)
		r = send_helper(file, err);
	else
		*err = file->why;
	return r < 0 && file->text ? answer(file, ret, ret_n) : r;
}
