/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control: the agent's end of the connection to batond (common/protocol.h).
 *
 * There is one connection at a time. A newer one replaces the older, whose daemon has ended or is
 * about to. Only root and the agent's own user may connect. Each connection is greeted with a
 * hello. A bad order is logged and ignored.
 *
 * If nobody is connected, a report is dropped, because the next hello tells the whole state. A peer
 * that does not read (it is stopped, or busy) keeps its connection: what it cannot take yet waits
 * here, and of notifications and sets of sockets only the latest. At most CONTROL_WAITING_MAX
 * reports wait; of more the oldest are dropped, which is logged once.
 *
 * ORDER_KEEP and ORDER_VERSION are carried out here: no handler is called.
 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/paths.h"
#include "common/protocol.h"

#define CONTROL_WAITING_MAX 64

struct control;

struct control_handlers {
	/* Fill in the hello, and *ret_n descriptors to send with it; they stay the handler's. */
	void (*on_hello)(struct report *ret, int fds[static PROTOCOL_FDS_MAX], size_t *ret_n,
			 void *userdata);
	/* The hello has been sent: now other reports may follow. May be NULL. */
	void (*on_connected)(void *userdata);
	/* That connection has ended. Not called by control_free(). May be NULL. */
	void (*on_disconnected)(void *userdata);
	/*
	 * The peer reads again, and has missed a set of sockets: send the whole set that there is
	 * now. May be NULL.
	 */
	void (*on_sockets_missed)(void *userdata);
	/* A good order came. */
	void (*on_order)(const struct order *order, void *userdata);
};

/*
 * @fd is a listening AF_UNIX SOCK_SEQPACKET socket, and taken over, also on failure. The handlers
 * are copied and called with @userdata from the event loop. Returns 0 or a negative errno.
 */
int control_new(sd_event *event, int fd, const struct control_handlers *handlers, void *userdata,
		struct control **ret, struct error *err);

/* Close the connection and the socket. The socket's path stays: see control_unlink(). */
void control_free(struct control *control);
DEFINE_CLEANUP(struct control *, control_free);

/* On: who connects waits until it is off. Off at first. */
void control_hold(struct control *control, bool on);

/* Greet who has connected now, and not after what happens next. Does nothing if nobody has. */
void control_take(struct control *control);

/*
 * Send the report if somebody is connected, now or when the peer reads again. If that fails for
 * another reason than a full queue, the connection is closed.
 */
void control_send(struct control *control, const struct report *report);

/*
 * The same for a set of sockets, with @n_fds descriptors, which stay the caller's. It does not
 * wait: see on_sockets_missed.
 */
void control_send_with(struct control *control, const struct report *report, const int *fds,
		       size_t n_fds);

/* Wait until the peer has taken what waits, or has gone away; at most @timeout_ms. */
void control_flush(struct control *control, int timeout_ms);

/* Is a daemon connected? */
bool control_connected(const struct control *control);

/* The version of the protocol that is spoken with the daemon; 0: none is connected. */
uint32_t control_version(const struct control *control);

/* How many descriptors a daemon has given it to keep (ORDER_KEEP). */
uint32_t control_kept(const struct control *control);

/* The path of the socket; "": it has none. Returns @ret. */
char *control_path(const struct control *control, char ret[static PATHS_MAX]);

/* Remove the path of the socket, if it has one: the agent is about to end. */
void control_unlink(struct control *control);
