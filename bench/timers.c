/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/timers.h"

#include <errno.h>
#include <stdlib.h>

int timers_init(struct timers *timers, size_t owners)
{
	*timers = (struct timers){0};
	if (owners == 0)
		return 0;
	timers->when = malloc(owners * sizeof(*timers->when));
	timers->place = calloc(owners, sizeof(*timers->place));
	timers->heap = calloc(owners, sizeof(*timers->heap));
	if (!timers->when || !timers->place || !timers->heap) {
		timers_done(timers);
		return -ENOMEM;
	}
	for (size_t i = 0; i < owners; i++)
		timers->when[i] = TIMERS_NEVER;
	return 0;
}

void timers_done(struct timers *timers)
{
	free(timers->when);
	free(timers->place);
	free(timers->heap);
	*timers = (struct timers){0};
}

static void put(struct timers *timers, size_t place, uint32_t owner)
{
	timers->heap[place] = owner;
	timers->place[owner] = (uint32_t)place;
}

static void sift_up(struct timers *timers, size_t place)
{
	uint32_t owner = timers->heap[place];

	while (place > 0) {
		size_t parent = (place - 1) / 2;

		if (timers->when[timers->heap[parent]] <= timers->when[owner])
			break;
		put(timers, place, timers->heap[parent]);
		place = parent;
	}
	put(timers, place, owner);
}

static void sift_down(struct timers *timers, size_t place)
{
	uint32_t owner = timers->heap[place];

	for (;;) {
		size_t child = 2 * place + 1;

		if (child >= timers->n)
			break;
		if (child + 1 < timers->n &&
		    timers->when[timers->heap[child + 1]] < timers->when[timers->heap[child]])
			child++;
		if (timers->when[owner] <= timers->when[timers->heap[child]])
			break;
		put(timers, place, timers->heap[child]);
		place = child;
	}
	put(timers, place, owner);
}

static void take_out(struct timers *timers, size_t owner)
{
	size_t place = timers->place[owner];
	uint32_t last = timers->heap[--timers->n];

	timers->when[owner] = TIMERS_NEVER;
	if (last == owner)
		return;
	put(timers, place, last);
	sift_up(timers, place);
	sift_down(timers, timers->place[last]);
}

void timers_set(struct timers *timers, size_t owner, uint64_t when_us)
{
	uint64_t before = timers->when[owner];

	if (before == when_us)
		return;
	if (when_us == TIMERS_NEVER) {
		take_out(timers, owner);
		return;
	}
	timers->when[owner] = when_us;
	if (before == TIMERS_NEVER) {
		put(timers, timers->n, (uint32_t)owner);
		sift_up(timers, timers->n++);
	} else if (when_us < before) {
		sift_up(timers, timers->place[owner]);
	} else {
		sift_down(timers, timers->place[owner]);
	}
}

uint64_t timers_first(const struct timers *timers, size_t *ret_owner)
{
	if (timers->n == 0)
		return TIMERS_NEVER;
	if (ret_owner)
		*ret_owner = timers->heap[0];
	return timers->when[timers->heap[0]];
}
