/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * diag: asks the kernel about TCP sockets over NETLINK_SOCK_DIAG (sock_diag(7)): which ones listen,
 * how full their queues are, which connections there are. Both the daemon and the agents ask. This
 * is the only module that uses libmnl.
 *
 * Each call is one synchronous dump per address family; nothing is kept between calls, and memory
 * is one fixed buffer. Filters run in the kernel (INET_DIAG_BC bytecode): by local port
 * (INET_DIAG_BC_S_EQ) and by cgroup (INET_DIAG_BC_CGROUP_COND). Every kernel that baton runs on has
 * both.
 *
 * A dump that the kernel marks as inconsistent (NLM_F_DUMP_INTR) is repeated, at most DIAG_TRIES
 * times; then the last result is used. Messages that do not answer the request, by sequence number
 * and port id, are skipped. No call waits longer than DIAG_TIMEOUT_MS for a message: it then fails
 * with -ETIMEDOUT.
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

/* Returns 0 or a negative errno. */
int diag_open(struct diag **ret, struct error *err);
void diag_free(struct diag *diag);
DEFINE_CLEANUP(struct diag *, diag_free);

struct diag_listener {
	uint32_t queued;  /* connections waiting for accept(2) */
	uint32_t backlog; /* how many may wait */
	uint64_t inode;   /* its descriptors read "socket:[INODE]" in /proc/PID/fd */
	uid_t uid;        /* whose it is */
	/*
	 * Attempts that the kernel has dropped at this socket (sk_drops): because the queue was
	 * full (tcp_input.c: tcp_conn_request(); tcp_ipv4.c: tcp_v4_syn_recv_sock()), or seldom for
	 * want of memory or of a route. 0, too, if it does not say.
	 */
	uint32_t dropped;
};

/*
 * Find the listening socket with local port @port (host byte order) and cookie @cookie (SO_COOKIE).
 * -ENOENT if there is none, or if it no longer listens.
 */
int diag_listener(struct diag *diag, uint16_t port, uint64_t cookie, struct diag_listener *ret,
		  struct error *err);

/*
 * For whoever asks diag_listener() about each of many in one go: until diag_forget() one dump of
 * all listening sockets, made at the first question, answers for each whose queue was empty then.
 * The others are asked about as ever.
 */
void diag_remember(struct diag *diag);
void diag_forget(struct diag *diag);

/*
 * Count the connections that still need the server, among those with local port @port and of the
 * cgroup with id @cgroup_id (0: of every cgroup). Counted are
 *
 *	ESTABLISHED, CLOSE_WAIT		always: they are accepted, or wait for accept(2)
 *	FIN_WAIT1, FIN_WAIT2, CLOSING,	if a descriptor is open (inode not 0): the server has shut
 *	LAST_ACK			down its side, but has not closed it yet
 *	SYN_RECV			see below
 *
 * Inode 0 has two meanings: the connection waits for accept(2), or the server has closed it and
 * only the kernel still finishes it. The state tells which: nobody can have begun to close a
 * connection that waits for accept(2).
 *
 * A half-open connection (SYN_RECV) is a request sock of the kernel, without a cgroup. So it is
 * counted only with @cgroup_id 0; but under TCP Fast Open it is a full socket, and always counted.
 */
int diag_connections(struct diag *diag, uint16_t port, uint64_t cgroup_id, uint64_t *ret_live,
		     struct error *err);

/*
 * Destroy the listening socket with @cookie on @port (SOCK_DESTROY): it stops listening, and its
 * queue migrates as at close(2). Returns 0, or
 *	-ENOENT		there is none
 *	-EOPNOTSUPP	the kernel lacks CONFIG_INET_DIAG_DESTROY
 *	-EPERM		the caller lacks CAP_NET_ADMIN
 *	-EAGAIN		the kernel did not find it, see below
 *
 * The kernel looks the socket up by address, like an incoming connection, and only then compares
 * the cookie. In a reuseport group a hash over the peer's address and port chooses the member that
 * it looks at. So this function invents peer ports until the right member is hit, at most
 * DIAG_DESTROY_TRIES. In a group of n all of them miss with probability (1 - 1/n)^tries: 1 in 10^28
 * for n = 64.
 */
#define DIAG_DESTROY_TRIES 4096
int diag_destroy_listener(struct diag *diag, uint16_t port, uint64_t cookie, struct error *err);

/* A listening socket, as diag_each_listener() tells of it. */
struct diag_listening {
	uint64_t cookie;
	uint64_t inode; /* its descriptors read "socket:[INODE]" in /proc/PID/fd */
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} local;
	bool v6only;        /* AF_INET6: IPV6_V6ONLY is set */
	uid_t uid;          /* whose it is */
	uint64_t cgroup_id; /* of who made it (Linux 5.9); 0: the kernel does not say */
	struct diag_listener queue;
};

/*
 * Call @found for each listening socket of the cgroup with id @cgroup_id (0: of every cgroup) in
 * this network namespace, whatever its port: once for each, by their cookies. An inconsistent dump
 * is repeated. So @reset (may be NULL) is called before each attempt, and must forget what was
 * found before.
 */
int diag_each_listener(struct diag *diag, uint64_t cgroup_id, void (*reset)(void *userdata),
		       void (*found)(void *userdata, const struct diag_listening *listening),
		       void *userdata, struct error *err);

/*
 * Count what can be in the way of bind(2) without a listener: connections with local port @port in
 * every state, TIME_WAIT among them.
 */
int diag_lingering(struct diag *diag, uint16_t port, uint64_t *ret, struct error *err);

/* A connection, seen from the server's end. */
struct diag_connection {
	uint64_t cookie;
	uint64_t inode; /* 0: not accepted yet, or already closed by the server */
	struct sockaddr_storage local, peer;
	uint8_t state;           /* TCP_ESTABLISHED ... (netinet/tcp.h) */
	uint32_t receive_queue;  /* bytes that the server has not read */
	uint32_t send_queue;     /* bytes that the client has not acknowledged */
	uint64_t bytes_received; /* by the server */
	uint64_t bytes_sent;     /* and acknowledged */
	uint32_t idle_ms;        /* since the last byte in either direction (struct tcp_info) */
	/*
	 * The same for each direction; if there was no byte yet, since the connection was
	 * established. As coarse as the kernel's tick: if both are equal, either may be the older.
	 */
	uint32_t since_received_ms, since_sent_ms;
	uint32_t interface; /* index of the interface that the socket is bound to; 0: none */
	/* When it was established (CLOCK_MONOTONIC). 0: not known, see diag_set_births(). */
	uint64_t born_ns;
};

/* Does it still need the server? The rule is that of diag_connections(). */
bool diag_is_live(const struct diag_connection *connection);

/* "ESTABLISHED", "CLOSE_WAIT" ...; "UNKNOWN" for a number that is no state. */
const char *diag_state_name(uint8_t state);

/*
 * Call @found for each connection of @port and @cgroup_id, whether it is live or not, with
 * everything that the kernel knows of it. @reset is called before each attempt, as for
 * diag_each_listener().
 *
 * Connections in TIME_WAIT are left out: they need no server. Bytes and idle time may be unknown,
 * and are then 0, for a half-open connection and for one that only the kernel still finishes.
 */
int diag_each_connection(struct diag *diag, uint16_t port, uint64_t cgroup_id,
			 void (*reset)(void *userdata),
			 void (*found)(void *userdata, const struct diag_connection *connection),
			 void *userdata, struct error *err);

/*
 * Fill in state and inode, and both addresses, of the connection between @local, the server's end,
 * and @peer. -ENOENT: there is none, or it is in TIME_WAIT. Costs one look-up.
 */
int diag_connection(struct diag *diag, const struct sockaddr *local, const struct sockaddr *peer,
		    struct diag_connection *ret, struct error *err);

/*
 * Reset @connection, as diag_each_connection() told of it (SOCK_DESTROY). The next call on it fails
 * at both ends, with ECONNABORTED here and ECONNRESET there. Returns 0, -ENOENT if it has ended, or
 * -EOPNOTSUPP and -EPERM as diag_destroy_listener().
 *
 * A callback of a diag must not call this on the same diag, whose buffer is in use: open another.
 */
int diag_destroy_connection(struct diag *diag, const struct diag_connection *connection,
			    struct error *err);

/*
 * Let diag_each_connection() fill in born_ns. @map_fd is a BPF_MAP_TYPE_SK_STORAGE map whose value
 * is the time at which the connection was established (u64, of bpf_ktime_get_ns()); -1: none. The
 * descriptor is borrowed. This needs Linux 5.7 (INET_DIAG_REQ_SK_BPF_STORAGES) and CAP_BPF; if the
 * kernel refuses, born_ns stays 0.
 */
void diag_set_births(struct diag *diag, int map_fd);
