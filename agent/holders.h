/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * holders: which processes of the instance hold its listening sockets; how to come by duplicates of
 * what they hold; and the way to take sockets out of their groups without the holders' help.
 *
 * A listening socket lives until its last duplicate closes, in whichever process that is. They are
 * looked for by inode in /proc/PID/fd, and fetched by pidfd_getfd(2) (the agent is an ancestor of
 * all of them, so ptrace access rules allow it where its uid does). SO_COOKIE says whether it is
 * that socket, SO_ACCEPTCONN whether it listens. shutdown(SHUT_RD) on a duplicate takes a listener
 * out of its group, and what was queued migrates.
 *
 * A server may have a million descriptors, so where a socket was seen last is noted in it
 * (listener.seen_pid, seen_fd): as long as it still is there, only that place is looked at.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/listener.h"
#include "common/error.h"
#include "common/processes.h"

/*
 * How many of @listeners are open in a process of the instance and still listen. A socket that was
 * shut down counts as gone; one that cannot be examined counts as there. Negative errno where the
 * processes cannot be listed.
 */
int holders_count(const struct processes *processes, struct listeners *listeners);

/*
 * Shut down those that still listen. Returns how many were; where one could not be, the error of
 * the first such (the others are shut down nevertheless).
 */
int holders_shut(const struct processes *processes, struct listeners *listeners, struct error *err);

/*
 * Fill in .fd (which must be -1) of those that a process of the instance holds and that listen.
 * Returns 0, or why the first of those that are held, or may be, could not be fetched. Those of
 * MPTCP, which are other sockets than the one that the kernel tells of, are marked (.mptcp).
 */
int holders_fetch(const struct processes *processes, struct listeners *listeners);

/* The first process that may not be looked into; 0: there is none, or that cannot be known. */
pid_t holders_blind(const struct processes *processes);

/*
 * Set .lost_ms of those that some process of the instance could hold, i.e. not of those that are
 * .left: 0 where one does (or where that cannot be known), else since when none does. A socket may
 * be on its way from one process to another (SCM_RIGHTS), held by none: so those that are lost are
 * looked for again, after delays that double up to a second. Negative errno where the processes
 * cannot be listed.
 */
int holders_look(const struct processes *processes, struct listeners *listeners, uint64_t now_ms);

/*
 * Are those that the server has bound itself, and that were found in one of its processes, there
 * still? Cheap: no other place is looked at.
 */
bool holders_have_stayed(const struct listeners *listeners);
