/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * history_file: a service's history (history.h) in a file of its own, beside state.json, so that it
 * outlives the daemon. A release that is read back runs exactly as it did: program, command,
 * environment, directory, user, process settings and resources are in the file. Its checks and
 * policies are not: they are those of the configuration.
 *
 * The file has a version ({"version": 1, "releases": [...]}), at most HISTORY_MAX releases, and
 * HISTORY_FILE_MAX bytes: what does not fit is left out, oldest first. It is written to a temporary
 * file, fsync'ed and renamed over the old one, with mode 0600: environments are secrets.
 */
#pragma once

#include "common/error.h"
#include "common/paths.h"
#include "orchestrator/host/kept_file.h"
#include "orchestrator/service/history.h"

#define HISTORY_FILE_MAX (2 * 1024 * 1024)

/* "/var/lib/NAME/history/SERVICE.json" */
void history_file_path(const struct paths *paths, const char *service, char ret[static PATHS_MAX]);

/*
 * Read @path into @ret, which is empty. *ret stays empty if the file does not exist. A file that is
 * damaged, too large, of a later version or no file at all is moved aside (file_move_aside()), and
 * the error (-EBADMSG) says so; -ENOMEM moves nothing. Single releases that make no sense are left
 * out. @config: of the service; its policies.
 */
int history_file_read(const char *path, const struct service_config *config, struct history *ret,
		      struct error *err);

/* Only for a helper (errand.h): what history_file_read() will ask of the file is asked. */
void history_file_look(const char *path);

/*
 * Write it to @file, which is that of history_file_path(). That it cannot be written yet is no
 * failure (kept_file.h). -ENOMEM.
 */
int history_file_write(struct kept_file *file, const struct history *history, struct error *err);
