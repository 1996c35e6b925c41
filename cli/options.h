/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * options: takes the command line apart.
 *
 *	baton [OPTIONS] WORD [OPTIONS] [ARGUMENTS] [-- COMMAND...]
 *
 * Options may stand before and after the word. Everything after "--" is a command and stays
 * untouched. The caller knows the words, and which options each of them takes. So the options that
 * were used are recorded by group, and the caller checks the groups.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/run_config.h"
#include "common/error.h"

#define CLI_ARGUMENTS_MAX 8
#define CLI_LIMIT_MAX     100000 /* so many connections the daemon tells at once */

enum cli_option_group {
	CLI_OPTIONS_GENERAL, /* every command takes them */
	CLI_OPTIONS_RUN,
	CLI_OPTIONS_EVENTS,
	CLI_OPTIONS_CONNECTIONS,
	CLI_OPTIONS_ENVIRONMENT, /* --env */
	CLI_OPTIONS_FORCE,
	CLI_OPTIONS_SUPERSEDE,
	CLI_OPTIONS_RESET,
	CLI_OPTIONS_DRY_RUN,
	CLI_OPTIONS_UNSET,
	CLI_OPTIONS_CLEAN, /* of "doctor" */
	_CLI_OPTIONS_GROUP_COUNT,
};

#define CLI_EPOCH_MAX 17 /* 16 hexadecimal digits */

struct cli_options {
	const char *name; /* NULL: from the environment, or the default */
	bool json;
	bool no_wait;
	bool quiet;
	bool help;

	bool follow;
	bool has_since;
	char epoch[CLI_EPOCH_MAX]; /* that .since is of; "": not said */
	uint64_t since;
	bool has_limit;
	uint64_t limit; /* at most CLI_LIMIT_MAX */
	bool force;
	bool supersede;
	bool reset;
	bool dry_run;
	bool clean, yes, state;
	const char *unset[CLI_RUN_ENVIRONMENT_MAX];
	size_t n_unset;
	struct cli_run_options run; /* of "run"; .environment is also of other commands */

	const char *used[_CLI_OPTIONS_GROUP_COUNT]; /* one that was used ("--listen"); NULL: none */

	const char *word; /* NULL: none */
	const char *arguments[CLI_ARGUMENTS_MAX];
	size_t n_arguments;
	char **command; /* what follows "--", NULL-terminated; NULL: there is no "--" */
};

/* Parse a number. -EINVAL if there is anything but decimal digits, -ERANGE if it is above @max. */
int cli_options_number(const char *text, uint64_t max, uint64_t *ret);

/*
 * Parse the command line. The texts in *ret are borrowed from @argv. Returns 0, or -EINVAL with a
 * reason for the user. It uses getopt_long(3) with its global variables: not for two threads at a
 * time.
 */
int cli_options_parse(int argc, char **argv, struct cli_options *ret, struct error *err);
