/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * positions: where each socket stands in its reuseport group. Pure.
 *
 * A classic BPF program chooses by position (SO_ATTACH_REUSEPORT_CBPF, socket(7)). A socket that
 * begins to listen gets the last position; when one goes, the last one takes its place
 * (sock_reuseport.c: __reuseport_add_sock(), __reuseport_detach_sock()). So a socket whose server
 * dies would move another one, perhaps the one that the program names. Decoys prevent that:
 * listening sockets of ours that nothing is ever sent to. As long as the last positions are decoys,
 * at least as many as there are real sockets, whatever real socket goes, a decoy takes its
 * place, and no other real one moves.
 *
 * This module keeps the model and says what to do; who calls it opens and closes the decoys.
 *
 *	positions_added()	a real socket has begun to listen; it may be moved right away by
 *				closing a decoy in a lower position (POSITIONS_CLOSE), since nothing
 *				is sent to it yet. So holes that earlier sockets left are filled.
 *	positions_removed()	a real socket has gone; the last decoy stands where it was.
 *	positions_next()	what is left to do, until POSITIONS_DONE.
 *
 * The group has then at most 2 x N + 4 members, if there were never more than N real sockets at one
 * time.
 *
 * Real sockets die without telling, and two that did may be removed here in another order than in
 * the kernel. That moves no real socket to a place which the model does not know, but it can swap
 * decoys; and of a socket that others have opened not even the place is sure. So the caller can
 * measure, and correct the model: positions_found(), and .lost for what is not found yet.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POSITIONS_MAX 512

/* A socket: its cookie. A decoy has a cookie too, and .decoy set. */
struct position {
	uint64_t cookie;
	bool decoy;
	bool lost; /* real, and its position is a guess; set and cleared by the caller */
};

struct positions {
	struct position list[POSITIONS_MAX];
	size_t n;
};

enum positions_step {
	POSITIONS_DONE,
	POSITIONS_OPEN,  /* open a decoy, then call positions_opened() with its cookie */
	POSITIONS_CLOSE, /* close the decoy *ret_cookie, then call positions_closed() with it */
};

/* -ENOSPC: the group would be too large with its decoys. */
int positions_added(struct positions *positions, uint64_t cookie);
void positions_removed(struct positions *positions, uint64_t cookie);

/*
 * A lost socket is not moved, as it need not be the last one. No step takes the last decoy from a
 * group.
 */
enum positions_step positions_next(const struct positions *positions, uint64_t *ret_cookie);
void positions_opened(struct positions *positions, uint64_t cookie);
void positions_closed(struct positions *positions, uint64_t cookie);

/*
 * Measured: @cookie stands at @position. What was thought to be there changes places with it; if
 * that was a real socket, it is lost.
 */
void positions_found(struct positions *positions, uint64_t cookie, size_t position);

/* The position of @cookie, or -ENOENT. */
int positions_find(const struct positions *positions, uint64_t cookie);
