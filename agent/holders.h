/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * holders: finds out which processes of the instance hold its listening sockets, fetches
 * duplicates, and takes sockets out of their groups without the holders' help.
 *
 * A listening socket lives until its last duplicate is closed, in whichever process that is. This
 * module looks for its inode in /proc/PID/fd and fetches a duplicate by pidfd_getfd(2). ptrace's
 * access rules allow that, as far as the agent's uid does, because the agent is an ancestor of all
 * the instance's processes. SO_COOKIE then tells whether it is the right socket, SO_ACCEPTCONN
 * whether it listens. shutdown(SHUT_RD) on a duplicate takes a listener out of its group, and its
 * queue migrates.
 *
 * A server may have a million descriptors. So each listener remembers where it was seen last
 * (.seen_pid, .seen_fd), and no other place is looked at while it is still there.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/listener.h"
#include "common/error.h"
#include "common/processes.h"

/*
 * Count those of @listeners that a process of the instance holds and that still listen. A socket
 * that cannot be examined counts, too. Returns a negative errno if the processes cannot be listed.
 */
int holders_count(const struct processes *processes, struct listeners *listeners);

/*
 * Shut down those that a process of the instance holds and that still listen. Returns how many were
 * shut down. If one could not be, the others are nevertheless, and the first error is returned.
 */
int holders_shut(const struct processes *processes, struct listeners *listeners, struct error *err);

/*
 * Fetch duplicates: fill in .fd, which must be -1 before, of those that a process of the instance
 * holds and that listen. Sets .mptcp of those that turn out to be MPTCP sockets: the socket that
 * sock_diag tells of is then only a part of the one that the process holds. Returns 0, or the
 * reason why a socket that is held, or may be held, could not be fetched: that of the first one.
 */
int holders_fetch(const struct processes *processes, struct listeners *listeners);

/*
 * The same for those of a server that an earlier agent has started, whether they listen or not. The
 * server may have ended by now, and one of its children may have left the cgroup with a socket: so
 * what no process of the instance holds is fetched from whichever process of the host has it. It
 * counts as held by none.
 */
int holders_adopt(const struct processes *processes, struct listeners *listeners);

/* The first process whose descriptors we may not look at; 0: there is none, or nobody can tell. */
pid_t holders_blind(const struct processes *processes);

/*
 * Set .lost_ms of all listeners that are not .earlier: 0 if a process of the instance holds it, or
 * if nobody can tell; else since when (CLOCK_MONOTONIC) none does. A socket that is on its way from
 * one process to another (SCM_RIGHTS) is held by none. So lost ones are looked for again, after
 * delays that double up to a second. Returns 0, or a negative errno if the processes cannot be
 * listed.
 *
 * @anywhere: any process of the host will do, as far as we may look into it. A server may run
 * outside the cgroup of whoever was given its sockets (podman does). The agent itself, which keeps
 * a duplicate, is no holder.
 */
int holders_look(const struct processes *processes, struct listeners *listeners, uint64_t now_ms,
		 bool anywhere);

/*
 * Is each socket still where it was seen last? Sockets that were not seen do not count. Cheap: one
 * readlink(2) for each, and no other place is looked at.
 */
bool holders_have_stayed(const struct listeners *listeners);
