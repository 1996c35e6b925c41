/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * diag: asks the kernel about sockets over NETLINK_SOCK_DIAG (sock_diag(7)). The one module that
 * uses libmnl.
 *
 * Filters run in the kernel (INET_DIAG_BC bytecode): by local port (INET_DIAG_BC_S_EQ), and by
 * cgroup (INET_DIAG_BC_CGROUP_COND); both are older than anything baton runs on. Each call is one
 * synchronous dump per address family; nothing is kept between calls. A dump that the kernel marks
 * as inconsistent (NLM_F_DUMP_INTR) is repeated, at most DIAG_TRIES times, then the last result is
 * used. Memory is one fixed buffer. Messages that do not answer the request (by
 * sequence number and port id) are skipped. No call waits longer than DIAG_TIMEOUT_MS for a
 * message: it then fails with -ETIMEDOUT.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

#define DIAG_TRIES      5
#define DIAG_TIMEOUT_MS 2000

struct diag;

int diag_open(struct diag **ret, struct error *err);
void diag_free(struct diag *diag);
DEFINE_CLEANUP(struct diag *, diag_free);

struct diag_listener {
	uint32_t queued;  /* connections waiting for accept(2) */
	uint32_t backlog; /* how many may */
};

/*
 * The listening TCP socket with local port @port and cookie @cookie (SO_COOKIE). -ENOENT where it
 * does not listen (any more).
 */
int diag_listener(struct diag *diag, uint16_t port, uint64_t cookie, struct diag_listener *ret,
		  struct error *err);

/*
 * How many TCP connections with local port @port and owned by the cgroup with id @cgroup_id need
 * the server still. @cgroup_id 0: of every cgroup. Counted are
 *
 *	ESTABLISHED, CLOSE_WAIT		always: accepted, or waiting for accept(2);
 *	FIN_WAIT1, FIN_WAIT2, CLOSING,	where a descriptor is open (inode not 0): the server has
 *	LAST_ACK			shut down its side, but not yet closed;
 *	SYN_RECV			see below.
 *
 * A connection waiting for accept(2) has inode 0, and so has one that the server has closed and
 * only the kernel still finishes; the state tells them apart, since nobody can have begun to close
 * the former. A half-open connection (SYN_RECV) is a request of the kernel's, with no cgroup of its
 * own: it is counted with @cgroup_id 0 only, except under TCP Fast Open, where it is a socket.
 */
int diag_connections(struct diag *diag, uint16_t port, uint64_t cgroup_id, uint64_t *ret_live,
		     struct error *err);

/*
 * Destroy the listening socket with @cookie on @port (SOCK_DESTROY): it stops listening, and what
 * is queued in it migrates as at close(2). -ENOENT where there is none, -EOPNOTSUPP where the
 * kernel lacks CONFIG_INET_DIAG_DESTROY, -EPERM without CAP_NET_ADMIN.
 *
 * The kernel finds the socket by address first, like an incoming connection, and only then compares
 * the cookie; in a reuseport group it lands on a member chosen by a hash over the peer's address
 * and port. So the made-up peer port is varied until the right member is hit, at most
 * DIAG_DESTROY_TRIES times (in a group of n, all miss with probability (1 - 1/n)^tries: 1 in 10^28
 * for n = 64); -EAGAIN afterwards.
 */
#define DIAG_DESTROY_TRIES 4096
int diag_destroy_listener(struct diag *diag, uint16_t port, uint64_t cookie, struct error *err);
