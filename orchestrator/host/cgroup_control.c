/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/cgroup_control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "orchestrator/host/file.h"

#define CONTROL_MAX (1024 * 1024)

static int join(const char *path, const char *file, char ret[static CGROUP_CONTROL_PATH_MAX])
{
	return snprintf(ret, CGROUP_CONTROL_PATH_MAX, "%s/%s", path, file) < CGROUP_CONTROL_PATH_MAX
		       ? 0
		       : -ENAMETOOLONG;
}

int cgroup_control_read(const char *path, const char *file, char **ret)
{
	char full[CGROUP_CONTROL_PATH_MAX];
	int r = join(path, file, full);

	if (r == 0)
		r = file_read(full, CONTROL_MAX, ret, NULL);
	/* ENODEV while it is being removed. */
	if (r == -ENOENT || r == -ENODEV)
		return 0;
	return r < 0 ? r : 1;
}

int cgroup_control_write(const char *path, const char *file, const char *text)
{
	char full[CGROUP_CONTROL_PATH_MAX];
	cleanup_close int fd = -1;
	int r = join(path, file, full);

	if (r < 0)
		return r;
	fd = open(full, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}
