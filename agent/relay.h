/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * relay: the server's stdout and stderr on their way through the agent.
 *
 * Both go through pipes. What comes out is passed on to a sink each: the agent's own stdout and
 * stderr, or what they are redirected to (output.h); and the end of stderr is kept for reports. A
 * terminal or pipe that nobody reads must not stop the server, nor the agent: up to 64 KiB of each
 * stream wait for it, more is dropped, and the gap is marked.
 *
 * A regular file gets whole lines: as much as there is up to the last newline in one write(2), so
 * that several who append to one file do not tear each other's lines. What has no newline yet waits
 * for it, unless it is longer than RELAY_LINE_MAX, or what comes after it was dropped; and it is
 * passed on by relay_drain(), relay_flush(), relay_redirect() and relay_free().
 *
 * A full disk or quota, a file that has reached its limit (ENOSPC, EDQUOT, EFBIG) and any trouble
 * with a sink that was redirected to is waited for in the same way: it is tried again every
 * RELAY_RETRY_MS, and at each new output. All other trouble with the agent's own is for good:
 * what waits is dropped.
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
#define RELAY_LINE_MAX    (48 * 1024)
#define RELAY_RETRY_MS    500

struct relay;

enum relay_stream {
	RELAY_STDOUT,
	RELAY_STDERR,
	_RELAY_STREAM_COUNT,
};

/*
 * The sink of @which takes nothing, because of @error (ENOSPC ...), and is tried again once this
 * returns; or, with 0, it does again after such trouble. Called from the event loop; it may call
 * relay_redirect().
 */
typedef void (*relay_handler)(enum relay_stream which, int error, void *userdata);

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

/* Call @on_stuck from now on; without it nobody is told. */
void relay_watch_stuck(struct relay *relay, relay_handler on_stuck, void *userdata);

/*
 * Pass @which on to @fd from now on, which stays the caller's. What has been read by now goes to
 * the old one, unless that takes nothing: what it left over goes to the new one. Where this fails
 * the old one stays.
 */
int relay_redirect(struct relay *relay, enum relay_stream which, int fd, struct error *err);

/* The writing ends, for launch(); close-on-exec, owned by the relay. */
int relay_stdout_fd(const struct relay *relay);
int relay_stderr_fd(const struct relay *relay);

/* Read what is in the pipes now (at most 1 MiB of each), so that the tail is complete. */
void relay_read(struct relay *relay);

/* The server has ended: the same, and what has no newline is not held back for it. */
void relay_drain(struct relay *relay);

/* Try to get rid of what waits, for at most @timeout_ms. */
void relay_flush(struct relay *relay, int timeout_ms);

/* tail_text() of stderr since the relay was made or relay_reset_tail() was called. */
size_t relay_tail(const struct relay *relay, char ret[static PROTOCOL_TAIL_MAX]);
void relay_reset_tail(struct relay *relay);
