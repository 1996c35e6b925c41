/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pidfds: what the kernel tells of a process by its pidfd. A pid proves nothing once the process
 * may have been reaped, as another one can have it; a pidfd stays with its process. The order is
 * always: open the pidfd, then ask whose the pid is, then see that the process still lives.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Has it not ended? A zombie has. */
bool pidfds_alive(int pidfd);

/*
 * The id of the cgroup that it is in, or was in when it ended (Linux 6.13, 6.15): the inode of the
 * cgroup's folder. False: the kernel does not tell.
 */
bool pidfds_cgroup(int pidfd, uint64_t *ret);

/* As of wait(2), once its parent has reaped it (Linux 6.15). False: the kernel does not tell. */
bool pidfds_status(int pidfd, int *ret);
