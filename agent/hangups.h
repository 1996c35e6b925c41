/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hangups: notices that a listening socket is shut down (shutdown(2), by whoever has it), at once:
 * one that listens again a moment later looks as if nothing had been, but has lost its place in its
 * group. The kernel says so by way of epoll(7), which is not woken by connections for that.
 */
#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"

struct hangups;

/* It does not listen, or did not a moment ago. Called from the event loop, once each time. */
typedef void (*hangups_handler)(uint64_t cookie, void *userdata);

int hangups_new(sd_event *event, hangups_handler handler, void *userdata, struct hangups **ret,
		struct error *err);
void hangups_free(struct hangups *hangups);
DEFINE_CLEANUP(struct hangups *, hangups_free);

/* Negative errno. Again for the same @fd is harmless. */
int hangups_add(struct hangups *hangups, int fd, uint64_t cookie);

/* Before @fd is closed: other duplicates of the socket would keep it among the watched. */
void hangups_remove(struct hangups *hangups, int fd);
