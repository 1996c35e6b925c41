/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hold: counts the connections in an anchor's queue that have waited too long. Pure.
 *
 * The kernel tells how long a queue is, not since when each connection waits. The queue is first
 * in, first out. So it is enough to look at its length now and then: a connection that was in the
 * queue hold_ms ago and has not left since is too old.
 *
 * If the caller looks whenever hold_interval_ms() says, a connection is found at most hold_ms /
 * HOLD_SAMPLES too late (at least 1 ms), and never too early. Looking more often does no harm. If a
 * look comes late, connections that had arrived before it are found as much later.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HOLD_SAMPLES 32

/*
 * Any two samples in a row cover more than hold_ms / HOLD_SAMPLES (see hold.c). At each end one may
 * reach beyond the last hold_ms.
 */
#define HOLD_RING (2 * HOLD_SAMPLES + 2)

struct hold {
	uint64_t hold_ms;
	/* A ring, oldest first: .arrived had arrived by .at_ms, the last one after .since_ms. */
	struct {
		uint64_t since_ms;
		uint64_t at_ms;
		uint64_t arrived;
	} samples[HOLD_RING];
	size_t first, n;
	uint64_t looked_ms; /* when the last look was; 0: never */
	uint64_t old;       /* how many had ever arrived hold_ms before it */
	uint64_t left;      /* how many have ever left: they were reset, or sent on */
};

/* @hold_ms at least 1. The queue is taken to be empty until it is looked at. */
void hold_init(struct hold *hold, uint64_t hold_ms);

/* How many milliseconds after the last look to look again, at the latest; at least 1. */
uint64_t hold_interval_ms(const struct hold *hold);

/*
 * The queue has @queued connections now. Returns how many of them, from its head, are too old. At
 * the first look all of them count as having just arrived.
 */
uint32_t hold_look(struct hold *hold, uint64_t now_ms, uint32_t queued);

/*
 * For how long the first in the queue has waited at the last look, at most; 0: none waits. It is
 * told too long by no more than the time between the looks around its arrival.
 */
uint64_t hold_longest_ms(const struct hold *hold);

/* @n connections have left the queue at its head: they were reset, or sent on. */
void hold_left(struct hold *hold, uint32_t n);
