/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_internal: what the files of the API share: api_loop.c (libmicrohttpd inside the daemon's
 * loop, whose turn it is, who is woken up), api_routes.c (what can be asked, and the answers),
 * api.c (requests as libmicrohttpd tells of them, opening, closing). Each uses those before it
 * only.
 */
#pragma once

#include <microhttpd.h>

#include "orchestrator/api/api.h"
#include "orchestrator/api/api_door.h"
#include "orchestrator/api/api_turns.h"
#include "orchestrator/api/event_stream.h"

#define SERVICE_MAX 64 /* a service's name, with its NUL (paths_check_name()) */

struct api {
	sd_event *event;
	struct MHD_Daemon *daemon;
	struct door *door;
	sd_event_source *io, *timer, *heartbeat;
	sd_event_source *next_turn; /* somebody waits for the answer to be made */
	uint64_t next_turn_us;      /* ... for which that is set; UINT64_MAX: it is off */
	struct turns turns;
	sd_event_source *wake;     /* deferred: some stream has something to send */
	sd_event_source *answers;  /* deferred: an answer is there that somebody waits for */
	uint64_t precedes_from_us; /* see api_on_prepare() */
	int64_t priority;          /* of .io, .next_turn and .answers, and of the door */
	uint64_t heartbeat_ms;
	struct events *events;
	bool is_listener; /* to .events */
	struct api_backend backend;
	void *userdata;
	struct stream *streams; /* the followed ones */
	size_t n_streams;
	struct api_reply *replies; /* those that somebody waits for */
	bool ending;               /* nothing new is begun */
};

/* A followed stream of events: libmicrohttpd suspends it while it has nothing to say. */
struct stream {
	struct api *api;
	struct stream *next, *previous;
	struct MHD_Connection *connection;
	struct visitor *visitor; /* NULL: it has left */
	struct event_stream *text;
	bool suspended;
	bool listed;
};

/* What comes in before a request can be answered. */
struct request {
	char *body;
	size_t length;
	size_t swallowed;
	struct api_reply *reply; /* its answer comes later; NULL: it does not */
	struct turn turn;
	struct MHD_Connection *connection;
	bool has_turn;
	bool leaves; /* the daemon ends when this is answered */
};

/* One request being answered. */
struct exchange {
	uint64_t lacks; /* of memory for JSON, before the answer was begun */
	struct api *api;
	struct MHD_Connection *connection;
	struct visitor *visitor;
	struct request *request;
	const char *path;
	bool head;                 /* asked by HEAD: the answer without its body */
	char service[SERVICE_MAX]; /* of the path */
	const char *order;         /* of the path: its last word */
};

/* ---- api_loop.c ------------------------------------------------------------------------------ */

/* What comes from the loop (sd_event_add_io(3) and so on). */
int api_on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata);
int api_on_timer(sd_event_source *source, uint64_t usec, void *userdata);
int api_on_next_turn(sd_event_source *source, uint64_t usec, void *userdata);
int api_on_heartbeat(sd_event_source *source, uint64_t usec, void *userdata);
int api_on_wake(sd_event_source *source, void *userdata);
int api_on_answers(sd_event_source *source, void *userdata);

/*
 * Before each turn of the loop. Who asks something comes before work that waits, such as the starts
 * of many services, so that an order is answered soon. But whenever the API has had the loop for a
 * while, it is for as long only one of all: clients that never stop asking hold up nothing.
 */
int api_on_prepare(sd_event_source *source, void *userdata);

/* Let libmicrohttpd do what there is to be done, and set the timers. @userdata: the API. */
void api_run(void *userdata);

/* Look once the loop is back on top who can go on. It may be called from within libmicrohttpd. */
void api_wake(void *userdata);

/* As api_wake(), for answers that somebody waits for. */
void api_wake_answers(void *userdata);

/* A connection that is suspended goes on; nothing happens to one that is not. */
void api_resume_stream(struct stream *stream);
void api_resume_reply(struct api_reply *reply);
void api_give_turn(struct turn *turn);

/* The first follower is there, or another time is wanted. */
void api_arm_heartbeat(struct api *api);

/* CLOCK_MONOTONIC. */
uint64_t api_now_us(void);

/* ---- api_routes.c ---------------------------------------------------------------------------- */

/* Answer a request that is there as a whole, or suspend it: then this is to be called again. */
enum MHD_Result api_route(struct exchange *x, const char *method);

/* Plain decimal digits only: no sign, no space. */
bool api_parse_number(const char *text, uint64_t *ret);
