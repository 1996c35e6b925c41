/* SPDX-License-Identifier: BSD-2-Clause */
/* "baton events [SERVICE] [-f] [--since SEQ]" */
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/print_event.h"

struct stream {
	bool json;
	struct print to;
};

static bool on_event(void *userdata, const json_t *event)
{
	const struct stream *stream = userdata;

	if (stream->json) {
		json_dumpf(event, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		print_event(&stream->to, event);
	}
	/* If the reader has gone (head, less), stop; that is no error. */
	return fflush(stdout) == 0;
}

enum cli_exit cmd_events(const struct cli_options *options, struct error *err)
{
	cleanup(cli_client_free) struct cli_client *client = NULL;
	struct stream stream = {.json = options->json, .to = cmd_stdout()};
	char filter[CLI_SERVICE_MAX + 16] = "";
	char since[40] = "";
	char name[CLI_SERVICE_MAX];
	char path[192];
	enum cli_exit r;

	r = cli_client_find(options->name, &client, err);
	if (r != CLI_DONE)
		return r;
	if (options->n_arguments) {
		r = cmd_service(options, client, name, err);
		if (r != CLI_DONE)
			return r;
		snprintf(filter, sizeof(filter), "&service=%s", name);
	}
	/*
	 * Without -f all events that the daemon keeps; with it, as with tail -f, those that come.
	 */
	if (options->has_since || !options->follow)
		snprintf(since, sizeof(since), "&since=%" PRIu64, options->since);
	snprintf(path, sizeof(path), "/v1/events?follow=%d%s%s", options->follow, since, filter);
	r = cli_client_follow(client, path, on_event, &stream, err);
	if (r == CLI_DONE && options->follow && !ferror(stdout))
		r = error_text(err, CLI_UNREACHABLE,
			       "the daemon called \"%s\" ended the connection",
			       cli_client_name(client));
	return r;
}
