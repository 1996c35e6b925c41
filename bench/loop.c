/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS_MAX 256
#define MARK_WAKE  UINT32_MAX /* epoll's data, where clients have their index */

static void add_one(int fd)
{
	const uint64_t one = 1;

	/* Its number never gets near its limit, so this neither waits nor fails. */
	(void)!write(fd, &one, sizeof(one));
}

void loop_lock(struct loop *loop)
{
	pthread_mutex_lock(&loop->next);
	pthread_mutex_lock(&loop->lock);
	pthread_mutex_unlock(&loop->next);
}

void loop_unlock(struct loop *loop)
{
	pthread_mutex_unlock(&loop->lock);
}

void loop_stop(struct loop *loop)
{
	uint64_t now_us = client_clock_us();

	if (loop->context.stopping)
		return;
	loop->context.stopping = true;
	loop->end_us = now_us + loop->context.settings->grace_us;
	for (size_t i = 0; i < loop->n; i++)
		client_stop(&loop->context, &loop->clients[i]);
	add_one(loop->wake_fd);
}

void loop_give_up(struct loop *loop)
{
	loop->give_up = true;
	add_one(loop->wake_fd);
}

/* ---- a turn --------------------------------------------------------------------------------- */

/* Milliseconds to wait, rounded up so as not to wake before the time. */
static int wait_ms(const struct loop *loop, uint64_t now_us)
{
	uint64_t first_us = timers_first(&loop->context.timers, NULL);

	if (loop->end_us < first_us)
		first_us = loop->end_us;
	if (first_us == TIMERS_NEVER)
		return -1;
	if (first_us <= now_us)
		return 0;
	first_us = (first_us - now_us + 999) / 1000;
	return first_us > 60000 ? 60000 : (int)first_us;
}

/* Run the timers that are due. Timers that they set for later wait for the next turn. */
static void run_timers(struct loop *loop, uint64_t now_us)
{
	struct timers *timers = &loop->context.timers;
	size_t owner = 0;

	for (size_t i = 0; i < loop->n && timers_first(timers, &owner) <= now_us; i++) {
		timers_set(timers, owner, TIMERS_NEVER);
		client_on_timer(&loop->context, &loop->clients[owner]);
	}
}

static void handle(struct loop *loop, const struct epoll_event *event)
{
	uint32_t mark = event->data.u32;
	uint64_t times;

	if (mark == MARK_WAKE)
		(void)!read(loop->wake_fd, &times, sizeof(times));
	else
		client_on_event(&loop->context, &loop->clients[mark], event->events);
}

/* With the lock held, but for the wait. */
static int turn(struct loop *loop, struct error *err)
{
	int timeout_ms = wait_ms(loop, client_clock_us());
	struct epoll_event events[EVENTS_MAX];
	uint64_t now_us;
	int n, error;

	loop_unlock(loop);
	n = epoll_wait(loop->context.epoll_fd, events, EVENTS_MAX, timeout_ms);
	error = errno;
	loop_lock(loop);
	if (n < 0 && error != EINTR)
		return error_set(err, -error, "epoll_wait");
	for (int i = 0; i < n; i++)
		handle(loop, &events[i]);
	now_us = client_clock_us();
	if (!loop->context.stopping && now_us >= loop->end_us)
		loop_stop(loop);
	else if (loop->context.stopping && now_us >= loop->end_us)
		loop->give_up = true;
	run_timers(loop, now_us);
	return 0;
}

void *loop_run(void *userdata)
{
	struct loop *loop = userdata;
	int r = 0;

	loop_lock(loop);
	while (r == 0 && (!loop->context.stopping || loop->context.under_way)) {
		r = turn(loop, &loop->err);
		for (size_t i = 0; loop->give_up && i < loop->n; i++)
			client_give_up(&loop->context, &loop->clients[i]);
	}
	loop->tally.end_us = client_clock_us();
	loop->result = r;
	loop_unlock(loop);
	add_one(loop->ended_fd);
	return NULL;
}

/* ---- beginning and end ---------------------------------------------------------------------- */

/* How many of @n clients, numbered from 0, have numbers that are @index modulo @threads. */
static uint32_t share(uint32_t n, uint32_t index, uint32_t threads)
{
	return n / threads + (index < n % threads);
}

/*
 * Spread the beginnings of slow POSTs over their duration, and those of keep-alive clients over
 * their pause. So at any time some clients are in each part of a request.
 */
static void start_clients(struct loop *loop, uint32_t index, uint64_t now_us)
{
	const struct settings *settings = loop->context.settings;
	const uint64_t spread_us[_KIND_COUNT] = {
		[KIND_KEEPALIVE] = settings->keepalive_pause_us,
		[KIND_POST] = settings->post_duration_us,
	};
	size_t next = 0;

	for (enum kind kind = 0; kind < _KIND_COUNT; kind++) {
		for (uint32_t i = index; i < settings->clients[kind]; i += settings->threads) {
			uint64_t delay_us = spread_us[kind] * i / settings->clients[kind];

			client_start(&loop->context, &loop->clients[next], kind, (uint32_t)next,
				     kind == KIND_IDLE ? NULL : &loop->replies[next],
				     now_us + delay_us);
			next++;
		}
	}
}

/* Each loop that has clients for GETs has its part of their rate. */
static void take_share(struct client_context *context, uint32_t index, uint64_t now_us)
{
	const struct settings *settings = context->settings;
	uint32_t parts = settings->clients[KIND_SHORT];

	if (parts < settings->clients[KIND_KEEPALIVE])
		parts = settings->clients[KIND_KEEPALIVE];
	if (parts > settings->threads)
		parts = settings->threads;
	context->interval_us = settings->interval_us * parts;
	context->slot_us = settings->interval_us ? now_us + settings->interval_us * index : 0;
	context->next_source = index % settings->sources;
	context->now_us = now_us;
}

int loop_init(struct loop *loop, const struct settings *settings, uint32_t index, int ended_fd,
	      uint64_t now_us, struct error *err)
{
	struct epoll_event wake = {.events = EPOLLIN, .data.u32 = MARK_WAKE};
	struct client_context *context = &loop->context;
	size_t n_idle = share(settings->clients[KIND_IDLE], index, settings->threads);
	size_t n = 0;
	int r;

	*loop = (struct loop){.ended_fd = ended_fd, .wake_fd = -1, .end_us = TIMERS_NEVER};
	context->epoll_fd = -1;
	pthread_mutex_init(&loop->lock, NULL);
	pthread_mutex_init(&loop->next, NULL);
	for (enum kind kind = 0; kind < _KIND_COUNT; kind++)
		n += share(settings->clients[kind], index, settings->threads);
	r = tally_init(&loop->tally, now_us);
	if (r < 0)
		return error_set(err, r, "tally");
	context->settings = settings;
	context->tally = &loop->tally;
	context->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (context->epoll_fd < 0 || loop->wake_fd < 0 ||
	    epoll_ctl(context->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &wake) < 0)
		return error_set(err, -errno, "epoll");
	/* The silent clients come last, and need no reply. */
	loop->n = n;
	loop->clients = calloc(n ? n : 1, sizeof(*loop->clients));
	loop->replies = calloc(n > n_idle ? n - n_idle : 1, sizeof(*loop->replies));
	context->buffer = malloc(2 * CLIENT_BUFFER_SIZE);
	if (!loop->clients || !loop->replies || !context->buffer ||
	    timers_init(&context->timers, n ? n : 1) < 0)
		return error_set(err, -ENOMEM, "%zu clients", n);
	context->filler = context->buffer + CLIENT_BUFFER_SIZE;
	memset(context->buffer, 'x', 2 * CLIENT_BUFFER_SIZE);
	take_share(context, index, now_us);
	if (settings->duration_us)
		loop->end_us = now_us + settings->duration_us;
	start_clients(loop, index, now_us);
	return 0;
}

void loop_done(struct loop *loop)
{
	for (size_t i = 0; loop->clients && i < loop->n; i++)
		if (loop->clients[i].fd > 0)
			close(loop->clients[i].fd);
	free(loop->clients);
	free(loop->replies);
	free(loop->context.buffer);
	timers_done(&loop->context.timers);
	tally_done(&loop->tally);
	if (loop->context.epoll_fd >= 0)
		close(loop->context.epoll_fd);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	pthread_mutex_destroy(&loop->lock);
	pthread_mutex_destroy(&loop->next);
}
