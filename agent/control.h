/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control: the agent's side of its control socket.
 *
 * One connection at a time; a newer one replaces the older, whose daemon is gone or about to be.
 * Only root and the agent's own user are let in. Each connection is greeted with a hello; a bad
 * order is logged and ignored. Reports are not queued while nobody is connected, since the next
 * hello says how things stand; a peer that does not read loses the connection for the same reason.
 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/protocol.h"

struct control;

struct control_handlers {
	/* Fill in the hello and the descriptors to go with it (they stay the handler's). */
	void (*on_hello)(struct report *ret, int fds[static PROTOCOL_FDS_MAX], size_t *ret_n,
			 void *userdata);
	/* The hello has been sent. May be NULL. */
	void (*on_connected)(void *userdata);
	void (*on_order)(const struct order *order, void *userdata);
};

/* @fd: a listening AF_UNIX SOCK_SEQPACKET socket; taken over, also on failure. */
int control_new(sd_event *event, int fd, const struct control_handlers *handlers, void *userdata,
		struct control **ret, struct error *err);

/* Closes the connection and the socket; control_unlink() is called before where it is the end. */
void control_free(struct control *control);
DEFINE_CLEANUP(struct control *, control_free);

/* Send it if somebody is connected. Trouble with that ends the connection, and nothing else. */
void control_send(struct control *control, const struct report *report);

/* The same with descriptors, which stay the caller's. */
void control_send_with(struct control *control, const struct report *report, const int *fds,
		       size_t n_fds);

bool control_connected(const struct control *control);

/* Remove the socket's path, where it has one. */
void control_unlink(struct control *control);
