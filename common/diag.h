/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * diag: asks the kernel about sockets over NETLINK_SOCK_DIAG (sock_diag(7)). The one module that
 * uses libmnl; the daemon and the agents both ask.
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

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

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

/* A TCP socket that listens, as diag_each_listener() finds it. */
struct diag_listening {
	uint64_t cookie;
	uint64_t inode; /* of its descriptors: "socket:[N]" in /proc/PID/fd */
	uid_t uid;
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} local;
	bool v6only; /* AF_INET6: IPV6_V6ONLY is set */
	uint32_t queued;
	uint32_t backlog;
};

/*
 * Call @found for each listening TCP socket of the cgroup with id @cgroup_id (0: of every cgroup
 * there is in this network namespace), whatever its port. An inconsistent dump is repeated, so
 * @reset (may be NULL) is called before each attempt: forget what was found.
 */
int diag_each_listener(struct diag *diag, uint64_t cgroup_id, void (*reset)(void *userdata),
		       void (*found)(void *userdata, const struct diag_listening *listening),
		       void *userdata, struct error *err);

/* One connection, the server's end of it. */
struct diag_connection {
	uint64_t cookie;
	uint64_t inode; /* 0: not accepted yet, or closed by the server already */
	uid_t uid;
	struct sockaddr_storage local, peer;
	uint8_t state;           /* TCP_ESTABLISHED ... (netinet/tcp.h) */
	uint32_t receive_queue;  /* bytes that the server has not read */
	uint32_t send_queue;     /* bytes that the client has not acknowledged */
	uint64_t bytes_received; /* by the server */
	uint64_t bytes_sent;     /* and acknowledged */
	uint32_t idle_ms; /* since the last byte in either direction (tcp_info(7)); see below */
	/*
	 * The same for each direction; since the connection was established where there has been
	 * none. As coarse as the kernel's tick: of two equal ones it is not known which was first.
	 */
	uint32_t since_received_ms, since_sent_ms;
	uint32_t interface; /* the index of the one that the socket is bound to; 0: none */
	uint64_t born_ns;   /* CLOCK_MONOTONIC; 0: not known (see diag_set_births()) */
};

/* Does the server have something to do with it still? The rule of diag_connections(). */
bool diag_is_live(const struct diag_connection *connection);

/* "ESTABLISHED", "CLOSE_WAIT" ... */
const char *diag_state_name(uint8_t state);

/*
 * Call @found for each connection of @port and @cgroup_id, live or not, with everything that is
 * known of it. As with listeners, @reset begins each attempt. Not among them are those in
 * TIME_WAIT, with which no server has anything to do any more. Of a half-open one, and of one that
 * only the kernel still finishes, bytes and idle time may be unknown: they are 0.
 */
int diag_each_connection(struct diag *diag, uint16_t port, uint64_t cgroup_id,
			 void (*reset)(void *userdata),
			 void (*found)(void *userdata, const struct diag_connection *connection),
			 void *userdata, struct error *err);

/*
 * Close @connection, as diag_each_connection() told it, by a reset (SOCK_DESTROY): both sides'
 * next call fails (tcp(7): ECONNABORTED here, ECONNRESET there). -ENOENT where it has ended,
 * -EOPNOTSUPP and -EPERM as with diag_destroy_listener().
 *
 * Not from within a callback of the same diag, whose buffer is in use: take another.
 */
int diag_destroy_connection(struct diag *diag, const struct diag_connection *connection,
			    struct error *err);

/*
 * @map_fd: a BPF_MAP_TYPE_SK_STORAGE map whose value is the time (u64, nanoseconds,
 * bpf_ktime_get_ns()) when the connection was established; diag_each_connection() then fills
 * born_ns from it (INET_DIAG_REQ_SK_BPF_STORAGES, Linux 5.7; CAP_BPF). -1: none. The
 * descriptor is borrowed. Where the kernel refuses, times are simply not known.
 */
void diag_set_births(struct diag *diag, int map_fd);
