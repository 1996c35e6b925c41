/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * "baton run ... -- COMMAND...": turns the command line into a configuration, and becomes batond
 * with that in the foreground.
 */
#include "cli/batond.h"
#include "cli/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/memory_file.h"
#include "common/paths.h"

/* @config as a file that survives exec. Returns the descriptor or a negative errno. */
static int config_to_file(const json_t *config, struct error *err)
{
	cleanup_free char *text = json_dumps(config, JSON_INDENT(2));
	int r, fd;

	if (!text)
		return error_set(err, -ENOMEM, "write the configuration for batond");
	r = memory_file_make("baton-run", text, strlen(text), true, NULL, &fd, err);
	return r < 0 ? r : fd;
}

/* Become batond, which reads its configuration from @fd. */
static void run_batond(const char *name, int fd, struct error *err)
{
	char file[32];
	const char *argv[] = {"batond", "--run", "-n", name, "-c", file, NULL};

	snprintf(file, sizeof(file), "/proc/self/fd/%d", fd);
	cli_exec_batond(argv, err);
}

enum cli_exit cmd_run(const struct cli_options *options, struct error *err)
{
	cleanup_free char *directory = NULL;
	cleanup_close int fd = -1;
	struct paths paths;
	json_t *config;

	if (!options->command || !options->command[0])
		return error_text(err, CLI_USAGE,
				  "no command to run: put it after \"--\", for example\n"
				  "    baton run --listen 127.0.0.1:8080 -- ./server");
	if (paths_init(options->name, &paths, err) < 0)
		return CLI_USAGE;
	if (options->run.service && paths_check_name(options->run.service, err) < 0)
		return error_prefix(err, CLI_USAGE, "--service");
	directory = getcwd(NULL, 0);
	if (!directory) {
		error_set(err, -errno, "working directory");
		return CLI_ERROR;
	}
	if (cli_run_config(&options->run, directory, options->command, &config, err) < 0)
		return CLI_USAGE;
	fd = config_to_file(config, err);
	json_decref(config);
	if (fd >= 0)
		run_batond(paths.name, fd, err);
	return CLI_ERROR;
}
