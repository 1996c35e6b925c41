/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * "baton run ... -- COMMAND...": turns the command line into a configuration, and becomes batond
 * with that in the foreground.
 */
#include "cli/batond.h"
#include "cli/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/paths.h"

/*
 * Write @config into a sealed memfd that survives exec. Returns the descriptor or a negative errno.
 */
static int config_to_memfd(const json_t *config, struct error *err)
{
	cleanup_close int fd = -1;
	cleanup_free char *text = json_dumps(config, JSON_INDENT(2));
	size_t length, done = 0;

	if (!text)
		return error_set(err, -ENOMEM, "write the configuration for batond");
	fd = memfd_create("baton-run", MFD_ALLOW_SEALING);
	if (fd < 0)
		return error_set(err, -errno, "make a file in memory for batond's configuration");
	length = strlen(text);
	while (done < length) {
		ssize_t n = write(fd, text + done, length - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, -errno, "write the configuration for batond");
		done += (size_t)n;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) < 0)
		return error_set(err, -errno, "write the configuration for batond");
	return TAKE_FD(fd);
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
	fd = config_to_memfd(config, err);
	json_decref(config);
	if (fd >= 0)
		run_batond(paths.name, fd, err);
	return CLI_ERROR;
}
