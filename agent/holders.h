/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * holders: who still holds the instance's listening sockets, once the agent has closed its own
 * duplicates; and the way to take them out of their groups without the holders' help.
 *
 * A listening socket lives until its last duplicate closes, in whichever process that is. They are
 * looked for by inode in /proc/PID/fd, and fetched by pidfd_getfd(2) (the agent is an ancestor of
 * all of them, so ptrace access rules allow it where its uid does). SO_COOKIE says whether it is
 * that socket, SO_ACCEPTCONN whether it listens. shutdown(SHUT_RD) on a duplicate takes a listener
 * out of its group, and what was queued migrates.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "agent/listener.h"
#include "agent/processes.h"
#include "common/error.h"

/*
 * Where each socket was seen last: pid 0 is nowhere. A server may have a million descriptors; as
 * long as the same one still is the listener, only that one is looked at. All zero at first.
 */
struct holders {
	struct {
		pid_t pid;
		int fd;
	} seen[PROTOCOL_SOCKETS_MAX];
};

/*
 * How many of @listeners are open in a process of the instance and still listen. A socket that was
 * shut down counts as gone; one that cannot be examined counts as there. Negative errno where the
 * processes cannot be listed.
 */
int holders_count(struct holders *holders, const struct processes *processes,
		  const struct listeners *listeners);

/*
 * Shut down those that still listen. Returns how many were; where one could not be, the error of
 * the first such (the others are shut down nevertheless).
 */
int holders_shut(struct holders *holders, const struct processes *processes,
		 const struct listeners *listeners, struct error *err);
