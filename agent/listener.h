/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listener: the listening sockets of an instance, as a list. The agent keeps a duplicate of each
 * until the instance leaves. So a server that crashes can be started again while the sockets'
 * queues hold the connections.
 *
 * Some sockets are passed to the server: the agent or batond has created them. Others the server
 * has bound itself (.own; finder.h finds them). roster.h decides which of them count.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/address.h"
#include "common/error.h"
#include "common/processes.h"
#include "common/protocol.h"

/*
 * Those of an earlier run of the server, those of this run, and those that wait for their release.
 */
#define LISTENERS_MAX (3 * PROTOCOL_SET_MAX)

struct listener {
	int fd; /* close-on-exec; -1: closed */
	uint64_t cookie;
	uint64_t inode;
	uint32_t endpoint; /* index into the specification's listen */
	bool own;          /* the server has bound it */
	struct address address;

	/* holders.h: which process of the instance has it, as what descriptor. pid 0: not known. */
	pid_t seen_pid;
	int seen_fd;
	bool seen_away;   /* that process is none of the instance's: holders_look() anywhere */
	uint64_t lost_ms; /* no process has it since then; 0: one does */
	uint64_t look_ms; /* do not look for it before this time */
	bool mptcp;       /* holders_fetch() has found an MPTCP socket */

	/* roster.h: */
	bool listens;        /* SO_ACCEPTCONN */
	bool away;           /* it counts, but may have stopped listening since it was reported */
	bool deaf;           /* it counts, but the present set says that it does not listen */
	bool earlier;        /* an earlier run of the server had it, and this run did not get it */
	bool counts;         /* a table may name it */
	bool told;           /* a daemon has been told of it */
	uint32_t out_serial; /* the set in which it counted no longer; 0: it has never gone out */
};

/*
 * All zero at first; it grows with what is in it, up to LISTENERS_MAX. Whoever has the list owns
 * its descriptors, and ends it with listeners_done().
 */
struct listeners {
	struct listener *list;
	size_t n;
	size_t size; /* so many fit without another allocation */
};

/*
 * Make sure that there is a socket to pass for each address of @spec, but for those endpoints for
 * which @skip (may be NULL) is true: create and bind what is missing, and append it to @listeners.
 *
 * A new socket has SO_REUSEADDR and SO_REUSEPORT, and is of the instance's cgroup
 * (processes_sockets()). If spec->set_ids, it belongs to spec->uid: the kernel takes only
 * sockets of one uid into a group. It listens, unless spec->listen_later. It is blocking, as
 * servers that use LISTEN_FDS expect, unless spec->nonblocking.
 *
 * Returns 0 or a negative errno, after which no socket has been added; -EADDRINUSE if somebody else
 * has an address.
 */
int listeners_open(const struct launch_spec *spec, struct processes *processes,
		   const bool skip[PROTOCOL_LISTEN_MAX], struct listeners *listeners,
		   struct error *err);

/*
 * Are connections of an earlier server in the way of a server that shares its addresses, but binds
 * them without SO_REUSEADDR? They will be gone in time (TIME_WAIT). Tries it, with sockets that do
 * not listen.
 */
bool listeners_linger(const struct launch_spec *spec);

/*
 * Take sockets that batond has created: @fds has one for each address of @spec. They are taken
 * over, also on failure. Returns 0 or a negative errno, after which *ret is empty; -EINVAL if a
 * socket is not bound to its address, or does not listen (unless spec->listen_later).
 */
int listeners_take(const struct launch_spec *spec, const int *fds, struct listeners *ret,
		   struct error *err);

/* Can it be passed to a server that is started now? Then it is open, counts, and is not .own. */
bool listener_is_passed(const struct listener *listener);

/*
 * Copy those that can be passed, in the order of their endpoints. The descriptors are borrowed.
 * -ENOMEM.
 */
int listeners_select_passed(const struct listeners *listeners, struct listeners *ret);

/* listen(2), for a socket that does not listen (yet). Returns 0 or a negative errno. */
int listener_listen(struct listener *listener, int backlog, struct error *err);

/* Does it have SO_REUSEPORT set? */
bool listener_is_shared(const struct listener *listener);

/* Ask the kernel which of them listen: set .listens and .away of all that are open. */
void listeners_refresh(struct listeners *listeners);

/*
 * Append a copy. Returns 0: the list now owns its descriptor; or -ENOSPC or -ENOMEM: it does not.
 */
int listeners_add(struct listeners *listeners, const struct listener *listener);

/*
 * Take the socket at @index from the list, shut it down and close it. Shutting down affects all its
 * holders, so that its queue migrates.
 */
void listeners_release(struct listeners *listeners, size_t index);

/* Free the list. Its descriptors are closed or somebody else's. It is empty afterwards. */
void listeners_done(struct listeners *listeners);

/* Close all duplicates (.fd becomes -1); the list stays. To call it again does no harm. */
void listeners_close(struct listeners *listeners);

/* The listener with this cookie, or NULL. Borrowed until the list changes. */
struct listener *listeners_find(struct listeners *listeners, uint64_t cookie);
