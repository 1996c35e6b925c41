/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sockets: all listening sockets of the instance, whatever its mode (enum socket_mode). It makes
 * those that are passed (listener.h), finds those that the server binds (finder.h), keeps watching
 * which of them count (roster.h), and closes them. It is the shell around these modules. agent.c
 * reports to batond what it finds.
 *
 *	sockets_prepare()	before each start of the server: which sockets does it get?
 *	sockets_started()	the server runs: begin to look
 *	sockets_stopped()	it has ended: nothing changes until it is started again
 *	sockets_close()		the server leaves: close the agent's duplicates
 *
 * When it looks:
 *	at once		if somebody says that the server listens (sockets_hint()), if a process that
 *			holds a socket ends (endings.h), or a socket is shut down (hangups.h)
 *	every 20 ms	while a socket seems to be lost, and for a moment after each change. Without
 *			hints for two seconds, and until each endpoint has a socket, for a minute at
 *			most
 *	every second	without hints, or while something is missing or lost; sooner if a socket that
 *			could not be had is to be tried again (finder.h)
 *	after 1 s, 2 s, 4 s ... 64 s	else. Only sockets on undeclared addresses may be found as
 *			late as that
 *
 * To look for sockets costs the kernel a walk over all that listen. In between it glances whether
 * each known one is still where it was, which costs a readlink(2) each: nobody tells that a process
 * has closed one. It does so every 50 ms (250 ms in SOCKETS_INHERIT); once nothing has changed for
 * five seconds, every 250 ms, or with hints every 700 ms.
 *
 * In SOCKETS_INHERIT it looks for no sockets, only whether those that were passed listen and are
 * held. The duplicates that the agent keeps would go on listening, with nobody to accept, when the
 * server has closed its own; nothing but a look into /proc/PID/fd tells that.
 *
 * A socket that is shut down is reported as deaf. When it listens again it is reported again, in a
 * set with a new serial, however short that was: the kernel has taken it out of its group.
 */
#pragma once

#include <systemd/sd-event.h>

#include "agent/listener.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/orphans.h"
#include "common/processes.h"
#include "common/protocol.h"

struct sockets;

struct sockets_handlers {
	/* The set, the strangers or the trouble have changed: tell batond, by sockets_report(). */
	void (*on_change)(void *userdata);
	/* After sockets_watch_gone(): no process of the instance holds a socket that listens. */
	void (*on_gone)(void *userdata);
	/* A process that is none of the instance's has kept a listening socket. May be NULL. */
	void (*on_orphan)(void *userdata, const struct orphan *orphan);
};

/*
 * @spec, @processes, @handlers and @userdata are borrowed and must outlive it. @given: one
 * descriptor for each spec->listen if spec->sockets_given, else NULL. They are taken over, also on
 * failure.
 */
int sockets_new(sd_event *event, const struct launch_spec *spec, struct processes *processes,
		const int *given, const struct sockets_handlers *handlers, void *userdata,
		struct sockets **ret, struct error *err);
void sockets_free(struct sockets *sockets);
DEFINE_CLEANUP(struct sockets *, sockets_free);

/*
 * Make the sockets that are passed: at first all of them, later those that have gone. An endpoint
 * for which the server has bound a socket itself needs none, unless the command names the passed
 * ones by {fd}. *ret_passed: the sockets to pass, borrowed until the next call. Returns 0 or a
 * negative errno.
 */
int sockets_prepare(struct sockets *sockets, const struct listeners **ret_passed,
		    struct error *err);

/* See above. */
void sockets_started(struct sockets *sockets);
void sockets_stopped(struct sockets *sockets);

/*
 * Instead of the first sockets_started(): the server runs already, and an earlier agent has watched
 * it, which had these @n @sockets in the set with number @serial. @closed: it had closed its
 * duplicates. Returns 0, or a negative errno if one that the server has cannot be fetched.
 */
int sockets_adopt(struct sockets *sockets, const struct report_socket *list, size_t n,
		  uint32_t serial, bool closed, struct error *err);

/* The same as sockets_report(), for the next agent: those whose duplicates are closed, too. */
void sockets_note(const struct sockets *sockets, struct report *ret);

/*
 * The server says READY=1. Look now, and tell batond of changes before it hears that the server is
 * ready. Otherwise connections would go to a passed socket that the server does not use. With
 * spec->listen_later, call listen(2) for the passed sockets that do not listen yet.
 */
void sockets_ready(struct sockets *sockets);

/* Are sockets passed, and is LISTEN_PID the only way for the server to know? */
bool sockets_are_passed_by_pid(const struct sockets *sockets);

/* All of them, those included that count no longer. Borrowed until the next look. */
const struct listeners *sockets_listeners(const struct sockets *sockets);

/* Look now, and tell batond of what has changed. After sockets_close() nothing happens. */
void sockets_look_and_tell(struct sockets *sockets);

/* Look now, but tell nobody. When leaving, a socket that was bound just now must be known, too. */
void sockets_look(struct sockets *sockets);

/*
 * batond hears from the kernel of each listen(2) on a declared port: this is called then, and once
 * when that begins. From then on hardly anything is looked for otherwise. sockets_unhint(): it
 * hears of them no longer.
 */
void sockets_hint(struct sockets *sockets);
void sockets_unhint(struct sockets *sockets);

/*
 * batond looks by itself, and has seen that the sockets on the declared ports are others. Once all
 * are there that should be, the kernel is not asked for them any more but then. The server is
 * looked at as often as without that. sockets_unhint() ends it.
 */
void sockets_hint_late(struct sockets *sockets);

/*
 * Fill in the set from its @first socket on, as many as one report has room for, its serial, the
 * strangers and the trouble. @ret_fds has room for PROTOCOL_SOCKETS_MAX; it gets a descriptor for
 * each socket, which stays this module's. The sockets count as told: from then on they stay open
 * until sockets_release().
 */
void sockets_report(struct sockets *sockets, uint32_t first, struct report *ret, int *ret_fds);

/*
 * ORDER_RELEASE: the tables name only sockets of the set @serial (0: the present one). Shut down
 * and close the others, SOCKETS_SETTLE_MS from now: a handshake that a table had sent there just
 * before must not meet a socket that closes. (A socket that no daemon was told of was closed when
 * it left the set.)
 */
#define SOCKETS_SETTLE_MS 20
void sockets_release(struct sockets *sockets, uint32_t serial);

/*
 * ORDER_FAMILY: the sockets of @endpoint are of the declared family, or (@twin) of the other one.
 * Calls on_change.
 */
void sockets_set_family(struct sockets *sockets, uint32_t endpoint, bool twin);

/*
 * Shut down and close the sockets outside the set, close the duplicates of the others, and look no
 * more. To call it again does no harm.
 */
void sockets_close(struct sockets *sockets);

/* After sockets_close(): call on_gone once no process of the instance holds one that listens. */
void sockets_watch_gone(struct sockets *sockets);
/* Look now whether that is so, if it is being watched. */
void sockets_check_gone(struct sockets *sockets);
/* Watch it no longer. */
void sockets_watch_stop(struct sockets *sockets);

/*
 * After sockets_close(): shut down those that still listen, whoever has them. on_orphan tells of
 * each that no process of the instance had.
 */
void sockets_shut(struct sockets *sockets);
