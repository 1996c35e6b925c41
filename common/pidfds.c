/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/pidfds.h"

#include <poll.h>
#include <sys/ioctl.h>

/* As in linux/pidfd.h of 6.15, which this machine's headers need not be of. */
struct pidfd_info_0 {
	uint64_t mask;
	uint64_t cgroup_id;
	uint32_t ids[11];
	int32_t exit_code; /* as of wait(2) */
};
#define GET_INFO    _IOWR(0xFF, 11, struct pidfd_info_0)
#define INFO_CGROUP (UINT64_C(1) << 2)
#define INFO_EXIT   (UINT64_C(1) << 3)
_Static_assert(sizeof(struct pidfd_info_0) == 64, "PIDFD_INFO_SIZE_VER0");

bool pidfds_alive(int pidfd)
{
	struct pollfd poller = {.fd = pidfd, .events = POLLIN};

	return poll(&poller, 1, 0) == 0;
}

bool pidfds_cgroup(int pidfd, uint64_t *ret)
{
	struct pidfd_info_0 info = {.mask = INFO_CGROUP | INFO_EXIT};

	if (ioctl(pidfd, GET_INFO, &info) < 0 || !(info.mask & INFO_CGROUP) || !info.cgroup_id)
		return false;
	*ret = info.cgroup_id;
	return true;
}

bool pidfds_status(int pidfd, int *ret)
{
	struct pidfd_info_0 info = {.mask = INFO_EXIT};

	if (ioctl(pidfd, GET_INFO, &info) < 0 || !(info.mask & INFO_EXIT))
		return false;
	*ret = info.exit_code;
	return true;
}
