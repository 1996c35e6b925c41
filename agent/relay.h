/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * relay: passes the server's stdout and stderr on, and keeps the end of each for reports.
 *
 * The server writes into two pipes, which live as long as the relay: a server that is started again
 * gets the same ones. The relay reads them and passes each stream on to its sink. That is the
 * agent's own stdout or stderr, or whatever relay_redirect() says (output.h uses it).
 *
 * A sink that takes nothing must stop neither the server nor the agent. Up to 64 KiB of each stream
 * wait for it. Further output is dropped, and a line in the output marks the gap.
 *
 * A sink may fail. If it is full (ENOSPC, EDQUOT, EFBIG), or if it was redirected to, whatever its
 * error, output waits: the relay tries again every RELAY_RETRY_MS and at each new output. Any other
 * error of the agent's own stdout or stderr is for good, and output that waits is dropped.
 *
 * A regular file gets whole lines. Everything up to the last newline goes into one write(2), so
 * that several writers that append to one file do not tear each other's lines. The rest waits for
 * its newline, unless it is longer than RELAY_LINE_MAX or its continuation was dropped.
 * relay_drain(), relay_flush() and relay_free() pass it on, too.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/processes.h"
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
 * The sink of @which takes nothing because of @error (ENOSPC ...), and will be tried again once
 * this returns. With @error 0: it takes output again. Called from the event loop; the handler may
 * call relay_redirect().
 */
typedef void (*relay_handler)(enum relay_stream which, int error, void *userdata);

/*
 * If the agent's descriptors 1 and 2 are terminals or FIFOs, replace them by open file descriptions
 * of its own that do not block. O_NONBLOCK on the shared ones would hit everybody who has them
 * open.
 */
void relay_detach_stdio(void);

/*
 * Pass on to @out_fd and @err_fd, which stay the caller's. The pipes are new ones of @owner
 * (pipes_make()). Returns 0 or a negative errno.
 */
int relay_new(sd_event *event, int out_fd, int err_fd, uid_t owner, struct relay **ret,
	      struct error *err);

/*
 * The same with the pipes that a server of @processes has already: those with the inodes @pipes.
 * One that nobody has open any more is made anew, for the server's next run.
 */
int relay_adopt(sd_event *event, int out_fd, int err_fd, uid_t owner,
		const struct processes *processes, const uint64_t pipes[_RELAY_STREAM_COUNT],
		struct relay **ret, struct error *err);
void relay_free(struct relay *relay);
DEFINE_CLEANUP(struct relay *, relay_free);

/* Call @on_stuck with @userdata when a sink gets stuck or recovers. */
void relay_watch_stuck(struct relay *relay, relay_handler on_stuck, void *userdata);

/*
 * From now on lines that go to the agent's own stdout and stderr say that they are of @name, and
 * are cleaned (label.h). Those that are redirected are left as they are.
 */
void relay_label(struct relay *relay, const char *name);

/*
 * Pass @which on to @fd from now on, which stays the caller's. Output that has been read already
 * goes to the old sink; if that does not take it, to the new one. No line is torn: what waits for
 * its newline goes to the new sink, and so does a whole line of which the old file, being full, has
 * taken a part. (A line longer than RELAY_LINE_MAX is in pieces anyway.) Returns 0, or a negative
 * errno and the old sink stays.
 */
int relay_redirect(struct relay *relay, enum relay_stream which, int fd, struct error *err);

/* The pipes' writing ends, for launch(). They are close-on-exec and stay the relay's. */
int relay_stdout_fd(const struct relay *relay);
int relay_stderr_fd(const struct relay *relay);

/* The inode of the pipe of @which. */
uint64_t relay_pipe(const struct relay *relay, enum relay_stream which);

/* Read everything that is in the pipes now, at most 1 MiB of each, so that the tail is complete. */
void relay_read(struct relay *relay);

/* The server has ended: the same, and pass on what has no newline. */
void relay_drain(struct relay *relay);

/* Try to pass on what waits, for at most @timeout_ms. Blocks for that time. */
void relay_flush(struct relay *relay, int timeout_ms);

/*
 * The end of stderr since relay_reset_tail(), as tail_text() gives it; of stdout if nothing came on
 * stderr. *ret_from and *ret_age_ms (either may be NULL): which of the two it is, and how long ago
 * its end came. Returns its length.
 */
size_t relay_tail(const struct relay *relay, char ret[static PROTOCOL_TAIL_MAX],
		  enum relay_stream *ret_from, uint64_t *ret_age_ms);
void relay_reset_tail(struct relay *relay);
