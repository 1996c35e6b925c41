/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * group: a reuseport group whose members are chosen by their positions. It knows the position of
 * each, and keeps the decoys that hold them there (positions.h has the rule). For the cbpf tier.
 *
 * The positions of sockets that are made here are known from how they were made. Others are found
 * by measuring. The SYN-ACK carries the listener's MSS, and TCP_MAXSEG on a listener lowers that
 * (tcp_output.c: tcp_synack_options()). So a connection from a source port that is pinned to a
 * position tells, by the MSS that its client sees, who has answered there. Each decoy has an MSS
 * of its own, for ever; the socket that is searched gets one for the time of the search. (A
 * connection of somebody else's that it accepts in this time keeps an upper limit on the size of
 * the client's segments; the value is above what networks have.) The server sees such a connection
 * as one that is reset right away.
 *
 * Members die without telling: whoever held a duplicate to hear of it would keep them alive
 * (kernel-facts, rule 18). So sock_diag says who is there, before each change.
 *
 * Decoys listen, so the kernel completes connections to them when nothing else is named, and they
 * are reset at the next group_sweep(). A client sees a reset then, not a refusal: a program of this
 * kind cannot say "nobody".
 *
 * When the daemon dies its decoys close, in the order of their descriptors, and each lets the last
 * member move. Those at the end go without moving a real socket; a hole in front is filled by a
 * decoy as long as there is one at the end, by the last real socket when there is not. So in the
 * end the real sockets have the positions from 0 on; those that had no hole below have not moved at
 * all. The program stays, with the positions of before: one that no longer exists makes the kernel
 * fall back to its hash over what is left, which in the steady state is the serving generation and
 * nobody else; one that exists is one of its sockets, too. The shares may be wrong then, the
 * generation is right. In the middle of a rollout a socket that is not ready may get connections
 * until the next daemon comes. So may the decoys that are left, in the microseconds of the closing.
 */
#pragma once

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/address.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/steer/classic.h"
#include "orchestrator/steer/positions.h"

struct group;

struct group_options {
	uid_t uid; /* who owns the service's sockets (anchor.h) */

	/*
	 * Build the program of now, with @pin as one more pin, and hand it to group_attach().
	 * Called while somebody is searched.
	 */
	int (*program)(void *userdata, const struct classic_pin *pin, struct error *err);
	void *userdata;
};

/*
 * After group_open(), group_enter(), group_listen(), group_join() and group_update() the program
 * must be put on the group anew, whether they succeed or not: positions are others then, and pins
 * of a search may be in it.
 */

/*
 * If nobody listens at @address yet the group is made, with its decoys. Else it is left alone until
 * group_enter(), and only tried whether that will be possible (-EADDRINUSE).
 */
int group_open(const struct address *address, const struct group_options *options,
	       struct group **ret, struct error *err);

/* Closes the decoys, the last one first. Takes NULL. */
void group_free(struct group *group);
DEFINE_CLEANUP(struct group *, group_free);

bool group_is_entered(const struct group *group);

/*
 * Enter a group that has members. @member_fd: one of them; the program is put on the group through
 * it before the first decoy is there, which an earlier program might send connections to. -EINVAL:
 * it is none of the group's. -1: there should be no members any more, else -EADDRINUSE.
 */
int group_enter(struct group *group, int member_fd, struct error *err);

/* A new member: made here, bound, listening, and in its place. The caller owns the descriptor. */
int group_listen(struct group *group, int backlog, bool nonblocking, int *ret_fd,
		 struct error *err);

/*
 * Learn the position of the listening socket @fd with @cookie, however it came into the group.
 * -EINVAL: it listens elsewhere, or not at all.
 */
int group_join(struct group *group, int fd, uint64_t cookie, struct error *err);

/* The same for one that is known, but may have gone and come back: to the end. */
int group_rejoin(struct group *group, int fd, uint64_t cookie, struct error *err);

/*
 * Has a member come or gone since the last change? Only looks; "no" if that cannot be told just
 * now: without knowing more the program need not be replaced.
 */
bool group_has_changed(struct group *group);

/*
 * Who has come, who has gone? Then put the decoys right. @patient: leave the decoys if a socket at
 * the end is still to be joined, which could not move to a better place any more afterwards.
 */
int group_update(struct group *group, bool patient, struct error *err);

/* Its position. -ENOENT: it is gone, or it is not known where it is. */
int group_find(const struct group *group, uint64_t cookie);

/* Is it one of the decoys? */
bool group_is_decoy(const struct group *group, uint64_t cookie);

/* A position where nothing listens but a decoy. */
uint16_t group_nowhere(const struct group *group);

/* The positions of all members but the decoys, known or not. Returns how many there are. */
size_t group_members(const struct group *group, uint16_t ret[static POSITIONS_MAX]);

int group_attach(struct group *group, struct sock_filter *code, size_t n, struct error *err);

/* Reset what has come to the decoys. Returns how many connections. */
unsigned group_sweep(struct group *group);
