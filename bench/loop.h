/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop: runs a share of the clients: one thread, one epoll, one tally.
 *
 * Another thread may look at the tally, mark it and stop the loop, but only between loop_lock() and
 * loop_unlock(): a turn of the loop holds the lock, except while it waits.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/client.h"
#include "bench/settings.h"
#include "bench/tally.h"
#include "common/error.h"

struct loop {
	pthread_mutex_t lock;
	pthread_mutex_t next; /* held by who is to have the lock next: a mutex alone is not fair */
	struct client_context context;
	struct tally tally;
	struct client *clients;
	struct reply *replies;
	size_t n;
	int wake_fd;     /* an eventfd that ends a wait */
	int ended_fd;    /* the caller's eventfd; 1 is added when the loop has ended */
	uint64_t end_us; /* of the duration, then of the grace */
	bool give_up;
	int result; /* once it has ended: 0, or a negative errno with the reason in err */
	struct error err;
};

/*
 * Take the clients of @settings whose number modulo settings->threads is @index. Nothing begins
 * before loop_run(). @settings, which are read only, and @ended_fd stay the caller's. Returns 0, or
 * a negative errno; the caller calls loop_done() in either case.
 */
int loop_init(struct loop *loop, const struct settings *settings, uint32_t index, int ended_fd,
	      uint64_t now_us, struct error *err);

/* Close what is open and free the contents, the tally's as well; not the struct itself. */
void loop_done(struct loop *loop);

/* Run the clients until the duration is over, or it was stopped. For pthread_create(). */
void *loop_run(void *loop);

void loop_lock(struct loop *loop);
void loop_unlock(struct loop *loop);

/* Begin no request any more; those under way have the grace. Call it with the lock held. */
void loop_stop(struct loop *loop);

/* Wait no more for what is under way. Call it with the lock held. */
void loop_give_up(struct loop *loop);
