/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

uint64_t client_clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* ---- the end of a request ------------------------------------------------------------------- */

static void close_connection(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	client->interest = 0;
}

/* Nothing to do until @when_us. An idle connection stays watched, so that its end is noticed. */
static void rest(struct client_context *context, struct client *client, uint64_t when_us)
{
	bool get = client->kind == KIND_SHORT || client->kind == KIND_KEEPALIVE;

	client->state = CLIENT_RESTING;
	if (context->stopping) {
		client_stop(context, client);
		return;
	}
	if (get && context->interval_us) {
		if (when_us < context->slot_us)
			when_us = context->slot_us;
		context->slot_us = when_us + context->interval_us;
	}
	timers_set(&context->timers, client->index, when_us);
}

/* Describe a loss, as long as the connection is still there to tell about. */
static void keep_sample(struct client_context *context, const struct client *client,
			enum outcome outcome, int code)
{
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof(address);
	unsigned port = 0;

	if (!tally_wants_sample(context->tally))
		return;
	if (client->fd >= 0 && getsockname(client->fd, (struct sockaddr *)&address, &length) == 0)
		port = address.ss_family == AF_INET
			       ? ntohs(((struct sockaddr_in *)&address)->sin_port)
			       : ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
	tally_sample(
		context->tally,
		"%.3f s: %s %s%s%s, %llu ms after its beginning, %llu bytes sent, %llu received, "
		"%s request of its connection, source port %u",
		(double)(context->now_us - context->tally->begin_us) / 1e6, kind_name(client->kind),
		outcome_name(outcome), code ? " " : "", code ? strerrorname_np(code) : "",
		(unsigned long long)(context->now_us - client->mark.begin_us) / 1000,
		(unsigned long long)client->sent,
		(unsigned long long)(client->reply ? client->reply->received : 0),
		client->first ? "first" : "later", port);
}

static void end_request(struct client_context *context, struct client *client, enum outcome outcome,
			int code)
{
	uint64_t since = client->mark.begin_us;
	uint64_t pause = 0;

	context->now_us = client_clock_us();
	/* A slow POST is slow on purpose: measure only how long its answer took. */
	if (client->kind == KIND_POST && client->last_sent_us)
		since = client->last_sent_us;
	if (outcome != OUTCOME_OK) {
		keep_sample(context, client, outcome, code);
		close_connection(client);
		pause = CLIENT_FAILURE_REST_US;
	} else if (client->kind == KIND_KEEPALIVE) {
		pause = context->settings->keepalive_pause_us;
	}
	tally_request_end(context->tally, &client->mark, outcome, context->now_us,
			  context->now_us - since, code);
	context->under_way--;
	rest(context, client, context->now_us + pause);
}

static bool is_own_fault(int code)
{
	return code == EADDRNOTAVAIL || code == EADDRINUSE || code == EMFILE || code == ENFILE ||
	       code == ENOBUFS || code == ENOMEM || code == ENOSPC;
}

static void open_connection(struct client_context *context, struct client *client);

/* The connection failed: @code is its errno; 0: it ended before the answer did. */
static void fail(struct client_context *context, struct client *client, int code)
{
	bool connecting = client->state == CLIENT_CONNECTING;
	bool closed = code == 0 || code == ECONNRESET || code == EPIPE;
	enum outcome outcome = OUTCOME_OTHER;

	if (client->kind == KIND_KEEPALIVE && !client->first && closed &&
	    client->reply->received == 0) {
		context->tally->retried++;
		close_connection(client);
		open_connection(context, client);
		return;
	}
	if (code == 0)
		outcome = OUTCOME_CLOSED_EARLY;
	else if (closed || code == ECONNABORTED)
		outcome = OUTCOME_RESET;
	else if (code == ECONNREFUSED && connecting)
		outcome = OUTCOME_REFUSED;
	else if (code == ETIMEDOUT)
		outcome = OUTCOME_TIMED_OUT;
	else if (is_own_fault(code))
		outcome = OUTCOME_CLIENT_ERROR;

	if (client->kind == KIND_IDLE) {
		/* KIND_IDLE has no requests; a connection that fails counts as one that failed. */
		tally_request_begin(context->tally, KIND_IDLE, client->connect_us, &client->mark);
		client->mark.phase = client->phase;
		context->under_way++;
	}
	end_request(context, client, outcome, code);
}

/* ---- the connection ------------------------------------------------------------------------- */

static bool watch(struct client_context *context, struct client *client, uint32_t interest)
{
	struct epoll_event event = {.events = interest, .data.u32 = client->index};
	int operation = client->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (client->interest == interest)
		return true;
	if (epoll_ctl(context->epoll_fd, operation, client->fd, &event) < 0) {
		fail(context, client, errno);
		return false;
	}
	client->interest = interest;
	return true;
}

static int bind_source(struct client_context *context, int fd)
{
	struct sockaddr_in source = {.sin_family = AF_INET};
	uint32_t sources = context->settings->sources;
	int one = 1;

	if (sources <= 1)
		return 0;
	source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + context->next_source);
	context->next_source = (context->next_source + 1) % sources;
	/* Leave the port to connect(), which can use one twice for different targets: ip(7). */
	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&source, sizeof(source)) < 0)
		return -errno;
	return 0;
}

static void send_more(struct client_context *context, struct client *client);

static void open_connection(struct client_context *context, struct client *client)
{
	const struct address *target = &context->settings->target;
	int one = 1;
	int r;

	client->first = true;
	client->sent = client->last_sent_us = 0;
	client->send_error = 0;
	client->state = CLIENT_CONNECTING;
	client->connect_us = context->now_us;
	client->phase = client->mark.phase = tally_connection_begin(context->tally);
	timers_set(&context->timers, client->index, client->deadline_us);

	client->fd = socket(target->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->fd < 0) {
		fail(context, client, errno);
		return;
	}
	setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	r = bind_source(context, client->fd);
	if (r < 0) {
		fail(context, client, -r);
		return;
	}
	if (connect(client->fd, &target->sa, target->length) < 0 && errno != EINPROGRESS) {
		fail(context, client, errno);
		return;
	}
	/* On loopback the handshake is over by now: sending at once saves a turn of the loop. */
	if (client->kind == KIND_IDLE)
		watch(context, client, EPOLLOUT);
	else
		send_more(context, client);
}

static void begin(struct client_context *context, struct client *client)
{
	const struct settings *settings = context->settings;

	context->now_us = client_clock_us();
	client->deadline_us = context->now_us + settings->timeout_us;
	if (client->kind == KIND_IDLE) {
		open_connection(context, client);
		return;
	}
	if (client->kind == KIND_POST)
		client->deadline_us += settings->post_duration_us;
	tally_request_begin(context->tally, client->kind, context->now_us, &client->mark);
	context->under_way++;
	reply_begin(client->reply);
	if (client->fd < 0) {
		open_connection(context, client);
		return;
	}
	client->first = false;
	client->mark.phase = client->phase;
	client->sent = 0;
	client->state = CLIENT_SENDING;
	timers_set(&context->timers, client->index, client->deadline_us);
	send_more(context, client);
}

/* ---- receiving ------------------------------------------------------------------------------ */

static uint64_t request_total(const struct client_context *context, const struct client *client)
{
	return context->settings->request_length[client->kind] +
	       (client->kind == KIND_POST ? context->settings->post_bytes : 0);
}

static void complete(struct client_context *context, struct client *client, bool surplus)
{
	const struct reply *reply = client->reply;
	bool post = client->kind == KIND_POST;
	bool whole = client->sent == request_total(context, client);
	const struct settings *settings = context->settings;
	const struct expect *expect = post ? &settings->expect_post : &settings->expect;
	struct expect_verdicts *verdicts = post ? &context->verdicts_post : &context->verdicts;
	enum outcome outcome = OUTCOME_OK;

	if (!whole)
		context->tally->early_answers++;
	if (!post)
		tally_body(context->tally, client->phase, reply->body, reply->body_kept);
	if (!expect_status(expect, reply->status))
		outcome = OUTCOME_WRONG_STATUS;
	else if (surplus || !expect_body(expect, verdicts, reply->body, reply->body_kept,
					 reply->body_kept == reply->body_length))
		outcome = OUTCOME_WRONG_BODY;
	if (outcome == OUTCOME_OK &&
	    (client->kind != KIND_KEEPALIVE || !reply->keep_alive || !whole || client->send_error))
		close_connection(client);
	end_request(context, client, outcome, 0);
}

static void receive(struct client_context *context, struct client *client)
{
	for (;;) {
		ssize_t n = recv(client->fd, context->buffer, CLIENT_BUFFER_SIZE, 0);
		size_t used;
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN && !client->send_error)
			return;
		if (n < 0) {
			fail(context, client, client->send_error ? client->send_error : errno);
			return;
		}
		if (n == 0) {
			/* A reset found by send() shows as a plain end afterwards. */
			if (!client->send_error && reply_end(client->reply) == 1)
				complete(context, client, false);
			else
				fail(context, client, client->send_error);
			return;
		}
		r = reply_feed(client->reply, context->buffer, (size_t)n, &used);
		if (r < 0)
			end_request(context, client, OUTCOME_WRONG_STATUS, 0);
		else if (r == 1)
			complete(context, client, used < (size_t)n);
		if (r != 0)
			return;
		if (!client->send_error && n < CLIENT_BUFFER_SIZE)
			return;
	}
}

/* ---- sending -------------------------------------------------------------------------------- */

/*
 * How many bytes of the request may be sent by now, and when more may be. The first piece of a slow
 * POST goes with the header, the last one at the end of its duration.
 */
static uint64_t request_due(const struct client_context *context, const struct client *client,
			    uint64_t *ret_next_us)
{
	const struct settings *settings = context->settings;
	uint64_t duration = settings->post_duration_us;
	uint64_t pieces = CLIENT_POST_PIECES;

	*ret_next_us = TIMERS_NEVER;
	if (client->kind != KIND_POST)
		return settings->request_length[client->kind];
	if (duration) {
		uint64_t elapsed = context->now_us - client->connect_us;

		pieces = 1 + elapsed * (CLIENT_POST_PIECES - 1) / duration;
	}
	if (pieces >= CLIENT_POST_PIECES)
		return request_total(context, client);
	*ret_next_us = client->connect_us + pieces * duration / (CLIENT_POST_PIECES - 1) + 1;
	return settings->request_length[KIND_POST] +
	       settings->post_bytes * pieces / CLIENT_POST_PIECES;
}

static ssize_t send_piece(struct client_context *context, struct client *client, uint64_t due)
{
	const struct settings *settings = context->settings;
	size_t header = settings->request_length[client->kind];
	uint64_t left = due - client->sent;

	if (client->sent < header)
		return send(client->fd, settings->request[client->kind] + client->sent,
			    header - client->sent, MSG_NOSIGNAL);
	if (left > CLIENT_BUFFER_SIZE)
		left = CLIENT_BUFFER_SIZE;
	return send(client->fd, context->filler, (size_t)left, MSG_NOSIGNAL);
}

static void connected(struct client_context *context, struct client *client)
{
	if (client->state == CLIENT_CONNECTING)
		context->tally->connections[client->kind]++;
	client->state = CLIENT_SENDING;
}

static void send_failed(struct client_context *context, struct client *client, int code)
{
	bool closed = code == ECONNRESET || code == EPIPE;

	if (code == EAGAIN) {
		watch(context, client, EPOLLIN | EPOLLOUT);
	} else if (client->state == CLIENT_CONNECTING && !closed) {
		fail(context, client, code);
	} else {
		/*
		 * There was a connection: before that a reset gives ECONNREFUSED. The server may
		 * have answered before it closed, and the kernel keeps the answer.
		 */
		connected(context, client);
		client->send_error = code;
		receive(context, client);
	}
}

static void send_more(struct client_context *context, struct client *client)
{
	uint64_t next_us;
	uint64_t due = request_due(context, client, &next_us);

	while (client->sent < due) {
		ssize_t n = send_piece(context, client, due);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			send_failed(context, client, errno);
			return;
		}
		connected(context, client);
		client->sent += (uint64_t)n;
	}
	if (client->sent == request_total(context, client)) {
		client->state = CLIENT_RECEIVING;
		client->last_sent_us = context->now_us;
		next_us = TIMERS_NEVER;
	}
	timers_set(&context->timers, client->index,
		   next_us < client->deadline_us ? next_us : client->deadline_us);
	watch(context, client, EPOLLIN);
}

/* ---- what the loop calls -------------------------------------------------------------------- */

void client_start(struct client_context *context, struct client *client, enum kind kind,
		  uint32_t index, struct reply *reply, uint64_t when_us)
{
	*client = (struct client){.kind = kind, .index = index, .fd = -1, .reply = reply};
	rest(context, client, when_us);
}

static void silent_ended(struct client_context *context, struct client *client, bool reset)
{
	context->tally->silent_open--;
	if (reset)
		context->tally->silent_reset++;
	else
		context->tally->silent_closed++;
	close_connection(client);
	rest(context, client, client_clock_us() + CLIENT_SILENT_REST_US);
}

/* KIND_IDLE: connected, or failed to. */
static void on_silent_connected(struct client_context *context, struct client *client)
{
	int code = 0;
	socklen_t length = sizeof(code);

	if (getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &code, &length) < 0)
		code = errno;
	/* These came to a connection that was made: before that a reset gives ECONNREFUSED. */
	if (code && code != ECONNRESET && code != EPIPE) {
		fail(context, client, code);
		return;
	}
	if (!watch(context, client, EPOLLIN))
		return;
	client->state = CLIENT_SILENT;
	timers_set(&context->timers, client->index, TIMERS_NEVER);
	context->tally->connections[KIND_IDLE]++;
	context->tally->silent_open++;
	if (code)
		silent_ended(context, client, true);
}

static void on_silent_event(struct client_context *context, struct client *client)
{
	ssize_t n = recv(client->fd, context->buffer, CLIENT_BUFFER_SIZE, 0);

	/* Some servers say 408 before they close. */
	if (n <= 0 && (n == 0 || (errno != EAGAIN && errno != EINTR)))
		silent_ended(context, client, n < 0);
}

void client_on_event(struct client_context *context, struct client *client, uint32_t events)
{
	if (client->fd < 0)
		return;
	context->now_us = client_clock_us();
	switch (client->state) {
	case CLIENT_RESTING:
		/* It was closed, or data came that nobody asked for. Do not use it again. */
		context->tally->idle_closed++;
		close_connection(client);
		break;
	case CLIENT_CONNECTING:
		if (client->kind == KIND_IDLE)
			on_silent_connected(context, client);
		else
			send_more(context, client);
		break;
	case CLIENT_SENDING:
		if (events & ~(uint32_t)EPOLLOUT)
			receive(context, client);
		/* If it was not closed by that: */
		if (client->state == CLIENT_SENDING && events & EPOLLOUT)
			send_more(context, client);
		break;
	case CLIENT_RECEIVING:
		receive(context, client);
		break;
	case CLIENT_SILENT:
		on_silent_event(context, client);
		break;
	case CLIENT_FINISHED:
		break;
	}
}

void client_on_timer(struct client_context *context, struct client *client)
{
	if (client->state == CLIENT_RESTING) {
		begin(context, client);
		return;
	}
	context->now_us = client_clock_us();
	if (context->now_us < client->deadline_us) {
		send_more(context, client);
	} else if (client->kind == KIND_IDLE) {
		fail(context, client, ETIMEDOUT);
	} else {
		end_request(context, client, OUTCOME_TIMED_OUT, 0);
	}
}

void client_stop(struct client_context *context, struct client *client)
{
	bool busy = client->state == CLIENT_CONNECTING || client->state == CLIENT_SENDING ||
		    client->state == CLIENT_RECEIVING;

	if (busy && client->kind != KIND_IDLE)
		return;
	close_connection(client);
	timers_set(&context->timers, client->index, TIMERS_NEVER);
	client->state = CLIENT_FINISHED;
}

void client_give_up(struct client_context *context, struct client *client)
{
	if (client->state != CLIENT_FINISHED)
		end_request(context, client, OUTCOME_STUCK, 0);
}
