/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * agentlink: the daemon's connection to one agent. It starts the agent, sends it orders and
 * receives its reports (common/protocol.h).
 *
 * The daemon makes the control socket and connects to it before it forks the agent. So there is
 * nothing to wait for: the agent finds the connection in its queue and sends its hello. Freeing the
 * link does not end the agent; ORDER_STOP does.
 *
 * Each hello is asked which versions of the protocol its agent speaks (versions.h), and the agent
 * is told which one is taken. If there is none the link ends, and the agent is left alone.
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
	 * A report, with the descriptors that came with it. They are closed afterwards; to keep
	 * one, set it to -1. The link must not be freed in here.
	 */
	void (*on_report)(void *userdata, const struct report *report, int *fds, size_t n_fds);
	/* The connection has ended, with the agent in all likelihood. Called once; may free it. */
	void (*on_lost)(void *userdata);
};

/*
 * Start @program as the agent of @spec, with its control socket at @socket_path; a file there is
 * replaced. @callbacks and @userdata must outlive the link. @socket_fds: if spec->sockets_given,
 * one listening socket for each spec->listen, else NULL. They stay the caller's.
 */
int agentlink_start(sd_event *event, const char *program, const char *socket_path,
		    const struct launch_spec *spec, const int *socket_fds,
		    const struct agentlink_callbacks *callbacks, void *userdata,
		    struct agentlink **ret, struct error *err);

/*
 * Start @program as the agent of a server that runs already: another agent has started it, was
 * killed, and has written down what is in the file @handover_fd (handover.h). @spec is that of
 * @handover. It stays the caller's. The new agent's first report is its hello. If it cannot take
 * the server over it ends, and on_lost is called.
 */
int agentlink_adopt(sd_event *event, const char *program, const char *socket_path,
		    const struct launch_spec *spec, int handover_fd,
		    const struct agentlink_callbacks *callbacks, void *userdata,
		    struct agentlink **ret, struct error *err);

/*
 * The same for a daemon that has just been started: wait for the hello for at most @timeout_ms, as
 * agentlink_connect() does.
 */
int agentlink_adopt_wait(sd_event *event, const char *program, const char *socket_path,
			 const struct launch_spec *spec, int handover_fd, int timeout_ms,
			 struct agentlink **ret, struct report *ret_hello, int *ret_fds,
			 size_t *ret_n_fds, struct error *err);

/*
 * Connect to the agent of an earlier daemon at @socket_path, and wait for its hello for at most
 * @timeout_ms. @ret_fds has room for PROTOCOL_FDS_MAX; the caller owns what is returned there. No
 * callback is called before agentlink_listen(). -ECONNREFUSED: nobody listens there;
 * -EPROTONOSUPPORT: they have no version of the protocol in common.
 */
int agentlink_connect(sd_event *event, const char *socket_path, int timeout_ms,
		      struct agentlink **ret, struct report *ret_hello, int *ret_fds,
		      size_t *ret_n_fds, struct error *err);

/*
 * For links of agentlink_connect(), before agentlink_listen(): wait for the next report, which must
 * be of @type. Otherwise as agentlink_connect().
 */
int agentlink_receive(struct agentlink *link, int timeout_ms, enum report_type type,
		      struct report *ret, int *ret_fds, size_t *ret_n_fds, struct error *err);

/* For links of agentlink_connect(): call @callbacks from now on. */
void agentlink_listen(struct agentlink *link, const struct agentlink_callbacks *callbacks,
		      void *userdata);

void agentlink_free(struct agentlink *link);
DEFINE_CLEANUP(struct agentlink *, agentlink_free);

pid_t agentlink_pid(const struct agentlink *link);

/* The version of the protocol that is spoken with the agent; 0: its hello has not come. */
uint32_t agentlink_version(const struct agentlink *link);

/* Why on_lost was called, if agent and daemon have no version in common; else NULL. */
const char *agentlink_unfit(const struct agentlink *link);

/*
 * Send @signal to the agent, and to no other process that has its pid by now. Returns 0, -ESRCH if
 * it has ended, or another negative errno.
 */
int agentlink_signal(const struct agentlink *link, int signal);

/* -ENOTCONN: on_lost has been called; -EAGAIN: the agent does not read. The order is lost then. */
int agentlink_order(struct agentlink *link, const struct order *order);

/* The same, with @n_fds descriptors, which stay the caller's. */
int agentlink_order_with(struct agentlink *link, const struct order *order, const int *fds,
			 size_t n_fds);
