/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * options: the command line, taken apart.
 *
 *	baton [OPTIONS] WORD [OPTIONS] [ARGUMENTS] [-- COMMAND...]
 *
 * Options may stand before and after the word; everything after "--" is a command and left
 * untouched. Which words there are is the caller's business, so options that only some of them
 * take are recorded by group for it to check.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/run_config.h"
#include "common/error.h"

#define CLI_ARGUMENTS_MAX 8
#define CLI_LIMIT_MAX     100000 /* what the daemon tells at once */

enum cli_option_group {
	CLI_OPTIONS_GENERAL, /* good for every command */
	CLI_OPTIONS_RUN,
	CLI_OPTIONS_EVENTS,
	CLI_OPTIONS_CONNECTIONS,
	CLI_OPTIONS_ENVIRONMENT, /* --env */
	CLI_OPTIONS_FORCE,
	CLI_OPTIONS_SUPERSEDE,
	_CLI_OPTIONS_GROUP_COUNT,
};

struct cli_options {
	const char *name; /* NULL: from the environment, or the default */
	bool json;
	bool no_wait;
	bool quiet;
	bool help;

	bool follow;
	bool has_since;
	uint64_t since;
	bool has_limit;
	uint64_t limit; /* at most CLI_LIMIT_MAX */
	bool force;
	bool supersede;
	struct cli_run_options run; /* of other commands: .environment alone */

	const char *used[_CLI_OPTIONS_GROUP_COUNT]; /* one that was used: "--listen", or NULL */

	const char *word; /* NULL: none */
	const char *arguments[CLI_ARGUMENTS_MAX];
	size_t n_arguments;
	char **command; /* what follows "--", NULL-terminated; NULL where there is no "--" */
};

/* Decimal digits and nothing else: -EINVAL; at most @max: -ERANGE. */
int cli_options_number(const char *text, uint64_t max, uint64_t *ret);

/*
 * Texts stay those of @argv. -EINVAL with a reason. Uses getopt_long(3) and so its variables: not
 * for two threads at a time.
 */
int cli_options_parse(int argc, char **argv, struct cli_options *ret, struct error *err);
