/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/tail.h"
#include "common/clock.h"
#include "common/log.h"

#define READ_SIZE (16 * 1024)
#define DRAIN_MAX (1024 * 1024)
/* Orders and exits come first (sd_event_source_set_priority(3)). */
#define PRIORITY (SD_EVENT_PRIORITY_NORMAL + 10)

struct stream {
	int reader;
	int writer;
	int sink;
	struct tail *tail; /* NULL for stdout */
	char pending[RELAY_PENDING_MAX];
	size_t n_pending;
	size_t dropped;
	sd_event_source *readable;
	sd_event_source *writable; /* NULL where the sink cannot be polled: it never blocks then */
};

struct relay {
	struct stream out;
	struct stream err;
	struct tail tail;
};

/* ---- passing on ----------------------------------------------------------------------------- */

/*
 * Write without blocking, even where the description could not be made to. POLLOUT on a pipe means
 * that PIPE_BUF bytes fit (pipe(7)); a socket takes MSG_DONTWAIT.
 */
static ssize_t write_sink(int fd, const char *data, size_t n)
{
	struct pollfd poller = {.fd = fd, .events = POLLOUT};
	ssize_t written;

	if (n > PIPE_BUF)
		n = PIPE_BUF;
	if (poll(&poller, 1, 0) == 0)
		return -EAGAIN;
	written = send(fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (written < 0 && errno == ENOTSOCK)
		written = write(fd, data, n);
	return written < 0 ? -errno : written;
}

static void watch_sink(struct stream *stream, bool on)
{
	if (stream->writable)
		(void)sd_event_source_set_enabled(stream->writable,
						  on ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* Mark the gap, once there is room again. */
static void mark_gap(struct stream *stream)
{
	int n;

	if (stream->dropped == 0 || stream->n_pending > RELAY_PENDING_MAX / 2)
		return;
	n = snprintf(stream->pending + stream->n_pending, RELAY_PENDING_MAX - stream->n_pending,
		     "\n[baton: %zu bytes of output dropped]\n", stream->dropped);
	stream->n_pending += (size_t)n;
	stream->dropped = 0;
}

static void push(struct stream *stream)
{
	size_t at = 0;
	ssize_t n = 0;

	mark_gap(stream);
	while (at < stream->n_pending) {
		n = write_sink(stream->sink, stream->pending + at, stream->n_pending - at);
		if (n < 0)
			break;
		at += (size_t)n;
	}
	/* Nobody will ever read it (EPIPE, EIO): it is not worth keeping. */
	if (n < 0 && n != -EAGAIN && n != -EINTR)
		at = stream->n_pending;
	stream->n_pending -= at;
	memmove(stream->pending, stream->pending + at, stream->n_pending);
	watch_sink(stream, stream->n_pending > 0);
}

static void pass(struct stream *stream, const char *data, size_t n)
{
	if (stream->tail)
		tail_add(stream->tail, data, n);
	push(stream);
	if (stream->dropped > 0 || n > RELAY_PENDING_MAX - stream->n_pending) {
		stream->dropped += n;
		return;
	}
	memcpy(stream->pending + stream->n_pending, data, n);
	stream->n_pending += n;
	push(stream);
}

/* ---- events --------------------------------------------------------------------------------- */

static ssize_t read_once(struct stream *stream)
{
	char data[READ_SIZE];
	ssize_t n = read(stream->reader, data, sizeof(data));

	if (n > 0)
		pass(stream, data, (size_t)n);
	return n;
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	(void)source;
	(void)fd;
	(void)events;
	(void)read_once(userdata);
	return 0;
}

static int on_writable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	(void)source;
	(void)fd;
	(void)events;
	push(userdata);
	return 0;
}

/* ---- making and ending ---------------------------------------------------------------------- */

void relay_detach_stdio(void)
{
	for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
		cleanup_close int own = -1;
		struct stat st;
		char path[32];

		/* A regular file opened anew would be written from its beginning. */
		if (fstat(fd, &st) < 0 || !(S_ISFIFO(st.st_mode) || isatty(fd)))
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (own >= 0)
			(void)dup3(own, fd, O_CLOEXEC);
	}
}

static int stream_open(struct stream *stream, sd_event *event, int sink, uid_t owner)
{
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	stream->reader = fds[0];
	stream->writer = fds[1];
	stream->sink = sink;
	/* The server's end blocks, as a program expects of its stdout. */
	if (fcntl(stream->reader, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	if (owner != (uid_t)-1 && fchown(stream->writer, owner, (gid_t)-1) < 0)
		return -errno;
	r = sd_event_add_io(event, &stream->readable, stream->reader, EPOLLIN, on_readable, stream);
	if (r >= 0)
		r = sd_event_source_set_priority(stream->readable, PRIORITY);
	if (r < 0)
		return r;
	r = sd_event_add_io(event, &stream->writable, sink, EPOLLOUT, on_writable, stream);
	if (r >= 0)
		r = sd_event_source_set_enabled(stream->writable, SD_EVENT_OFF);
	/* epoll_ctl(2): EPERM for regular files, which are always writable. */
	return r < 0 && r != -EPERM ? r : 0;
}

static void stream_close(struct stream *stream)
{
	sd_event_source_disable_unref(stream->readable);
	sd_event_source_disable_unref(stream->writable);
	if (stream->reader >= 0)
		close(stream->reader);
	if (stream->writer >= 0)
		close(stream->writer);
}

int relay_new(sd_event *event, int out_fd, int err_fd, uid_t owner, struct relay **ret,
	      struct error *err)
{
	cleanup(relay_free) struct relay *relay = calloc(1, sizeof(*relay));
	int r;

	if (!relay)
		return error_set(err, -ENOMEM, "relay");
	relay->out.reader = relay->out.writer = -1;
	relay->err.reader = relay->err.writer = -1;
	relay->err.tail = &relay->tail;
	r = stream_open(&relay->out, event, out_fd, owner);
	if (r < 0)
		return error_set(err, r, "relay stdout");
	r = stream_open(&relay->err, event, err_fd, owner);
	if (r < 0)
		return error_set(err, r, "relay stderr");
	*ret = TAKE_PTR(relay);
	return 0;
}

void relay_free(struct relay *relay)
{
	if (!relay)
		return;
	stream_close(&relay->out);
	stream_close(&relay->err);
	free(relay);
}

int relay_stdout_fd(const struct relay *relay)
{
	return relay->out.writer;
}

int relay_stderr_fd(const struct relay *relay)
{
	return relay->err.writer;
}

void relay_drain(struct relay *relay)
{
	struct stream *const streams[] = {&relay->out, &relay->err};

	for (size_t i = 0; i < 2; i++) {
		size_t total = 0;
		ssize_t n;

		/* A child of the server may go on writing: not for ever. */
		while (total < DRAIN_MAX && (n = read_once(streams[i])) > 0)
			total += (size_t)n;
	}
}

void relay_flush(struct relay *relay, int timeout_ms)
{
	uint64_t now_ms = clock_monotonic_ms(), end_ms = now_ms + (uint64_t)timeout_ms;

	for (;;) {
		struct pollfd pollers[2] = {
			{.fd = relay->out.n_pending > 0 ? relay->out.sink : -1, .events = POLLOUT},
			{.fd = relay->err.n_pending > 0 ? relay->err.sink : -1, .events = POLLOUT},
		};

		if ((pollers[0].fd < 0 && pollers[1].fd < 0) || now_ms >= end_ms)
			return;
		if (poll(pollers, 2, (int)(end_ms - now_ms)) > 0) {
			push(&relay->out);
			push(&relay->err);
		}
		now_ms = clock_monotonic_ms();
	}
}

size_t relay_tail(const struct relay *relay, char ret[static PROTOCOL_TAIL_MAX])
{
	return tail_text(&relay->tail, ret);
}

void relay_reset_tail(struct relay *relay)
{
	tail_reset(&relay->tail);
}
