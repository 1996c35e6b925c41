/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * environment: lists of "NAME=value", and the files they are read from.
 *
 * A file has NAME=value lines in the manner of systemd's EnvironmentFile= and of shells:
 *
 *	# comment, ; comment
 *	PORT=8080
 *	export GREETING="hello \"world\""
 *	PATTERN='\d+ as it is'
 *	LONG=one \
 *	     two
 *
 * Names are [A-Za-z_][A-Za-z0-9_]*. A quote must enclose the whole value, and then the value may
 * span lines. Inside double quotes a backslash escapes \ " $ ` and the end of the line; without
 * quotes it escapes any character. Blanks around an unquoted value are dropped. "$" stands for
 * itself: nothing is expanded. Anything else is refused with file and line.
 */
#pragma once

#include <stddef.h>

#include "common/as_user.h"
#include "common/error.h"
#include "common/vector.h"

#define ENVIRONMENT_FILE_MAX (256 * 1024)

/*
 * May a service be given the variable @name? -EINVAL: it is empty, has "=" or a control character
 * in it, or the agent sets it (LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES, NOTIFY_SOCKET).
 */
int environment_check_name(const char *name, struct error *err);

/* Set @name, in place of an older value. -ENOMEM. */
int environment_set(char ***environment, const char *name, const char *value);

/* The value of @name; NULL: it is not set. */
const char *environment_get(char *const *environment, const char *name);

/* Sort by name. */
void environment_sort(char **environment);

/*
 * Add all of the file at @path, opened by the rule of path_open() for @user. If that fails
 * @environment may hold part of it. -EINVAL for a mistake in it ("/etc/web.env:3: ..."), else what
 * reading it says; -EFBIG over ENVIRONMENT_FILE_MAX.
 */
int environment_add_file(char ***environment, const char *path, const struct as_user *user,
			 struct error *err);
