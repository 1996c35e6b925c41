/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hangups: notices at once that somebody has shut down a listening socket (shutdown(2)). Nobody
 * could see that later: a socket that listens again a moment afterwards looks as before, but has
 * lost its place in its reuseport group.
 *
 * The kernel tells by EPOLLHUP (epoll(7)). Connections do not wake the agent by that.
 */
#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"

struct hangups;

/*
 * The socket with @cookie does not listen, or did not a moment ago. Called from the event loop,
 * once for each shutdown.
 */
typedef void (*hangups_handler)(uint64_t cookie, void *userdata);

/* Returns 0 or a negative errno. */
int hangups_new(sd_event *event, hangups_handler handler, void *userdata, struct hangups **ret,
		struct error *err);
void hangups_free(struct hangups *hangups);
DEFINE_CLEANUP(struct hangups *, hangups_free);

/* Watch @fd, whose SO_COOKIE is @cookie. To add it again does no harm. Returns 0 or a negative
 * errno. */
int hangups_add(struct hangups *hangups, int fd, uint64_t cookie);

/*
 * Watch @fd no longer; -1 is ignored. To be called before it is closed: other duplicates would keep
 * the socket among the watched ones (epoll(7)).
 */
void hangups_remove(struct hangups *hangups, int fd);
