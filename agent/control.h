/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control: the agent's end of the connection to batond (common/protocol.h).
 *
 * There is one connection at a time. A newer one replaces the older, whose daemon has ended or is
 * about to. Only root and the agent's own user may connect. Each connection is greeted with a
 * hello. A bad order is logged and ignored.
 *
 * Reports are not queued: if nobody is connected, a report is dropped, because the next hello tells
 * the whole state. For the same reason a peer that does not read loses its connection.
 *
 * ORDER_KEEP is carried out here: no handler is called.
 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/paths.h"
#include "common/protocol.h"

struct control;

struct control_handlers {
	/* Fill in the hello, and *ret_n descriptors to send with it; they stay the handler's. */
	void (*on_hello)(struct report *ret, int fds[static PROTOCOL_FDS_MAX], size_t *ret_n,
			 void *userdata);
	/* The hello has been sent: now other reports may follow. May be NULL. */
	void (*on_connected)(void *userdata);
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

/* Send the report if somebody is connected. If that fails, the connection is closed. */
void control_send(struct control *control, const struct report *report);

/* The same, with @n_fds descriptors, which stay the caller's. */
void control_send_with(struct control *control, const struct report *report, const int *fds,
		       size_t n_fds);

/* Is a daemon connected? */
bool control_connected(const struct control *control);

/* How many descriptors a daemon has given it to keep (ORDER_KEEP). */
uint32_t control_kept(const struct control *control);

/* The path of the socket; "": it has none. Returns @ret. */
char *control_path(const struct control *control, char ret[static PATHS_MAX]);

/* Remove the path of the socket, if it has one: the agent is about to end. */
void control_unlink(struct control *control);
