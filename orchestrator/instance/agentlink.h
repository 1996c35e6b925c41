/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * agentlink: the daemon's connection to one agent. It starts the agent, sends it orders and
 * receives its reports (common/protocol.h).
 *
 * The daemon makes the control socket and connects to it before it forks the agent. So there is
 * nothing to wait for: the agent finds the connection in its queue and sends its hello. Freeing the
 * link does not end the agent; ORDER_STOP does.
 *
 * A connection says nothing of the agent, whether it ends or goes on: it is dead as soon as its
 * pidfd says so. While it lives the link connects again, at once, then after growing delays.
 * Whoever has not greeted by the deadline is given up: ended by its pidfd. Nothing here waits:
 * on_lost says when it is over.
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
	/*
	 * The connection has ended, and the agent lives. The link connects to it again: what was
	 * ordered last may not have arrived, and what it reported meanwhile is lost. Its next
	 * report is its hello, with the whole state. May be NULL.
	 */
	void (*on_hung_up)(void *userdata);
	/* No report will come any more: agentlink_loss() says why. Called once; may free the link.
	 */
	void (*on_lost)(void *userdata);
};

/* So long an agent has to greet whoever connects to it. */
#define AGENTLINK_DEADLINE_MS 60000

/* Another deadline than AGENTLINK_DEADLINE_MS, for all links that wait from now on. */
void agentlink_set_deadline(uint32_t deadline_ms);
uint32_t agentlink_deadline(void);

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
 * the server over it ends, and on_lost is called; also if it has not greeted by the deadline.
 */
int agentlink_adopt(sd_event *event, const char *program, const char *socket_path,
		    const struct launch_spec *spec, int handover_fd,
		    const struct agentlink_callbacks *callbacks, void *userdata,
		    struct agentlink **ret, struct error *err);

/*
 * Connect to the agent of an earlier daemon at @socket_path. Its first report is its hello, with
 * which its pid becomes known. -ECONNREFUSED: nobody listens there, and no callback is called.
 *
 * @pidfd is the agent's, @pid too, if they are known already; else -1 and 0. It is the link's then,
 * also on failure. As long as it says that the agent lives, the link tries again.
 */
int agentlink_connect(sd_event *event, const char *socket_path, pid_t pid, int pidfd,
		      const struct agentlink_callbacks *callbacks, void *userdata,
		      struct agentlink **ret, struct error *err);

/* The same for one that is connecting, as soon as it is known who the agent is. */
void agentlink_know(struct agentlink *link, pid_t pid, int pidfd);

/* Call nobody from now on. What is reported meanwhile waits, as does the end of the agent. */
void agentlink_rest(struct agentlink *link);

/* Call @callbacks from now on. */
void agentlink_listen(struct agentlink *link, const struct agentlink_callbacks *callbacks,
		      void *userdata);

/* What is known of the agent, once on_lost is called. */
enum agentlink_loss {
	AGENTLINK_ENDED,    /* it has ended */
	AGENTLINK_GIVEN_UP, /* it has been ended, as it had not greeted by the deadline */
	AGENTLINK_UNKNOWN,  /* it does not greet, and nobody knows which process it is */
	AGENTLINK_UNFIT,    /* it lives, and speaks no version that the daemon speaks, too */
};
enum agentlink_loss agentlink_loss(const struct agentlink *link);

void agentlink_free(struct agentlink *link);
DEFINE_CLEANUP(struct agentlink *, agentlink_free);

/* 0: it has not greeted yet, and nobody has told. */
pid_t agentlink_pid(const struct agentlink *link);

/* The version of the protocol that is spoken with the agent; 0: its hello has not come. */
uint32_t agentlink_version(const struct agentlink *link);

/* After on_lost, of one that is AGENTLINK_UNFIT: which versions met, and what to do. Else NULL. */
const char *agentlink_unfit(const struct agentlink *link);

/*
 * Send @signal to the agent, and to no other process that has its pid by now. Returns 0, -ESRCH if
 * it has ended, or another negative errno.
 */
int agentlink_signal(const struct agentlink *link, int signal);

/*
 * -ENOTCONN: on_lost has been called; -EAGAIN: the agent does not read, or has not greeted again
 * after it had hung up. The order is lost then. One for which there is no memory goes out as soon
 * as there is, and those after it too; a few may wait.
 */
int agentlink_order(struct agentlink *link, const struct order *order);

/* The same, with @n_fds descriptors, which stay the caller's. */
int agentlink_order_with(struct agentlink *link, const struct order *order, const int *fds,
			 size_t n_fds);
