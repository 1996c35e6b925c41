/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * timers: one deadline for each of a fixed number of owners, numbered from 0; the earliest first.
 *
 * A binary heap whose members know their places, so that moving a deadline costs O(log n) and
 * never allocates. Pure but for timers_init().
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

/* 0 or -ENOMEM. */
int timers_init(struct timers *timers, size_t owners);

/* Free the contents, not the struct itself. */
void timers_done(struct timers *timers);

/* Set, move or (TIMERS_NEVER) clear the deadline of @owner. */
void timers_set(struct timers *timers, size_t owner, uint64_t when_us);

/* The earliest deadline, or TIMERS_NEVER; @ret_owner may be NULL. */
uint64_t timers_first(const struct timers *timers, size_t *ret_owner);
