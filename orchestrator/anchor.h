/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * anchor: the daemon's own listening socket in an endpoint's reuseport group.
 *
 * It makes the group before any server is there, and it carries the program: the program belongs
 * to the group, not to a socket, and can be attached through any member. No table ever names the
 * anchor, so it accepts nothing.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "common/address.h"
#include "common/error.h"

/*
 * Bind and listen on @address with SO_REUSEPORT. @uid: who the servers' sockets will belong to;
 * all sockets of a group must have one effective uid, else bind(2) is EADDRINUSE (inet_csk(),
 * sk_uid), so the anchor is given it by fchown(2) before bind. Errors: -EADDRINUSE (something
 * listens there without SO_REUSEPORT, or as another user), -EACCES, -EADDRNOTAVAIL.
 */
int anchor_open(const struct address *address, uid_t uid, int *ret_fd, struct error *err);

/*
 * Reset whatever reached the anchor between listen(2) and the program's being attached (the
 * program can only be attached to a socket that already listens). Returns how many there were.
 */
unsigned anchor_sweep(int fd);

/* SO_COOKIE of a socket, 0 on failure. */
uint64_t anchor_cookie(int fd);
