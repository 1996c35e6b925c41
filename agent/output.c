/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/output.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "common/expand.h"
#include "common/log.h"
#include "common/path_open.h"

struct output {
	struct relay *relay;
	const struct launch_spec *spec;
	const struct process_settings *settings; /* the specification's */
	const struct as_user *user;
	char *paths[_RELAY_STREAM_COUNT]; /* of files, without placeholders; NULL: not opened yet */
	int fds[_RELAY_STREAM_COUNT];     /* -1: not open (yet), or the agent's own is used */
	bool trouble_said[_RELAY_STREAM_COUNT];
};

static const char *const stream_names[] = {
	[RELAY_STDOUT] = "stdout",
	[RELAY_STDERR] = "stderr",
};

/* ---- opening -------------------------------------------------------------------------------- */

static int open_file(const struct output *output, const char *path, int *ret_fd, struct error *err)
{
	int fd = path_open(path, PATH_APPEND, output->user, err);

	if (fd < 0)
		return error_prefix(err, fd, "%s", path);
	*ret_fd = fd;
	return 0;
}

static int open_journal(const char *service, enum relay_stream which, int *ret_fd,
			struct error *err)
{
	int priority = which == RELAY_STDERR ? LOG_ERR : LOG_INFO;
	int fd = sd_journal_stream_fd(service, priority, true);

	if (fd < 0)
		return error_set(err, fd, "no journal can be reached here");
	*ret_fd = fd;
	return 0;
}

static int find_path(struct output *output, enum relay_stream which)
{
	const struct expand_values values = {
		.generation = output->spec->generation,
		.instance = output->spec->instance,
		.stay = EXPAND_FDS,
	};

	free(TAKE_PTR(output->paths[which]));
	return expand(output->settings->output_path[which], &values, &output->paths[which]);
}

static int open_sink(struct output *output, enum relay_stream which, int *ret_fd, struct error *err)
{
	int r;

	assert(output->settings->output[which] != OUTPUT_THROUGH);
	if (output->settings->output[which] == OUTPUT_JOURNAL)
		r = open_journal(output->spec->service, which, ret_fd, err);
	else if ((r = find_path(output, which)) < 0)
		error_set(err, r, "%s", output->settings->output_path[which]);
	else
		r = open_file(output, output->paths[which], ret_fd, err);
	return r < 0 ? error_prefix(err, r, "%s", stream_names[which]) : 0;
}

/* Open the new sink first: if that fails, the old one stays. */
static int replace_sink(struct output *output, enum relay_stream which, struct error *err)
{
	cleanup_close int fd = -1;
	int r;

	r = open_sink(output, which, &fd, err);
	if (r == 0)
		r = relay_redirect(output->relay, which, fd, err);
	if (r < 0)
		return r;
	if (output->fds[which] >= 0)
		close(output->fds[which]);
	output->fds[which] = TAKE_FD(fd);
	return 0;
}

int output_open(struct output *output, struct error *err)
{
	for (int k = 0; k < _RELAY_STREAM_COUNT; k++) {
		int r;

		if (output->settings->output[k] == OUTPUT_THROUGH || output->fds[k] >= 0)
			continue;
		r = replace_sink(output, (enum relay_stream)k, err);
		if (r < 0)
			return r;
	}
	return 0;
}

void output_reopen(struct output *output, struct output_reopened *ret)
{
	struct error err;

	*ret = (struct output_reopened){};
	/* The output that is in the pipes was written before, so the old files get it. */
	relay_read(output->relay);
	for (int k = 0; k < _RELAY_STREAM_COUNT; k++) {
		if (output->settings->output[k] != OUTPUT_FILE || output->fds[k] < 0)
			continue;
		ret->files++;
		if (replace_sink(output, (enum relay_stream)k, &err) == 0)
			continue;
		log_error("reopen: %s; the old file stays in use", err.text);
		snprintf(ret->failure[k], sizeof(ret->failure[k]), "%s", err.text);
	}
}

/* ---- trouble -------------------------------------------------------------------------------- */

static const char *sink_name(const struct output *output, enum relay_stream which)
{
	switch (output->settings->output[which]) {
	case OUTPUT_FILE:
		return output->paths[which];
	case OUTPUT_JOURNAL:
		return "the journal";
	default:
		return "the agent's own";
	}
}

/* A sink that is not merely full does not recover by itself: a journal's socket, for example. */
static bool is_broken(int error)
{
	return error != 0 && error != ENOSPC && error != EDQUOT && error != EFBIG;
}

static void on_stuck(enum relay_stream which, int error, void *userdata)
{
	struct output *output = userdata;
	const char *name = sink_name(output, which);

	if (!error)
		log_info("%s: %s: is written to again", stream_names[which], name);
	else if (!output->trouble_said[which])
		log_error("%s: %s: %s; output waits, and what is more than %d KiB is lost",
			  stream_names[which], name, strerror(error), RELAY_PENDING_MAX / 1024);
	output->trouble_said[which] = error != 0;
	if (output->fds[which] >= 0 && is_broken(error))
		(void)replace_sink(output, which, NULL);
}

/* ---- making and ending ---------------------------------------------------------------------- */

int output_new(struct relay *relay, const struct launch_spec *spec, const struct as_user *user,
	       struct output **ret, struct error *err)
{
	struct output *output = calloc(1, sizeof(*output));

	if (!output)
		return error_set(err, -ENOMEM, "output");
	output->relay = relay;
	output->spec = spec;
	output->settings = &spec->process;
	output->user = user;
	for (int k = 0; k < _RELAY_STREAM_COUNT; k++)
		output->fds[k] = -1;
	relay_watch_stuck(relay, on_stuck, output);
	*ret = output;
	return 0;
}

void output_free(struct output *output)
{
	if (!output)
		return;
	for (int k = 0; k < _RELAY_STREAM_COUNT; k++) {
		if (output->fds[k] >= 0)
			close(output->fds[k]);
		free(output->paths[k]);
	}
	free(output);
}
