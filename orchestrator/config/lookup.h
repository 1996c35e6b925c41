/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lookup: where on this host the parts of a service's configuration lead: its program, its
 * directory, its environment. Used to check a configuration, and again for each release, since
 * links, files and PATH may have changed by then.
 */
#pragma once

#include <stdint.h>

#include "common/error.h"

struct service_config;

/*
 * The real path of the service's directory: the configured one; else the daemon's current one if
 * environment_inherit is set; else "/". If it has placeholders that is so for the folder in front
 * of them, and the rest follows as it is. -ENOENT, -ENOTDIR, -EACCES.
 */
int lookup_directory(const struct service_config *service, char **ret, struct error *err);

/*
 * The environment of the service's generation @generation, sorted; a new vector. 0: the number is
 * not known, so an environment file whose path has a placeholder is left out. Errors as of
 * environment_add_file().
 */
int lookup_environment(const struct service_config *service, uint32_t generation, char ***ret,
		       struct error *err);

/*
 * The real path of the program @name. A name without "/" is searched in the PATH of @environment;
 * empty and relative entries of PATH count from @directory, and so does a relative path, which is
 * refused if @directory has placeholders. It must be
 * a regular file that the daemon may execute; whether the service's user may, only the kernel can
 * say when the time comes. -ENOENT, -EACCES, or what stat(2) says; @err says what was looked at.
 */
int lookup_executable(const char *name, const char *directory, char *const *environment, char **ret,
		      struct error *err);
