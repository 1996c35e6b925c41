/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * acceptors: which of the instance's processes accept connections, family by family.
 *
 * A family is a head with the processes that it has forked (processes_kin()): a server with its
 * workers is one, and a program that it has started is another. To have a listening socket open is
 * not to accept from it: whoever is forked has it, and a program has it if nobody closes it for
 * execve(2). So a family accepts only if it is seen to:
 *
 *	it waits	a thread waits for connections on the socket (waits.h)
 *	it watches	its head has an epoll(7) that has the socket, and has called execve(2).
 *(What has been forked may have the epoll by inheritance.) it took one	a process of it has a
 *connection open that was accepted on the address, and that no process of it had when it was first
 *looked at
 *
 * So a server at work is found as well as one that waits, though perhaps later: callers look again
 * while a family works.
 *
 * Bounds: ACCEPTORS_MAX families, the first 16,384 descriptors of a process, 65,536 sockets.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "agent/listener.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/processes.h"

#define ACCEPTORS_MAX 64

/* A family that has one of the listening sockets open. */
struct acceptor {
	pid_t head;
	bool forked;              /* the head has not called execve(2) since its fork */
	unsigned long long start; /* of the head: ticks since boot */
	unsigned long long ticks; /* CPU time that it has used so far */
	bool accepts;             /* it was seen to, now or earlier */
	bool connected;           /* it has connections open that were accepted on an address */
};

struct acceptors;

/* @processes is borrowed and must outlive it. Returns 0 or a negative errno. */
int acceptors_new(const struct processes *processes, struct acceptors **ret, struct error *err);
void acceptors_free(struct acceptors *acceptors);
DEFINE_CLEANUP(struct acceptors *, acceptors_free);

/*
 * Look once. Those of @listeners count that count and listen. Fills in @ret, oldest head first,
 * and returns how many there are, or a negative errno.
 */
int acceptors_look(struct acceptors *acceptors, const struct listeners *listeners,
		   struct acceptor ret[static ACCEPTORS_MAX]);
