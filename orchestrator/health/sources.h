/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sources: the client's ends of the connections that a check has made, and that its server may
 * still have. They are no clients' connections, so whoever counts these leaves them out.
 *
 * A server that answers closes such a connection itself. One that hangs keeps each of them, in its
 * queue or open, long after the check has given up and closed its own end. Such a one is known by
 * its cookie from then on: its source port may be anybody's later.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/address.h"
#include "common/diag.h"

/*
 * A check that hangs leaves one connection at each interval; a command of the operator's has some
 * dozens of local ports. The oldest are forgotten first.
 */
#define SOURCES_MAX 128 /* a power of two */

/* All zero: none. */
struct sources {
	struct source *list;
	size_t n, size;
};

/*
 * A connection from @source to the server at @address is about to be made. Before more memory is
 * taken, those that the server no longer has are forgotten. Without memory it counts like a
 * client's.
 */
void sources_add(struct sources *sources, struct diag *diag, const struct address *address,
		 const struct sockaddr *source);

/* The check closes its end: keep it only if the server has its own end. One look-up. */
void sources_close(struct sources *sources, struct diag *diag, const struct address *address,
		   const struct sockaddr *source);

/*
 * How many of them wait for accept(2) at the server at @address; forgets what it no longer has.
 * Costs one look-up for each. To be asked after the number that they are part of: a connection that
 * ends in between is then counted once too often, never once too few.
 */
uint32_t sources_queued(struct sources *sources, struct diag *diag, const struct address *address);

/*
 * 1: the connection from @source waits for accept(2) at the server at @address, or is half open
 * still; 0: it has been accepted. -ENOENT: there is none, or the kernel only remembers it. One
 * look-up.
 */
int sources_waits(struct diag *diag, const struct address *address, const struct sockaddr *source);

/* Do both name the same end? One of them may be IPv4-mapped. */
bool sources_same(const struct sockaddr *a, const struct sockaddr *b);

/* Is it one of them? */
bool sources_has(const struct sources *sources, const struct diag_connection *connection);

void sources_done(struct sources *sources);
