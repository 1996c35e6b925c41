/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/relay.h"

#include <assert.h>
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

#include "agent/label.h"
#include "agent/pipes.h"
#include "agent/tail.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/timer.h"

#define READ_SIZE (RELAY_PENDING_MAX - RELAY_LINE_MAX)
#define DRAIN_MAX (1024 * 1024)
/* Orders and exits come first. */
#define PRIORITY (SD_EVENT_PRIORITY_NORMAL + 10)

/* relay_flush() tries again after this if a sink is in trouble, which poll(2) does not tell. */
#define FLUSH_STEP_MS 20

struct stream {
	struct relay *relay;
	enum relay_stream which;
	int reader;
	int writer;
	int sink;
	bool is_file;    /* a regular one: it gets whole lines */
	bool redirected; /* the sink is not the agent's own */
	int stuck;       /* the errno for which the sink takes nothing, for now; 0: none */
	bool told;       /* on_stuck was called for trouble, and not for its end yet */
	struct timer retry;
	struct tail tail;
	uint64_t tail_ms; /* when its end came */
	char pending[RELAY_PENDING_MAX];
	size_t n_pending;
	size_t n_due;   /* so many of them go now; the rest waits for its newline */
	size_t n_begun; /* so many of them are in the sink: a file that was full within a line */
	size_t dropped; /* bytes, since the last mark */
	bool labelled;  /* it gets lines that say whose they are, until it is redirected */
	struct label label;
	sd_event_source *readable;
	sd_event_source *writable; /* NULL: the sink cannot be polled, and never blocks */
};

DEFINE_CLEANUP(sd_event_source *, sd_event_source_disable_unref);

struct relay {
	sd_event *event;
	struct stream streams[_RELAY_STREAM_COUNT];
	relay_handler on_stuck;
	void *userdata;
};

/* ---- passing on ----------------------------------------------------------------------------- */

static bool is_regular(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/*
 * Write without blocking, even if the sink's open file description blocks: POLLOUT on a pipe means
 * that PIPE_BUF bytes fit (pipe(7)), and for a socket there is MSG_DONTWAIT. A regular file never
 * blocks. It gets everything in one write(2), so that other writers append before or after it.
 * Labelled lines go whole, so that nobody else's comes in between.
 */
static ssize_t write_sink(const struct stream *stream, const char *data, size_t n)
{
	struct pollfd poller = {.fd = stream->sink, .events = POLLOUT};
	int fd = stream->sink;
	ssize_t written;

	if (stream->is_file) {
		written = write(fd, data, n);
		return written < 0 ? -errno : written;
	}
	if (n > PIPE_BUF) {
		const char *newline = memrchr(data, '\n', PIPE_BUF);

		n = stream->labelled && newline ? (size_t)(newline - data) + 1 : PIPE_BUF;
	}
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

/* If output was dropped and there is room again, mark the gap. */
static void mark_gap(struct stream *stream)
{
	int n;

	if (stream->dropped == 0 || stream->n_pending > RELAY_PENDING_MAX / 2)
		return;
	n = snprintf(stream->pending + stream->n_pending, RELAY_PENDING_MAX - stream->n_pending,
		     "%s%s%s[baton: %zu bytes of output dropped]\n", stream->labelled ? "[" : "\n",
		     stream->labelled ? stream->label.name : "", stream->labelled ? "] " : "",
		     stream->dropped);
	stream->n_pending += (size_t)n;
	stream->n_due = stream->n_pending;
	stream->dropped = 0;
}

/*
 * Everything is due now, and not only the whole lines that add() has marked: if the sink is no
 * file; if the last line is so long that there would be no room to read on; or if its end was
 * dropped.
 */
static void mark_due(struct stream *stream)
{
	if (!stream->is_file || stream->dropped > 0 ||
	    stream->n_pending - stream->n_due > RELAY_LINE_MAX)
		stream->n_due = stream->n_pending;
}

static bool may_change(const struct stream *stream, int error)
{
	return stream->redirected || error == ENOSPC || error == EDQUOT || error == EFBIG;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata);

/* @error: of the last write; 0: it worked, or must only wait for a reader. */
static void note_trouble(struct stream *stream, int error)
{
	stream->stuck = error;
	if ((error || stream->told) && !timer_is_set(&stream->retry))
		timer_set(&stream->retry, stream->relay->event,
			  clock_monotonic_ms() + RELAY_RETRY_MS, on_retry, stream);
}

/* Returns how much is written. *ret_error: why not all; 0: it must only wait for a reader. */
static size_t write_pending(struct stream *stream, int *ret_error)
{
	size_t at = stream->n_begun;
	ssize_t n = 0;

	while (at < stream->n_due) {
		n = write_sink(stream, stream->pending + at, stream->n_due - at);
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	*ret_error = n < 0 && n != -EAGAIN && n != -EINTR ? (int)-n : 0;
	return at;
}

/*
 * Of the @written bytes so many are done with. A file that was full may have taken a part of a
 * line: another file would get that line whole.
 */
static size_t count_done(const struct stream *stream, size_t written)
{
	const char *newline = memrchr(stream->pending, '\n', written);
	size_t whole = newline ? (size_t)(newline - stream->pending) + 1 : 0;

	if (!stream->is_file || written == stream->n_due || written - whole > RELAY_LINE_MAX)
		return written;
	return whole;
}

static void push(struct stream *stream)
{
	size_t written, gone;
	int error;

	/* A second time if there was no room for the mark of a gap before. */
	do {
		mark_gap(stream);
		mark_due(stream);
		written = write_pending(stream, &error);
		/* For example EPIPE: nobody will ever read it, so drop it. */
		if (error && !may_change(stream, error)) {
			written = stream->n_due = stream->n_pending;
			error = 0;
		}
		gone = count_done(stream, written);
		stream->n_begun = written - gone;
		stream->n_pending -= gone;
		stream->n_due -= gone;
		memmove(stream->pending, stream->pending + gone, stream->n_pending);
	} while (stream->dropped > 0 && stream->n_pending == 0);
	note_trouble(stream, error);
	/* A sink in trouble may be writable all the time: the timer tries it again. */
	watch_sink(stream, stream->n_due > stream->n_begun && !error);
}

/* Tell the handler here, not where the write failed: it may redirect, but not during a write. */
static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct stream *stream = userdata;
	struct relay *relay = stream->relay;
	int error = stream->stuck;

	(void)source;
	(void)usec;
	if (relay->on_stuck && (error || stream->told))
		relay->on_stuck(stream->which, error, relay->userdata);
	stream->told = error != 0;
	push(stream);
	return 0;
}

/* Append to the pending output, which has room for it. */
static void add(struct stream *stream, const char *data, size_t n)
{
	const char *newline = memrchr(data, '\n', n);

	assert(n <= RELAY_PENDING_MAX - stream->n_pending);
	memcpy(stream->pending + stream->n_pending, data, n);
	if (newline)
		stream->n_due = stream->n_pending + (size_t)(newline - data) + 1;
	stream->n_pending += n;
}

/* The same if there is room. */
static void add_or_drop(struct stream *stream, const char *data, size_t n)
{
	if (n > RELAY_PENDING_MAX - stream->n_pending)
		push(stream);
	if (stream->dropped > 0 || n > RELAY_PENDING_MAX - stream->n_pending)
		stream->dropped += n;
	else
		add(stream, data, n);
}

static void add_lines(struct stream *stream, const char *data, size_t n)
{
	char line[LABEL_MAX];
	size_t length, taken;

	for (; n > 0; data += taken, n -= taken) {
		taken = label_take(&stream->label, data, n, line, &length);
		if (length > 0)
			add_or_drop(stream, line, length);
	}
}

static void pass(struct stream *stream, const char *data, size_t n)
{
	tail_add(&stream->tail, data, n);
	stream->tail_ms = clock_monotonic_ms();
	push(stream);
	if (stream->labelled)
		add_lines(stream, data, n);
	else
		add_or_drop(stream, data, n);
	push(stream);
}

/* Pass on everything, also what has no newline yet. */
static void push_all(struct stream *stream)
{
	char line[LABEL_MAX];
	size_t length = stream->labelled ? label_rest(&stream->label, line) : 0;

	if (length > 0)
		add_or_drop(stream, line, length);
	stream->n_due = stream->n_pending;
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

		/* A regular file that is opened anew would be overwritten from its beginning. */
		if (fstat(fd, &st) < 0 || !(S_ISFIFO(st.st_mode) || isatty(fd)))
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (own >= 0)
			(void)dup3(own, fd, O_CLOEXEC);
	}
}

/* *ret_source is NULL if the sink cannot be polled. */
static int watch_writable(struct stream *stream, int sink, sd_event_source **ret_source)
{
	cleanup(sd_event_source_disable_unref) sd_event_source *source = NULL;
	int r;

	r = sd_event_add_io(stream->relay->event, &source, sink, EPOLLOUT, on_writable, stream);
	if (r >= 0)
		r = sd_event_source_set_enabled(source, SD_EVENT_OFF);
	/* epoll_ctl(2): EPERM for regular files, which are always writable. */
	if (r < 0 && r != -EPERM)
		return r;
	*ret_source = r < 0 ? NULL : TAKE_PTR(source);
	return 0;
}

/* @ends are taken over, also on failure. */
static int stream_open(struct stream *stream, int sink, const struct pipe_ends *ends)
{
	int r;

	stream->reader = ends->reader;
	stream->writer = ends->writer;
	stream->sink = sink;
	stream->is_file = is_regular(sink);
	r = sd_event_add_io(stream->relay->event, &stream->readable, stream->reader, EPOLLIN,
			    on_readable, stream);
	if (r >= 0)
		r = sd_event_source_set_priority(stream->readable, PRIORITY);
	return r < 0 ? r : watch_writable(stream, sink, &stream->writable);
}

static void stream_close(struct stream *stream)
{
	/* It only waits for its newline. */
	if (stream->labelled || (stream->is_file && stream->n_pending > 0))
		push_all(stream);
	timer_done(&stream->retry);
	sd_event_source_disable_unref(stream->readable);
	sd_event_source_disable_unref(stream->writable);
	if (stream->reader >= 0)
		close(stream->reader);
	if (stream->writer >= 0)
		close(stream->writer);
}

/* @processes may be NULL: then the pipes are new. */
static int find_or_make(const struct processes *processes, uint64_t inode, uid_t owner,
			struct pipe_ends *ret)
{
	int r = processes ? pipes_find(processes, inode, ret) : -ENOENT;

	return r == -ENOENT ? pipes_make(owner, ret) : r;
}

int relay_adopt(sd_event *event, int out_fd, int err_fd, uid_t owner,
		const struct processes *processes, const uint64_t pipes[_RELAY_STREAM_COUNT],
		struct relay **ret, struct error *err)
{
	cleanup(relay_free) struct relay *relay = calloc(1, sizeof(*relay));
	const int sinks[] = {[RELAY_STDOUT] = out_fd, [RELAY_STDERR] = err_fd};
	static const char *const names[] = {[RELAY_STDOUT] = "stdout", [RELAY_STDERR] = "stderr"};

	if (!relay)
		return error_set(err, -ENOMEM, "relay");
	relay->event = sd_event_ref(event);
	for (int k = 0; k < _RELAY_STREAM_COUNT; k++) {
		relay->streams[k].relay = relay;
		relay->streams[k].which = (enum relay_stream)k;
		relay->streams[k].reader = relay->streams[k].writer = -1;
	}
	for (int k = 0; k < _RELAY_STREAM_COUNT; k++) {
		struct pipe_ends ends;
		int r = find_or_make(processes, pipes ? pipes[k] : 0, owner, &ends);

		if (r == 0)
			r = stream_open(&relay->streams[k], sinks[k], &ends);
		if (r < 0)
			return error_set(err, r, "relay %s", names[k]);
	}
	*ret = TAKE_PTR(relay);
	return 0;
}

int relay_new(sd_event *event, int out_fd, int err_fd, uid_t owner, struct relay **ret,
	      struct error *err)
{
	return relay_adopt(event, out_fd, err_fd, owner, NULL, NULL, ret, err);
}

uint64_t relay_pipe(const struct relay *relay, enum relay_stream which)
{
	return pipes_inode(relay->streams[which].reader);
}

void relay_free(struct relay *relay)
{
	if (!relay)
		return;
	for (int k = 0; k < _RELAY_STREAM_COUNT; k++)
		stream_close(&relay->streams[k]);
	sd_event_unref(relay->event);
	free(relay);
}

void relay_watch_stuck(struct relay *relay, relay_handler on_stuck, void *userdata)
{
	relay->on_stuck = on_stuck;
	relay->userdata = userdata;
}

void relay_label(struct relay *relay, const char *name)
{
	for (int k = 0; k < _RELAY_STREAM_COUNT; k++) {
		struct stream *stream = &relay->streams[k];

		label_init(&stream->label, name);
		stream->labelled = !stream->redirected;
	}
}

/* What has no newline yet goes on as it came. */
static void unlabel(struct stream *stream)
{
	if (stream->labelled && stream->label.n > 0)
		add_or_drop(stream, stream->label.line, stream->label.n);
	stream->labelled = false;
}

int relay_redirect(struct relay *relay, enum relay_stream which, int fd, struct error *err)
{
	struct stream *stream = &relay->streams[which];
	sd_event_source *writable;
	int r;

	assert(which < _RELAY_STREAM_COUNT && fd >= 0);
	r = watch_writable(stream, fd, &writable);
	if (r < 0)
		return error_set(err, r, "relay %s", which == RELAY_STDOUT ? "stdout" : "stderr");
	push(stream);
	unlabel(stream);
	sd_event_source_disable_unref(stream->writable);
	stream->writable = writable;
	stream->sink = fd;
	stream->n_begun = 0;
	stream->is_file = is_regular(fd);
	stream->redirected = true;
	push(stream);
	return 0;
}

int relay_stdout_fd(const struct relay *relay)
{
	return relay->streams[RELAY_STDOUT].writer;
}

int relay_stderr_fd(const struct relay *relay)
{
	return relay->streams[RELAY_STDERR].writer;
}

void relay_read(struct relay *relay)
{
	for (int k = 0; k < _RELAY_STREAM_COUNT; k++) {
		size_t total = 0;
		ssize_t n;

		/* Not for ever: a child of the server may go on writing. */
		while (total < DRAIN_MAX && (n = read_once(&relay->streams[k])) > 0)
			total += (size_t)n;
	}
}

void relay_drain(struct relay *relay)
{
	relay_read(relay);
	for (int k = 0; k < _RELAY_STREAM_COUNT; k++)
		push_all(&relay->streams[k]);
}

void relay_flush(struct relay *relay, int timeout_ms)
{
	uint64_t now_ms = clock_monotonic_ms(), end_ms = now_ms + (uint64_t)timeout_ms;

	for (;;) {
		struct pollfd pollers[_RELAY_STREAM_COUNT];
		bool waits = false, stuck = false;
		int left_ms;

		for (int k = 0; k < _RELAY_STREAM_COUNT; k++) {
			const struct stream *stream = &relay->streams[k];
			bool polled = stream->n_pending > 0 && !stream->stuck;

			waits |= stream->n_pending > 0;
			stuck |= stream->n_pending > 0 && stream->stuck;
			pollers[k] = (struct pollfd){.fd = polled ? stream->sink : -1,
						     .events = POLLOUT};
		}
		if (!waits || now_ms >= end_ms)
			return;
		left_ms = (int)(end_ms - now_ms);
		(void)poll(pollers, _RELAY_STREAM_COUNT,
			   stuck && left_ms > FLUSH_STEP_MS ? FLUSH_STEP_MS : left_ms);
		for (int k = 0; k < _RELAY_STREAM_COUNT; k++)
			push_all(&relay->streams[k]);
		now_ms = clock_monotonic_ms();
	}
}

size_t relay_tail(const struct relay *relay, char ret[static PROTOCOL_TAIL_MAX],
		  enum relay_stream *ret_from, uint64_t *ret_age_ms)
{
	enum relay_stream from = RELAY_STDERR;
	size_t n = tail_text(&relay->streams[RELAY_STDERR].tail, ret);

	if (n == 0) {
		from = RELAY_STDOUT;
		n = tail_text(&relay->streams[RELAY_STDOUT].tail, ret);
	}
	if (ret_from)
		*ret_from = from;
	if (ret_age_ms)
		*ret_age_ms = n ? clock_monotonic_ms() - relay->streams[from].tail_ms : 0;
	return n;
}

void relay_reset_tail(struct relay *relay)
{
	for (int k = 0; k < _RELAY_STREAM_COUNT; k++)
		tail_reset(&relay->streams[k].tail);
}
