/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_door: lets connections in to the API, and sees to it that they go. The half of api that has
 * nothing to do with HTTP, but for the few answers that it gives itself.
 *
 * It takes what comes at the listening socket, asks the kernel who that is, and decides by
 * api_places.h who gets a place. Nobody waits in the socket's queue because others have taken all
 * places: whoever gets none is told so (503 with Retry-After). It sends away whose time is over,
 * notices at once if a client has hung up, whatever it was waiting for, and lets go of those who
 * may not read any more when the group changes.
 *
 * The last DOOR_FILES_KEPT descriptors are for what batond has to do itself: only root and the
 * owner get one of them, if nobody makes room. If there are none, one that is kept for this case
 * lets root and the owner in. If that does not help, what comes waits in the socket's queue, and is
 * looked at every DOOR_RETRY_MS until there are some again.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/api/api_places.h"
#include "orchestrator/api/api_tally.h"

#define DOOR_RETRY_MS    250
#define DOOR_SERIES_MAX  32 /* connections that are taken at once, before the others' turn */
#define DOOR_FILES_KEPT  32
#define DOOR_REFUSED_MAX 32 /* those who were refused, and are given time to read that */

struct door;
struct MHD_Connection;

/* A connection. What is below the line is the API's. */
struct visitor {
	struct place place; /* the first member */
	struct door *door;
	int fd;
	sd_event_source *hangup;
	bool gone; /* it has hung up, or was sent away: nothing more can be said to it */
	/* ---- */
	struct MHD_Connection *connection;
	struct request *request;
	struct stream *stream;
};

struct door_handlers {
	/* Somebody is let in: .fd is to be closed by the callee, after door_leave(). */
	void (*admit)(void *userdata, struct visitor *visitor);
	/* .gone has become true: what waits for this visitor must wait no longer. */
	void (*gone)(void *userdata, struct visitor *visitor);
	/* One or more of the above were called from the loop. */
	void (*turn)(void *userdata);
};

/* As api_socket_open(); @handlers are copied. */
int door_open(sd_event *event, const char *path, gid_t gid, const struct door_handlers *handlers,
	      void *userdata, struct door **ret, struct error *err);

/* How soon whoever comes is looked at: sd_event_source_set_priority(3). */
void door_set_priority(struct door *door, int64_t priority);

/* Whoever comes waits outside, until the door is held no more. */
void door_hold(struct door *door, bool hold);

/* Nobody comes in any more, the socket's file is removed. Those who are in stay. */
void door_shut(struct door *door);

/* Everybody must have left. Takes NULL. */
void door_free(struct door *door);
DEFINE_CLEANUP(struct door *, door_free);

/* Another group may read, (gid_t)-1: none. Whoever may not any more is sent away. */
int door_set_group(struct door *door, gid_t gid, struct error *err);

/* The visitor on @fd; NULL: none. */
struct visitor *door_find(struct door *door, int fd);

/* It is no visitor any more, and is freed. */
void door_leave(struct visitor *visitor);

/* The visitor enters another phase. */
void door_enter(struct visitor *visitor, enum place_phase phase);

/* May it follow events, or have a list of connections, as well? The log tells if it may not. */
bool door_may_follow(struct visitor *visitor);
bool door_may_list(struct visitor *visitor);

/* Look again who has to go, and when. To be called whenever phases may have changed. */
void door_look(struct door *door);
