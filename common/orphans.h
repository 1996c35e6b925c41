/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * orphans: listening sockets of an instance that should be gone, but that some process still has
 * open: a child of the server that has left its cgroup and was missed when the instance was killed.
 * Such a socket keeps the port, and takes connections that nobody accepts.
 *
 * shutdown(SHUT_RD) on a duplicate takes a socket out of its group for every holder, and its queue
 * migrates. A duplicate comes from whoever has the socket (pidfd_getfd(2)). If that is not allowed,
 * or nobody is found, the kernel is asked to destroy the socket (SOCK_DESTROY).
 *
 * Agents use it when an instance has left or ends, and batond for instances without an agent.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/address.h"
#include "common/diag.h"
#include "common/openers.h"

#define ORPHANS_MAX     256 /* of them are shut down at a time */
#define ORPHAN_TEXT_MAX (ADDRESS_TEXT_MAX + 192)

struct orphan {
	uint64_t cookie;
	char address[ADDRESS_TEXT_MAX];
	uint16_t port;
	/* Filled in by orphans_listening(): */
	bool listens;
	uint64_t inode;
	uid_t uid; /* whose the socket is */
	/* By orphans_shut(): */
	pid_t pid; /* who has it; 0: nobody was found */
	char command[OPENER_NAME_MAX];
	int error; /* why it still listens, a negative errno; 0: it was shut down */
};

/* @address as struct address has it. */
void orphan_init(struct orphan *orphan, uint64_t cookie, const char *address, uint16_t port);

/*
 * Which of the @n sockets still listen? These come first in @list then. Returns how many they are,
 * or a negative errno if the kernel could not be asked.
 */
int orphans_listening(struct diag *diag, struct orphan *list, size_t n);

/*
 * Shut down those of the @n sockets (at most ORPHANS_MAX) that still listen, and do so after all
 * processes have been looked through if nobody was found who has them. These come first in
 * @list then, filled in. Returns how many they are, or a negative errno if the kernel could not be
 * asked.
 */
int orphans_shut(struct diag *diag, struct orphan *list, size_t n);

/*
 * 'pid 7 "sleep" (uid 0) has got away with a listening socket on 0.0.0.0:80: it was shut down,
 * ...', for people. Returns @ret.
 */
char *orphan_describe(const struct orphan *orphan, char ret[static ORPHAN_TEXT_MAX]);
