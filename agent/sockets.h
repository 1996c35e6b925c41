/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sockets: the instance's listening sockets as a whole, in whatever mode (enum socket_mode): makes
 * those that are passed, finds those that the server binds (finder.h), keeps watching which of them
 * count (roster.h), and lets go of them. The shell around those modules; what it says goes to
 * batond by way of agent.c.
 *
 *	sockets_prepare()	before each start of the server: what is it given?
 *	sockets_started()	it runs: from now on look
 *	sockets_stopped()	it has ended: nothing changes until it is started again
 *	sockets_close()		nobody will accept any more, as far as the agent is concerned
 *
 * It looks every 20 ms until every endpoint has a socket (for a minute at most), for two seconds
 * after each change, and where a socket seems to be lost; else every second, with a glance every 50
 *ms at whether what the server has bound is where it was. In SOCKETS_INHERIT nothing is looked for;
 *only whether the sockets listen, once they do and later.
 *
 * What is shut down and listens again is reported again, in a set with a new serial: the kernel has
 * taken it out of its group meanwhile.
 */
#pragma once

#include <systemd/sd-event.h>

#include "agent/listener.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/processes.h"
#include "common/protocol.h"

struct sockets;

struct sockets_handlers {
	/* The set has changed, or the strangers: tell batond (sockets_report()). */
	void (*on_change)(void *userdata);
	/* After sockets_watch_gone(): no process of the instance holds one any more. */
	void (*on_gone)(void *userdata);
};

/*
 * @spec, @processes, @handlers and @userdata must outlive it. @given: one descriptor for each
 * spec->listen where spec->sockets_given, else NULL; taken over, also on failure.
 */
int sockets_new(sd_event *event, const struct launch_spec *spec, struct processes *processes,
		const int *given, const struct sockets_handlers *handlers, void *userdata,
		struct sockets **ret, struct error *err);
void sockets_free(struct sockets *sockets);
DEFINE_CLEANUP(struct sockets *, sockets_free);

/*
 * Make what is to be passed: the first time all of them; later what has gone, but not for endpoints
 * that the server has bound sockets for itself (unless the command names what is passed: {fd}).
 * @ret_passed: what to pass, borrowed until the next call.
 */
int sockets_prepare(struct sockets *sockets, const struct listeners **ret_passed,
		    struct error *err);

void sockets_started(struct sockets *sockets);
void sockets_stopped(struct sockets *sockets);

/*
 * The server says READY=1: what it has bound by now is told before anybody hears that it is ready,
 * or it would be sent connections in a socket that it was passed and does not use. With
 * spec->listen_later, what does not listen yet does now.
 */
void sockets_ready(struct sockets *sockets);

/* Looks, and says whether a process that runs holds a listening socket the server has bound. */
bool sockets_hold_own(struct sockets *sockets);

/* Look now, and tell nobody: what was bound a moment ago must not be forgotten when leaving. */
void sockets_look(struct sockets *sockets);

/*
 * Fill in the set, its serial and the strangers; @ret_fds are duplicates that stay this module's,
 * as many as sockets. Whoever gets it has been told (see sockets_release()).
 */
void sockets_report(struct sockets *sockets, struct report *ret, int *ret_fds);

/*
 * ORDER_RELEASE. (What went out of the set before any daemon had heard of it has been let go of
 * right away.)
 */
void sockets_release(struct sockets *sockets, uint32_t serial);

/* Close the duplicates, and let go of what was out of the set; look no more. Again is harmless. */
void sockets_close(struct sockets *sockets);

/* Call on_gone once no process of the instance holds one that listens. After sockets_close(). */
void sockets_watch_gone(struct sockets *sockets);
/* Is that so now? Then on_gone is called. Nothing happens where that is not being watched. */
void sockets_check_gone(struct sockets *sockets);
void sockets_watch_stop(struct sockets *sockets);

/* Fetch those that processes of the instance still hold and shut them down. */
void sockets_shut(struct sockets *sockets);
