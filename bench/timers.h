/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * timers: keeps one deadline for each of a fixed number of owners, and knows the earliest. Owners
 * are numbered from 0.
 *
 * It is a binary heap whose members know their places: to move a deadline costs O(log n) and
 * allocates nothing. Pure but for timers_init().
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TIMERS_NEVER UINT64_MAX

struct timers {
	uint64_t *when;  /* by owner; TIMERS_NEVER: not in the heap */
	uint32_t *place; /* by owner: index into heap */
	uint32_t *heap;  /* owners */
	size_t n;        /* in the heap */
};

/* No owner has a deadline. Returns 0 or -ENOMEM. */
int timers_init(struct timers *timers, size_t owners);

/* Free the contents, not the struct itself. */
void timers_done(struct timers *timers);

/* Set, move or (TIMERS_NEVER) clear the deadline of @owner. */
void timers_set(struct timers *timers, size_t owner, uint64_t when_us);

/* The earliest deadline, or TIMERS_NEVER. *ret_owner is whose it is; @ret_owner may be NULL. */
uint64_t timers_first(const struct timers *timers, size_t *ret_owner);
