/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * agentlink: the daemon's end of one agent: starts it, sends it orders, receives its reports
 * (common/protocol.h).
 *
 * The control socket is made and connected to before the agent is forked, so there is nothing to
 * wait for: the agent finds the connection in its queue and greets it. Freeing the link does not
 * end the agent; ORDER_STOP does.
 */
#pragma once

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/protocol.h"

struct agentlink;

struct agentlink_callbacks {
	/*
	 * A report, with the descriptors that came with it. Descriptors are closed afterwards;
	 * take one by setting it to -1. The link must not be freed in here.
	 */
	void (*on_report)(void *userdata, const struct report *report, int *fds, size_t n_fds);
	/* The connection has ended, with the agent in all likelihood. Called once. */
	void (*on_lost)(void *userdata);
};

/*
 * Start @program as the agent of @spec, with its control socket at @socket_path (an old file there
 * is replaced). @callbacks and @userdata must outlive the link. @socket_fds: one listening socket
 * for each spec->listen where spec->sockets_given says so, else NULL; they stay the caller's.
 */
int agentlink_start(sd_event *event, const char *program, const char *socket_path,
		    const struct launch_spec *spec, const int *socket_fds,
		    const struct agentlink_callbacks *callbacks, void *userdata,
		    struct agentlink **ret, struct error *err);

/*
 * Connect to the agent of an earlier daemon at @socket_path and wait for its hello, at most
 * @timeout_ms. @ret_fds has room for PROTOCOL_FDS_MAX; what is returned there is the caller's. No
 * callback is called before agentlink_listen(). -ECONNREFUSED: nobody is there.
 */
int agentlink_connect(sd_event *event, const char *socket_path, int timeout_ms,
		      struct agentlink **ret, struct report *ret_hello, int *ret_fds,
		      size_t *ret_n_fds, struct error *err);

/* From now on this is who is told. For links of agentlink_connect(). */
void agentlink_listen(struct agentlink *link, const struct agentlink_callbacks *callbacks,
		      void *userdata);

void agentlink_free(struct agentlink *link);
DEFINE_CLEANUP(struct agentlink *, agentlink_free);

pid_t agentlink_pid(const struct agentlink *link);

/* -ENOTCONN after on_lost, -EAGAIN where the agent does not read. */
int agentlink_order(struct agentlink *link, const struct order *order);
