/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listener: the listening sockets of an instance, of which the agent keeps duplicates until it
 * leaves, so that a server which crashes can be started again while their queues hold the
 * connections.
 *
 * Some are passed to the server: the agent has created them, or batond has. Others the server has
 * bound itself (own; see finder.h). All are in one list, which grows and shrinks; which of them
 * count at a time is roster.h's business.
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

/* Those of an earlier run of the server, those of this one, and those that are to be let go of. */
#define LISTENERS_MAX (3 * PROTOCOL_SOCKETS_MAX)

struct listener {
	int fd; /* close-on-exec; -1: closed */
	uint64_t cookie;
	uint64_t inode;
	uint32_t endpoint; /* index into the specification's listen */
	bool own;          /* the server has bound it */
	struct address address;

	/* Where a process of the instance has it; pid 0: nowhere that is known (see holders.h). */
	pid_t seen_pid;
	int seen_fd;
	uint64_t lost_ms; /* since when none has it; 0: one does */
	uint64_t look_ms; /* not to be searched for before */

	/* See roster.h. */
	bool listens; /* SO_ACCEPTCONN */
	bool mptcp;   /* found to be one by holders_fetch() */
	bool away;    /* counts, but did not listen since it was reported, or may not have */
	bool left;    /* an earlier run of the server had it, and this one was not given it */
	bool counts;
	bool told;           /* a daemon has heard of it */
	uint32_t out_serial; /* of the set in which it no longer counted; 0: it always has */
};

/* All zero at first. */
struct listeners {
	struct listener list[LISTENERS_MAX];
	size_t n;
};

/*
 * Create and bind a socket for each address of @spec, in their order, with SO_REUSEADDR and
 * SO_REUSEPORT, as a member of the instance's cgroup (the agent is back in its own afterwards) and
 * in the name of spec->uid where ids are set: the kernel takes only sockets of one uid into a
 * group. They listen, but for spec->listen_later. They are blocking (what LISTEN_FDS servers
 * expect), but for spec->nonblocking. All or nothing; -EADDRINUSE where somebody else has the
 * address.
 */
int listeners_open(const struct launch_spec *spec, struct processes *processes,
		   struct listeners *ret, struct error *err);

/*
 * The same for those addresses only for which there is none that could be passed, and but for those
 * that @skip (may be NULL) is true for.
 */
int listeners_open_missing(const struct launch_spec *spec, struct processes *processes,
			   const bool skip[PROTOCOL_LISTEN_MAX], struct listeners *listeners,
			   struct error *err);

/*
 * Instead of creating them: @fds are the sockets, one for each address of @spec. Each must be bound
 * to its address and listen (but for spec->listen_later): -EINVAL. They are taken over, also on
 * failure.
 */
int listeners_take(const struct launch_spec *spec, const int *fds, struct listeners *ret,
		   struct error *err);

/* Can it be passed to a server that is started now? */
bool listener_is_passed(const struct listener *listener);

/* Copies of those that can be, in the order of their endpoints; the descriptors stay shared. */
void listeners_select_passed(const struct listeners *listeners, struct listeners *ret);

/* listen(2), where spec->listen_later had it put off. */
int listener_listen(struct listener *listener, int backlog, struct error *err);

/* Has it SO_REUSEPORT? */
bool listener_is_shared(const struct listener *listener);

/* Set .listens of all whose duplicates are open. */
void listeners_refresh(struct listeners *listeners);

/* Append a copy; its descriptor now belongs to the list. -ENOSPC where there is no room. */
int listeners_add(struct listeners *listeners, const struct listener *listener);

/*
 * Let go of the one at @index: shut it down, whoever else has it, so that what is queued in it
 * migrates, close it and take it from the list.
 */
void listeners_release(struct listeners *listeners, size_t index);

/* Close the agent's duplicates; all else stays. Again is harmless. */
void listeners_close(struct listeners *listeners);

/* The one with this cookie, or NULL. */
struct listener *listeners_find(struct listeners *listeners, uint64_t cookie);
