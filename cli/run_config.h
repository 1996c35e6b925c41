/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run_config: turns the options of "baton run" into a configuration. Pure.
 *
 * It checks only what a configuration could not express: text that is not UTF-8, or NAME=value
 * without "=". batond refuses wrong addresses, durations and everything else, in the same words as
 * those of a file.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

#define CLI_RUN_LISTEN_MAX      16
#define CLI_RUN_ENVIRONMENT_MAX 256
#define CLI_SERVICE_MAX         64

/* Texts are borrowed. An option that is not given is NULL, 0 or false. */
struct cli_run_options {
	const char *listen[CLI_RUN_LISTEN_MAX];
	size_t n_listen;
	const char *health; /* path */
	bool notify;
	bool nonblocking;
	unsigned instances;
	const char *mode;     /* "auto", "inherit", "native", "transparent" */
	const char *steering; /* "auto", "ebpf", "cbpf", "hash" */
	const char *hold;     /* duration */
	const char *service;
	const char *drain_signal;
	const char *drain_timeout;
	const char *start_timeout;
	const char *environment[CLI_RUN_ENVIRONMENT_MAX]; /* "NAME=value" */
	size_t n_environment;
};

/*
 * The service's name if none is given: the last part of the path @command, in which a "-" replaces
 * all but [A-Za-z0-9_]: "/srv/my.server" gives "my-server". "service" if nothing is left. Returns
 * @buffer.
 */
char *cli_run_service_name(const char *command, char buffer[static CLI_SERVICE_MAX]);

/*
 * Add the member "environment", {"NAME": "value"}, to @object if the options have any. If a NAME is
 * given twice, the last value counts. Returns 0 or a negative errno; -EINVAL with a reason if one
 * is not NAME=VALUE. VALUE may be empty; NAME may not, and has no control characters.
 */
int cli_run_environment(const struct cli_run_options *options, json_t *object, struct error *err);

/*
 * Make the configuration; *ret is a new reference. @directory is the user's working directory.
 * @command is NULL-terminated and not empty. Returns 0 or a negative errno, with a reason for the
 * user.
 */
int cli_run_config(const struct cli_run_options *options, const char *directory,
		   char *const *command, json_t **ret, struct error *err);
