/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * roster: decides which of the instance's listening sockets count. A socket counts if somebody will
 * accept from it: it is then reported to batond, and a table may name it. Pure: roster_update()
 * reads what others have noted in the list (listener.h, holders.h) and sets .counts and
 * .out_serial.
 *
 *	passed, SOCKETS_INHERIT	counts as soon as it listens, while a process holds it
 *	passed, SOCKETS_AUTO	counts while a process of the instance holds it. But not if the
 *				server has bound a socket for the same endpoint itself, unless the
 *				command names the descriptors that are passed
 *	own			counts while a process of the instance holds it
 *	does not listen		It was shut down, and perhaps will listen again. It goes on counting
 *				if it counted, unless another one for the same endpoint listens. The
 *				set says of it that it is deaf: nobody is served by it
 *	of an earlier run	A server that crashed is started again and binds new sockets. Until
 *				it has, the old ones count, and their queues hold the connections
 *
 * While no server runs, nothing changes. A socket that no longer counts stays open, since a table
 * may name it, until batond says that none does (ORDER_RELEASE).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/listener.h"
#include "common/protocol.h"

/* A socket that no process holds for less than this may be on its way between two of them. */
#define ROSTER_LOST_MS 100

/* What roster_update() must know besides the list. */
struct roster_view {
	enum socket_mode mode;
	bool named;      /* the command or the environment names the passed descriptors */
	bool alive;      /* the server runs */
	bool patient;    /* sockets of an earlier run may still wait for the new ones */
	uint64_t now_ms; /* CLOCK_MONOTONIC */
};

/*
 * Decide anew which listeners count, at most PROTOCOL_SET_MAX. If they are others than before,
 * *serial becomes the next number, never 0, and true is returned.
 */
bool roster_update(struct listeners *listeners, const struct roster_view *view, uint32_t *serial);

/* Does a socket count for each of the @n_endpoints? */
bool roster_is_complete(const struct listeners *listeners, size_t n_endpoints);

/* The tables name only sockets of the set @serial (0: the present one): may this one be closed? */
bool roster_may_go(const struct listener *listener, uint32_t serial);

/* Is a socket lost for less than ROSTER_LOST_MS? Then it is worth looking again soon. */
bool roster_is_unsure(const struct listeners *listeners, uint64_t now_ms);
