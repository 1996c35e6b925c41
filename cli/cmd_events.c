/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * "baton events [SERVICE] [-f] [--since [EPOCH:]SEQ]". Who follows goes on after a new batond has
 * taken the place of the old one, with what comes after the last event that was shown.
 */
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/print_event.h"

#define RETURN_MS 30000 /* how long a daemon that has gone is waited for */

struct stream {
	bool json;
	struct print to;
	char epoch[CLI_EPOCH_MAX]; /* of .seq; "": the daemon does not say */
	long long seq;             /* the last number that was seen; -1: none */
};

static void note_place(struct stream *stream, const json_t *from)
{
	const char *epoch = print_member(from, "epoch");

	if (print_number(from, "seq") < 0 || strlen(epoch) >= sizeof(stream->epoch))
		return;
	stream->seq = print_number(from, "seq");
	strcpy(stream->epoch, epoch);
}

static bool on_event(void *userdata, const json_t *event)
{
	struct stream *stream = userdata;

	note_place(stream, event);
	if (stream->json) {
		json_dumpf(event, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		print_event(&stream->to, event);
	}
	/* If the reader has gone (head, less), stop; that is no error. */
	return fflush(stdout) == 0;
}

/* From where on? Without -f all that the daemon keeps; with it, as with tail -f, what comes. */
static enum cli_exit find_place(const struct cli_options *options, struct cli_client *client,
				struct stream *stream, struct error *err)
{
	enum cli_exit r;
	json_t *version;

	stream->seq = -1;
	if (options->has_since || !options->follow) {
		stream->seq = (long long)options->since;
		memcpy(stream->epoch, options->epoch, sizeof(stream->epoch));
		return CLI_DONE;
	}
	r = cli_client_get(client, "/v1/version", &version, err);
	if (r != CLI_DONE)
		return r;
	note_place(stream, version);
	json_decref(version);
	return CLI_DONE;
}

static enum cli_exit follow(const struct cli_options *options, struct cli_client *client,
			    const char *service, struct stream *stream, struct error *err)
{
	char path[96 + CLI_SERVICE_MAX + CLI_EPOCH_MAX];
	int n = snprintf(path, sizeof(path), "/v1/events?follow=%d", options->follow);

	/* An older daemon does not know epochs, nor tells where it is. */
	if (stream->seq >= 0)
		n += snprintf(path + n, sizeof(path) - (size_t)n, "&since=%s%s%lld", stream->epoch,
			      stream->epoch[0] ? ":" : "", stream->seq);
	if (service[0])
		snprintf(path + n, sizeof(path) - (size_t)n, "&service=%s", service);
	return cli_client_follow(client, path, on_event, stream, err);
}

/* Has the daemon gone, and come back? */
static bool is_back(const struct cli_options *options, struct cli_client *client,
		    const struct stream *stream, enum cli_exit r)
{
	if (!options->follow || ferror(stdout) || stream->seq < 0 ||
	    (r != CLI_DONE && r != CLI_UNREACHABLE))
		return false;
	if (!options->quiet)
		fprintf(stderr,
			"baton: the daemon called \"%s\" has gone; it is waited for up to %d s\n",
			cli_client_name(client), RETURN_MS / 1000);
	return cli_client_wait(client, RETURN_MS);
}

enum cli_exit cmd_events(const struct cli_options *options, struct error *err)
{
	cleanup(cli_client_free) struct cli_client *client = NULL;
	struct stream stream = {.json = options->json, .to = cmd_stdout()};
	char service[CLI_SERVICE_MAX] = "";
	enum cli_exit r;

	r = cli_client_find(options->name, &client, err);
	if (r == CLI_DONE && options->n_arguments)
		r = cmd_service(options, client, service, err);
	if (r == CLI_DONE)
		r = find_place(options, client, &stream, err);
	if (r != CLI_DONE)
		return r;
	do
		r = follow(options, client, service, &stream, err);
	while (is_back(options, client, &stream, r));
	if (r == CLI_DONE && options->follow && !ferror(stdout))
		r = error_text(err, CLI_UNREACHABLE,
			       "the daemon called \"%s\" ended the connection",
			       cli_client_name(client));
	return r;
}
