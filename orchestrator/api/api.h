/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api: HTTP + JSON on the daemon's unix socket. The one module that uses libmicrohttpd (its epoll
 * mode, inside the daemon's event loop).
 *
 *	GET  /v1/services			{"services": [ ... ]}
 *	GET  /v1/services/NAME			one of them
 *	GET  /v1/services/NAME/connections	?limit=N (default: API_CONNECTIONS_SHOWN)
 *	POST /v1/services/NAME/ORDER		restart, upgrade, rollback, stop, start, scale,
 *						promote, abort, pause, resume, reopen: 202 and
 *						the "rollout" that goes on; 200 without one: all
 *						is done ("reopen" is answered when it is)
 *	POST /v1/reload				the configuration is read again: 200, or 422 with
 *						its "mistakes"
 *	POST /v1/leave				batond ends, all else goes on: 200, then it does
 *	GET  /v1/events				one JSON object a line (below)
 *	GET  /v1/version			{"name", "version", "pid", "epoch", "seq", "loop"}
 *	GET  /healthz				200 "ok\n": batond lives
 *	GET  /readyz				200, or 503 if a service that should serve does
 *						not: {"ready", "services": [{"service",
 *						"condition", "reason"}]}
 *
 * Events: ?service=NAME, ?since=SEQ or EPOCH:SEQ (default: only what comes from now on; 0: all that
 * is kept), ?epoch=EPOCH; ?follow=1 keeps the connection open and sends what comes. With "Accept:
 * text/event-stream" they are server-sent events, whose Last-Event-ID stands in for a missing
 * ?since. A reader who has missed some is told by an event "dropped" (event_stream.h).
 *
 * HEAD is answered wherever GET is. Errors are problem documents (RFC 9457,
 * application/problem+json) with "title", "status", "detail" and "code", the exit status that the
 * command line gives for them: 400 bad body or query, 403 not allowed, 404, 405 (with Allow), 408
 * request too slow, 413 body too large, 500, 503 busy, and the statuses of the backend's refusals.
 * Mistakes of a configuration are listed as "mistakes", an array of texts.
 *
 * The daemon's owner and root may do everything (SO_PEERCRED decides). The configured group may
 * read; without one nobody else may connect. Bodies are at most API_BODY_MAX bytes.
 *
 * No client can keep others out, or the daemon's loop from its work: api_places.h has the limits of
 * connections, followers and lists, and the time that each may take; api_turns.h says whose answer
 * is made next. Whoever meets a limit is told so: 503 with Retry-After and code 6. A follower only
 * misses what the ring of events has dropped, and holds up nobody; it may stay for ever as long as
 * it takes what it is sent. A stream with nothing to say sends an empty line (or comment) every
 * API_HEARTBEAT_MS.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/api/api_places.h"
#include "orchestrator/api/api_problem.h"
#include "orchestrator/api/api_reply.h"
#include "orchestrator/api/api_text.h"
#include "orchestrator/api/events.h"

#define API_BODY_MAX     (128 * 1024)
#define API_HEARTBEAT_MS 15000

#define API_CONNECTIONS_SHOWN     1000
#define API_CONNECTIONS_SHOWN_MAX 100000

/*
 * What the daemon behind the API does. The functions return a new JSON reference, which is sent as
 * it is; NULL: they refuse, and have filled @problem. They may add events, but not free the API.
 */
struct api_backend {
	/*
	 * An answer to list() (@service NULL) or get() has to wait for files that are looked at:
	 * true, and api_reply_send() is called later. NULL: none ever has.
	 */
	bool (*look)(void *userdata, const char *service, struct api_reply *reply);
	json_t *(*list)(void *userdata); /* {"services": [ ... ]} */
	json_t *(*get)(void *userdata, const char *service, struct api_problem *problem);
	/* {"service", "total", "shown", "connections": [ ... ]}, of which at most @limit, as
	 * *ret, which is freed when it has been sent. A negative errno: refused. */
	int (*connections)(void *userdata, const char *service, size_t limit, struct api_text *ret,
			   struct api_problem *problem);
	/*
	 * @body is a JSON object, empty if the request had none; borrowed. An answer with a
	 * member "rollout" is sent as 202, any other as 200. If the answer is not there yet, it
	 * calls api_reply_wait(), returns NULL, and calls api_reply_send() later.
	 */
	json_t *(*order)(void *userdata, const char *service, const char *order, const json_t *body,
			 struct api_reply *reply, struct api_problem *problem);
	/*
	 * Read the configuration again; in single mode, or with mistakes in it, refused. The answer
	 * may come later, like that of an order.
	 */
	json_t *(*reload)(void *userdata, struct api_reply *reply, struct api_problem *problem);
	/*
	 * The daemon is to end, and everything else to go on. If that is answered (not NULL),
	 * leave_answered() is called once the answer has been sent, or its reader has gone away.
	 */
	json_t *(*leave)(void *userdata, struct api_problem *problem);
	void (*leave_answered)(void *userdata);
	json_t *(*version)(void *userdata);
	/* An object with a member "ready": true or false. */
	json_t *(*ready)(void *userdata);
};

struct api;

/*
 * Listen on @socket_path, whose folder exists (an old socket file that nobody answers on is
 * replaced; one that somebody does answer on is -EADDRINUSE). The group @gid may read, unless
 * it is (gid_t)-1. @backend is copied; @events must outlive the API, which becomes its listener.
 */
int api_open(sd_event *event, const char *socket_path, gid_t gid, struct events *events,
	     const struct api_backend *backend, void *userdata, struct api **ret,
	     struct error *err);

/* New visitors wait, until they are held no more: there is nothing yet that could be told. */
void api_hold(struct api *api, bool hold);

/* Another group may read from now on, (gid_t)-1: none. Who may not any more is sent away. */
int api_set_group(struct api *api, gid_t gid, struct error *err);

/* For tests: another time between heartbeats. */
void api_set_heartbeat(struct api *api, uint64_t heartbeat_ms);

/*
 * Ends all streams, each with the newest event, answers all who wait for an answer still with 503,
 * closes the socket and removes its file. Waits for slow readers for at most a quarter of a second
 * in all. No reply may be sent afterwards. Takes NULL.
 */
void api_free(struct api *api);
DEFINE_CLEANUP(struct api *, api_free);
