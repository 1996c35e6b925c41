/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * "baton check [FILE]": batond reads the file, or a folder, or without either what it would read at
 * its start, and says what is wrong.
 * "baton doctor": batond tries what it needs of the kernel, and says what works; with --clean it
 * says what one that was killed has left, and removes it.
 */
#include "cli/batond.h"
#include "cli/commands.h"

/* Become "batond OPTION [FILE]". @file may be NULL. */
static enum cli_exit run_batond(const struct cli_options *options, const char *option,
				const char *file, struct error *err)
{
	const char *argv[5];
	size_t n = 0;

	argv[n++] = "batond";
	if (options->json)
		argv[n++] = "--json";
	argv[n++] = option;
	argv[n++] = file;
	argv[n] = NULL;
	cli_exec_batond(argv, err);
	return CLI_ERROR;
}

enum cli_exit cmd_check(const struct cli_options *options, struct error *err)
{
	return run_batond(options, "--check", options->arguments[0], err);
}

static enum cli_exit clean(const struct cli_options *options, struct error *err)
{
	const char *argv[8];
	size_t n = 0;

	argv[n++] = "batond";
	argv[n++] = "--clean";
	if (options->name) {
		argv[n++] = "-n";
		argv[n++] = options->name;
	}
	if (options->yes)
		argv[n++] = "--yes";
	if (options->state)
		argv[n++] = "--state";
	if (options->json)
		argv[n++] = "--json";
	argv[n] = NULL;
	cli_exec_batond(argv, err);
	return CLI_ERROR;
}

enum cli_exit cmd_doctor(const struct cli_options *options, struct error *err)
{
	if (options->clean)
		return clean(options, err);
	if (options->yes || options->state)
		return error_text(err, CLI_USAGE, "--%s belongs to --clean: baton doctor --clean",
				  options->yes ? "yes" : "state");
	return run_batond(options, "--doctor", NULL, err);
}
