/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netns: tests that open ports or change network settings do so in a network namespace of their
 * own, in which only "lo" is up.
 */
#pragma once

#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* NULL, or why there is none: the tests are skipped then. */
static inline const char *netns_enter(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd, r;

	if (geteuid() != 0)
		return "needs root (a network namespace of its own)";
	if (unshare(CLONE_NEWNET) < 0)
		return "unshare(CLONE_NEWNET) is not permitted here";
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return "no IPv4 here";
	r = ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
	return r < 0 ? "cannot set lo up" : NULL;
}
