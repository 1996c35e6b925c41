/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * roster: which of the instance's listening sockets count, that is, are reported to batond and may
 * be named by a table: those that somebody will accept from. Pure: it looks at what others have
 * noted in the list (listener.h, holders.h) and sets .counts and .out_serial.
 *
 *	passed, SOCKETS_INHERIT	counts as soon as it listens
 *	passed, SOCKETS_AUTO	counts while a process of the instance holds it, and unless there is
 *				one for the same endpoint that the server has bound itself (but then
 *				too, where the command names the descriptors that are passed)
 *	own			counts while a process of the instance holds it
 *	does not listen		(shut down, and perhaps about to listen again) counts on if it did,
 *				unless there is one that does for the same endpoint
 *	of an earlier run	a server that has crashed is started again and binds new sockets:
 *				until it has, the old ones count, and hold the connections
 *
 * While no server runs, nothing changes. What no longer counts is kept open, since a table may name
 * it, until batond says that none does (ORDER_RELEASE).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/listener.h"
#include "common/protocol.h"

/* For so long a socket may be held by no process before that means something. */
#define ROSTER_LOST_MS 100

struct roster_view {
	enum socket_mode mode;
	bool named;   /* the command or the environment name the descriptors that are passed */
	bool alive;   /* the server runs */
	bool patient; /* sockets of an earlier run may wait for others still */
	uint64_t now_ms;
};

/*
 * Returns whether other ones count now; *serial is then the next number, and never 0. At most
 * PROTOCOL_SOCKETS_MAX count.
 */
bool roster_update(struct listeners *listeners, const struct roster_view *view, uint32_t *serial);

/* Does one count for each of the @n_endpoints? */
bool roster_is_complete(const struct listeners *listeners, size_t n_endpoints);

/*
 * May the agent let go of it, the set numbered @serial (0: the present one) being the one that the
 * tables name?
 */
bool roster_may_go(const struct listener *listener, uint32_t serial);

/* Is somebody about to find out whether it is lost? Then looking again soon is worth it. */
bool roster_is_unsure(const struct listeners *listeners, uint64_t now_ms);
