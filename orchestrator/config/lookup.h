/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lookup: where on this host the parts of a service's configuration lead: its program, its
 * directory, its environment. Used to check a configuration, and again for each release, since
 * links, files and PATH may have changed by then.
 */
#pragma once

#include "common/error.h"
#include "orchestrator/config/config.h"

/*
 * The real path of the service's directory: the configured one, else the daemon's current one where
 * environment_inherit is set, else "/". -ENOENT, -ENOTDIR, -EACCES.
 */
int lookup_directory(const struct service_config *service, char **ret, struct error *err);

/* The service's whole environment, sorted; a new vector. Errors as of environment_add_file(). */
int lookup_environment(const struct service_config *service, char ***ret, struct error *err);

/*
 * The real path of the program @name. With a "/" in it, it is relative to @directory unless it
 * starts with one; without, it is searched in the PATH of @environment (empty and relative entries
 * count from @directory). It must be a regular file that the daemon may execute: whether the
 * service's user may, only the kernel can say when the time comes. -ENOENT, -EACCES, and what
 * stat(2) says, with what was looked at in @err.
 */
int lookup_executable(const char *name, const char *directory, char *const *environment,
		       char **ret, struct error *err);
