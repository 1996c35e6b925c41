/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * relay: the server's stdout and stderr on their way through the agent.
 *
 * Both go through pipes. What comes out is passed on to the agent's own stdout and stderr, and the
 * end of stderr is kept for reports. A terminal or pipe that nobody reads must not stop the server,
 * nor the agent: up to 64 KiB of each stream wait for it, more is dropped, and the gap is marked.
 *
 * The pipes live as long as the relay: a server that is started again gets the same ones.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/protocol.h"

#define RELAY_PENDING_MAX (64 * 1024)

struct relay;

/*
 * Give the agent's descriptors 1 and 2 open file descriptions of its own that do not block, where
 * that is possible (terminals and FIFOs): O_NONBLOCK on the shared one would hit everybody else
 * who has the terminal open.
 */
void relay_detach_stdio(void);

/*
 * Pass on to @out_fd and @err_fd, which stay the caller's. @owner (or (uid_t)-1) will own the
 * pipes: a server that opens /dev/stderr by name needs permission.
 */
int relay_new(sd_event *event, int out_fd, int err_fd, uid_t owner, struct relay **ret,
	      struct error *err);
void relay_free(struct relay *relay);
DEFINE_CLEANUP(struct relay *, relay_free);

/* The writing ends, for launch(); close-on-exec, owned by the relay. */
int relay_stdout_fd(const struct relay *relay);
int relay_stderr_fd(const struct relay *relay);

/* Read what is in the pipes now (at most 1 MiB of each), so that the tail is complete. */
void relay_drain(struct relay *relay);

/* Try to get rid of what waits, for at most @timeout_ms. */
void relay_flush(struct relay *relay, int timeout_ms);

/* tail_text() of stderr since the relay was made or relay_reset_tail() was called. */
size_t relay_tail(const struct relay *relay, char ret[static PROTOCOL_TAIL_MAX]);
void relay_reset_tail(struct relay *relay);
