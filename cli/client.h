/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client: speaks HTTP + JSON to batond over its unix socket. The one module of the command line
 * that uses libcurl (easy interface). Proxies, redirects and the network are never used.
 *
 * Every function returns the exit status that the program should end with where things go wrong:
 * CLI_UNREACHABLE where no daemon answers or the connection breaks, the "code" of a problem
 * document, otherwise CLI_ERROR. @err then says why, in a sentence for the user.
 *
 * Bounds: connecting takes at most CLI_CONNECT_TIMEOUT_MS, a plain request CLI_ANSWER_TIMEOUT_MS;
 * an answer is at most CLI_ANSWER_MAX bytes, one line of a stream CLI_LINE_MAX.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "cli/exit.h"
#include "common/cleanup.h"
#include "common/error.h"

#define CLI_CONNECT_TIMEOUT_MS 5000
#define CLI_ANSWER_TIMEOUT_MS  30000
#define CLI_ANSWER_MAX         (64 * 1024 * 1024) /* 100,000 connections come to 30 */
#define CLI_LINE_MAX           (1024 * 1024)

struct cli_client;

/*
 * Be ready to speak to the daemon called @name (only used in messages) on @socket_path. Nothing is
 * sent yet: a daemon that is not there is found by the first request.
 */
enum cli_exit cli_client_new(const char *name, const char *socket_path, struct cli_client **ret,
			     struct error *err);

/*
 * The same for the daemon called @name on this host (NULL: from the environment, or the default;
 * CLI_USAGE for a bad name). A user who has no such daemon speaks to root's, where there is one.
 */
enum cli_exit cli_client_find(const char *name, struct cli_client **ret, struct error *err);

void cli_client_free(struct cli_client *client);
DEFINE_CLEANUP(struct cli_client *, cli_client_free);

/* The daemon's name; the client's. */
const char *cli_client_name(const struct cli_client *client);

/* @ret is a new reference. */
enum cli_exit cli_client_get(struct cli_client *client, const char *path, json_t **ret,
			     struct error *err);

/*
 * The problem document (RFC 9457) that the last request was refused with; NULL where it was not, or
 * not with one. Borrowed, until the next request.
 */
const json_t *cli_client_problem(const struct cli_client *client);

/* @body may be NULL: none. @ret is a new reference. */
enum cli_exit cli_client_post(struct cli_client *client, const char *path, const json_t *body,
			      json_t **ret, struct error *err);

/*
 * Read a stream of JSON objects, one a line, and call @on_event for each (borrowed) until it
 * returns false or the stream ends: both are CLI_DONE. A stream that breaks is CLI_UNREACHABLE.
 */
enum cli_exit cli_client_follow(struct cli_client *client, const char *path,
				bool (*on_event)(void *userdata, const json_t *event),
				void *userdata, struct error *err);
