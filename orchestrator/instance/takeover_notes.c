/* SPDX-License-Identifier: BSD-2-Clause */
/* What lies in the folder of the agents: names, and what each agent has written down. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "common/pidfds.h"
#include "common/processes.h"
#include "orchestrator/instance/takeover_internal.h"

int takeover_read_notes(const char *socket_path, int *ret_fd, struct handover *ret,
			struct error *err)
{
	char notes[PATHS_MAX];
	int r = handover_path(socket_path, notes);

	*ret = (struct handover){};
	*ret_fd = r == 0 ? open(notes, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	return *ret_fd >= 0 ? handover_read_fd(*ret_fd, ret, err)
			    : error_set(err, -ENOENT, "%s", notes);
}

int takeover_open_process(pid_t pid, uint64_t started)
{
	cleanup_close int pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
	uint64_t found;

	if (pidfd < 0 || processes_started(pid, &found) < 0 || found != started ||
	    !pidfds_alive(pidfd))
		return -1;
	return TAKE_FD(pidfd);
}

struct dirent *takeover_next(DIR *dir)
{
	errno = 0;
	return readdir(dir);
}

bool takeover_is_agent_of(const char *file, const char *service)
{
	size_t n = strlen(service), length = strlen(file);

	return length > n + 5 && strncmp(file, service, n) == 0 && file[n] == '.' &&
	       strcmp(file + length - 5, ".sock") == 0;
}

bool takeover_parse_leaf(const char *name, const char *suffix, struct takeover_leaf *ret)
{
	size_t n = strcspn(name, ".");
	int length = 0;

	if (n == 0 || n >= sizeof(ret->service) ||
	    sscanf(name + n, ".%u.%u%n", &ret->generation, &ret->index, &length) != 2 ||
	    strcmp(name + n + (size_t)length, suffix) != 0)
		return false;
	memcpy(ret->service, name, n);
	ret->service[n] = '\0';
	return true;
}
