/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hold: which of the connections that wait in an anchor's queue have waited too long. Pure.
 *
 * The kernel tells how long a queue is, not since when each of its members waits. It is first in,
 * first out, so looking at its length now and then is enough: what was in the queue @hold_ms ago
 * and has not left since is too old. Looked at whenever hold_interval_ms() asks for it, a
 * connection is reset at most hold_ms / HOLD_SAMPLES (but not less than 1 ms) too late, never too
 * early. Looking more often does no harm; a look that comes late makes those that had arrived
 * before it as much later.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HOLD_SAMPLES 32

/*
 * Two samples that follow each other cover more than hold_ms / HOLD_SAMPLES together (see hold.c),
 * and at both ends one may stand out of the last hold_ms.
 */
#define HOLD_RING (2 * HOLD_SAMPLES + 2)

struct hold {
	uint64_t hold_ms;
	/* Ring, oldest first: how many had ever arrived by then, the last of them after since_ms.
	 */
	struct {
		uint64_t since_ms;
		uint64_t at_ms;
		uint64_t arrived;
	} samples[HOLD_RING];
	size_t first, n;
	uint64_t looked_ms; /* when the last look was; 0: never */
	uint64_t old;       /* how many had ever arrived hold_ms before it */
	uint64_t left;      /* how many have ever left: reset, or sent on */
};

/* @hold_ms at least 1. The queue is taken to be empty until it is looked at. */
void hold_init(struct hold *hold, uint64_t hold_ms);

/* In how many milliseconds, from the last look, to look again, at the latest; at least 1. */
uint64_t hold_interval_ms(const struct hold *hold);

/*
 * The queue has @queued members now. Returns how many of them, from its head, are too old. What
 * is in the queue at the first look is taken to have just arrived.
 */
uint32_t hold_look(struct hold *hold, uint64_t now_ms, uint32_t queued);

/* @n have left the queue at its head: reset by the caller, or all of them sent on. */
void hold_left(struct hold *hold, uint32_t n);
