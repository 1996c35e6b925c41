/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run_config: "baton run ..." as a configuration. Pure.
 *
 * Only what a configuration could not say is checked here (text that is no UTF-8, NAME=value
 * without "="): addresses, durations and the rest are refused by batond in the same words as those
 * of a file.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

#define CLI_RUN_LISTEN_MAX      16
#define CLI_RUN_ENVIRONMENT_MAX 256
#define CLI_SERVICE_MAX         64

/* Texts are borrowed; NULL or 0: not given. */
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
 * The service's name where none is given: the last component of @command with everything but
 * [A-Za-z0-9_] as single "-" ("/srv/my.server" -> "my-server"); "service" where nothing is left.
 */
char *cli_run_service_name(const char *command, char buffer[static CLI_SERVICE_MAX]);

/*
 * Put the @options' environment into @object as its member "environment", {"NAME": "value"}, where
 * there is any; of a NAME given twice the last value counts. -EINVAL with a reason where one is not
 * NAME=VALUE (VALUE may be empty; NAME is not, and has no control characters in it).
 */
int cli_run_environment(const struct cli_run_options *options, json_t *object, struct error *err);

/*
 * The configuration, as a new reference. @directory is where the user is; @command is
 * NULL-terminated and not empty. -EINVAL with a reason for the user.
 */
int cli_run_config(const struct cli_run_options *options, const char *directory,
		   char *const *command, json_t **ret, struct error *err);
