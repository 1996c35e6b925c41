/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * anchor: the daemon's own listening socket in an endpoint's reuseport group.
 *
 * It makes the group before any server is there, and the program is attached through it (it belongs
 * to the group, and any member would do). No table ever names the anchor. What is in its queue came
 * before the program, or is held there until a server can take it. Nothing is ever accepted from it
 * but to be reset.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/address.h"
#include "common/error.h"

/*
 * How many connections can wait at an anchor; the kernel allows no more than net.core.somaxconn.
 * One that comes when the queue is full is not refused: its client sends the SYN again.
 */
#define ANCHOR_BACKLOG 4096

/*
 * Bind and listen on @address with SO_REUSEPORT. Errors: -EADDRINUSE (something listens there
 * without SO_REUSEPORT, or as another user), -EACCES, -EADDRNOTAVAIL.
 *
 * @uid: who the servers' sockets will belong to. All sockets of a group must have one effective
 * uid, else bind(2) is EADDRINUSE (inet_csk(), sk_uid): the anchor is given it by fchown(2) before
 * bind.
 *
 * @cgroup_fd: the folder of the cgroup (v2) that the socket is to belong to; -1: the caller's. What
 * is established on it belongs there for ever, wherever it migrates to. *ret_inside (may be NULL)
 * says whether that could be had; if not it is an ordinary anchor.
 */
int anchor_open(const struct address *address, uid_t uid, int cgroup_fd, int *ret_fd,
		bool *ret_inside, struct error *err);

/*
 * A socket of the caller's cgroup that is bound like an anchor, non-blocking, and does not listen
 * yet: it joins its group when it does.
 */
int anchor_bind(const struct address *address, uid_t uid, int *ret_fd, struct error *err);

/*
 * Another that never listens, and so is in no group: while it is open nobody can bind @address who
 * does not share it (SO_REUSEPORT), or is another user.
 */
int anchor_reserve(const struct address *address, uid_t uid, int *ret_fd, struct error *err);

/* How many connections wait in the queue. Half-open ones are not in it yet. */
int anchor_queued(int fd, uint32_t *ret);

/* Attempts that the kernel has dropped, ever: the queue was full. Their clients try again. */
int anchor_dropped(int fd, uint64_t *ret);

/* Reset the @n connections that wait longest. Returns how many there were. */
unsigned anchor_reset(int fd, unsigned n);

/* Reset all that wait: those that came between listen(2) and the program. */
unsigned anchor_sweep(int fd);
