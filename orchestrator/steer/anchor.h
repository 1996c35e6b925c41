/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * anchor: the daemon's own listening socket in an endpoint's reuseport group.
 *
 * It makes the group before any server is there, and it carries the program: the program belongs
 * to the group, not to a socket, and can be attached through any member. No table ever names the
 * anchor; what is in its queue came before the program, or is held there until a server can take
 * it. Nobody accepts from it but to reset.
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
 * Bind and listen on @address with SO_REUSEPORT. @uid: who the servers' sockets will belong to;
 * all sockets of a group must have one effective uid, else bind(2) is EADDRINUSE (inet_csk(),
 * sk_uid), so the anchor is given it by fchown(2) before bind. Errors: -EADDRINUSE (something
 * listens there without SO_REUSEPORT, or as another user), -EACCES, -EADDRNOTAVAIL.
 */
int anchor_open(const struct address *address, uid_t uid, int *ret_fd, struct error *err);

/* The same up to bind(2): a socket joins its group when it listens. It is non-blocking. */
int anchor_bind(const struct address *address, uid_t uid, int *ret_fd, struct error *err);

/*
 * The same with a socket of another cgroup (v2; @cgroup_fd is its folder) than the caller's: what
 * is established on it belongs there for ever, wherever it migrates to. *ret_inside: whether that
 * could be had; else it is an ordinary anchor. @cgroup_fd -1: none is asked for.
 */
int anchor_open_in(const struct address *address, uid_t uid, int cgroup_fd, int *ret_fd,
		   bool *ret_inside, struct error *err);

/* How many connections wait in the queue. Half-open ones are not in it yet. */
int anchor_queued(int fd, uint32_t *ret);

/* Reset the @n connections that wait longest. Returns how many there were of them. */
unsigned anchor_reset(int fd, unsigned n);

/* The same of all. For those that came between listen(2) and the program. */
unsigned anchor_sweep(int fd);

/* SO_COOKIE of a socket, 0 on failure. */
uint64_t anchor_cookie(int fd);
