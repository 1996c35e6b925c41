/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/predecessor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/processes.h"

int predecessor_end(pid_t pid, uint64_t started, int timeout_ms)
{
	struct pollfd poller = {.events = POLLIN};
	cleanup_close int pidfd = -1;
	uint64_t found;

	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0)
		return errno == ESRCH ? 0 : -errno;
	/* The pidfd is older than this answer: it is of the process that was asked about. */
	if (processes_started(pid, &found) < 0 || found != started)
		return 0;
	if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0)
		return errno == ESRCH ? 0 : -errno;
	poller.fd = pidfd;
	return poll(&poller, 1, timeout_ms) > 0 ? 0 : -ETIMEDOUT;
}
