/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/notify_path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define AGENTS  "/agents"
#define CONTROL ".sock"

int notify_path(const char *control_path, struct notify_path *ret)
{
	const char *slash = strrchr(control_path, '/');
	size_t folder = slash ? (size_t)(slash - control_path) : 0;
	size_t name = slash ? strlen(slash + 1) : 0;

	if (control_path[0] != '/' || name == 0)
		return -EINVAL;
	/* The folder of the control sockets is closed to the service's user: beside it. */
	if (folder >= strlen(AGENTS) &&
	    strncmp(slash - strlen(AGENTS), AGENTS, strlen(AGENTS)) == 0)
		folder -= strlen(AGENTS);
	if (name > strlen(CONTROL) && strcmp(slash + 1 + name - strlen(CONTROL), CONTROL) == 0)
		name -= strlen(CONTROL);
	if (snprintf(ret->base, PATHS_MAX, "%.*s%.*s", (int)folder, control_path,
		     (int)strlen(NOTIFY_PATH_FOLDER) - 1, NOTIFY_PATH_FOLDER) >= PATHS_MAX ||
	    snprintf(ret->folder, PATHS_MAX, "%.*s%s%.*s", (int)folder, control_path,
		     NOTIFY_PATH_FOLDER, (int)name, slash + 1) >= PATHS_MAX ||
	    snprintf(ret->socket, PATHS_MAX, "%.*s%s%.*s%s", (int)folder, control_path,
		     NOTIFY_PATH_FOLDER, (int)name, slash + 1, NOTIFY_PATH_FILE) >= PATHS_MAX)
		return -ENAMETOOLONG;
	return 0;
}

void notify_path_remove(const char *control_path)
{
	struct notify_path path;

	if (notify_path(control_path, &path) < 0)
		return;
	(void)unlink(path.socket);
	(void)rmdir(path.folder);
	(void)rmdir(path.base);
}
