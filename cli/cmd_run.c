/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * "baton run ... -- COMMAND...": a configuration made of the command line, and batond in the
 * foreground in this process's place. Signals, terminal and pid are batond's from then on.
 */
#include "cli/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/paths.h"

/* A memfd that nobody changes any more, and that survives exec. */
static int config_to_memfd(const json_t *config, struct error *err)
{
	cleanup_close int fd = -1;
	cleanup_free char *text = json_dumps(config, JSON_INDENT(2));
	size_t length, done = 0;

	if (!text)
		return error_set(err, -ENOMEM, "configuration");
	fd = memfd_create("baton-run", MFD_ALLOW_SEALING);
	if (fd < 0)
		return error_set(err, -errno, "memfd_create");
	length = strlen(text);
	while (done < length) {
		ssize_t n = write(fd, text + done, length - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, -errno, "configuration");
		done += (size_t)n;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) < 0)
		return error_set(err, -errno, "configuration");
	return TAKE_FD(fd);
}

/* Only returns where exec failed. */
static int exec_batond(const char *name, int fd, struct error *err)
{
	char program[PATH_MAX];
	char file[32];
	const char *argv[] = {"batond", "--run", "-n", name, "-c", file, NULL};
	int r;

	r = paths_program("batond", program, sizeof(program), err);
	if (r < 0)
		return r;
	snprintf(file, sizeof(file), "/proc/self/fd/%d", fd);
	fflush(stdout);
	execv(program, (char *const *)argv);
	return error_set(err, -errno, "%s", program);
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
		exec_batond(paths.name, fd, err);
	return CLI_ERROR;
}
