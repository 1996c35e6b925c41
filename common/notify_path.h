/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notify_path: where the socket is to which a server says what sd_notify(3) says. For the control
 * socket /run/NAME/agents/web.3.0.sock of its agent it is /run/NAME/tell/web.3.0/baton: never
 * longer than that one, which fits a unix socket. The folder web.3.0 is its own, and only root and
 * the service's user may enter it.
 */
#pragma once

#include <stdbool.h>

#include "common/paths.h"

/* What the addresses of baton's own sockets end with, behind the folder of an instance. */
#define NOTIFY_PATH_FOLDER "/tell/"
#define NOTIFY_PATH_FILE   "/baton"

struct notify_path {
	char base[PATHS_MAX];   /* of all instances: /run/NAME/tell */
	char folder[PATHS_MAX]; /* /run/NAME/tell/web.3.0 */
	char socket[PATHS_MAX]; /* /run/NAME/tell/web.3.0/baton */
};

/* -ENAMETOOLONG; -EINVAL: @control_path is no absolute path. */
int notify_path(const char *control_path, struct notify_path *ret);

/* Remove the socket and its folder, and the folder of all of them if this was the last. */
void notify_path_remove(const char *control_path);
