/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * socket: what is asked of a socket that somebody else has made.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/address.h"

/*
 * Is a socket that is bound to @local in the group of @address, if it shares its port? @v6only is
 * its IPV6_V6ONLY: the kernel puts no socket that takes IPv4 too into one group with one that does
 * not, whatever they are bound to (inet_hashtables.c: inet_reuseport_add_sock()).
 */
bool socket_is_of_group(const struct address *address, const struct sockaddr *local, bool v6only);

/*
 * Let a listening socket take no new connections: the kernel drops what opens one, and clients try
 * again a second later. What it has already, and handshakes that have begun, go on. For a socket
 * that stands in the way and is about to be closed. Negative errno on failure.
 */
int steer_deafen(int listen_fd);

/* SO_COOKIE of a socket: its name in socket arrays and sock_diag. 0 on failure. */
uint64_t steer_cookie(int fd);
