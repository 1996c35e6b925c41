/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client: speaks HTTP + JSON to batond over its unix socket. This is the only module of the command
 * line that uses libcurl (easy interface). It never uses a proxy, a redirect or the network.
 *
 * Every function returns CLI_DONE, or the exit status that the program should end with:
 * CLI_UNREACHABLE if there is no daemon or the connection breaks, CLI_BUSY if there is one that has
 * no time, the "code" of the problem document if there is one, else CLI_ERROR. @err then says why,
 * in a sentence for the user.
 *
 * A daemon that is busy (503 with Retry-After, or it hangs up before it has the request) has not
 * begun anything: it is asked again, for at most CLI_BUSY_MS.
 *
 * Connecting takes at most CLI_CONNECT_TIMEOUT_MS, a plain request CLI_ANSWER_TIMEOUT_MS. An answer
 * has at most CLI_ANSWER_MAX bytes, one line of a stream CLI_LINE_MAX.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/exit.h"
#include "common/cleanup.h"
#include "common/error.h"

#define CLI_CONNECT_TIMEOUT_MS 5000
#define CLI_ANSWER_TIMEOUT_MS  30000
#define CLI_RETRY_MS           100
#define CLI_BUSY_MS            10000
#define CLI_ANSWER_MAX         (64 * 1024 * 1024) /* 100,000 connections take 30 MiB */
#define CLI_LINE_MAX           (1024 * 1024)

struct cli_client;

/*
 * Make a client for the daemon called @name on @socket_path; @name is only used in messages.
 * Nothing is sent yet: only a request finds out whether the daemon is there.
 */
enum cli_exit cli_client_new(const char *name, const char *socket_path, struct cli_client **ret,
			     struct error *err);

/*
 * Make a client for the daemon called @name on this host. NULL: the name in the environment, or the
 * default. If the user has no such daemon, but root has, it is for root's. CLI_USAGE for a bad
 * name.
 */
enum cli_exit cli_client_find(const char *name, struct cli_client **ret, struct error *err);

void cli_client_free(struct cli_client *client);
DEFINE_CLEANUP(struct cli_client *, cli_client_free);

/* The daemon's name, borrowed. */
const char *cli_client_name(const struct cli_client *client);

/* GET @path. *ret is a new reference; NULL after an error. */
enum cli_exit cli_client_get(struct cli_client *client, const char *path, json_t **ret,
			     struct error *err);

/*
 * The problem document (RFC 9457) with which the last request was refused. NULL if it was not
 * refused, or without such a document. Borrowed until the next request.
 */
const json_t *cli_client_problem(const struct cli_client *client);

/* POST @body (NULL: nothing) to @path. *ret is a new reference; NULL after an error. */
enum cli_exit cli_client_post(struct cli_client *client, const char *path, const json_t *body,
			      json_t **ret, struct error *err);

/*
 * Wait until the daemon answers again, at most @timeout_ms; false: it does not. For whoever has
 * lost it: it may be started anew.
 */
bool cli_client_wait(struct cli_client *client, uint64_t timeout_ms);

/*
 * GET @path, a stream of JSON objects, one a line. Call @on_event for each (borrowed) until it
 * returns false or the stream ends: both are CLI_DONE. A stream that breaks is CLI_UNREACHABLE.
 */
enum cli_exit cli_client_follow(struct cli_client *client, const char *path,
				bool (*on_event)(void *userdata, const json_t *event),
				void *userdata, struct error *err);
