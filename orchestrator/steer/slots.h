/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * slots: whose socket each slot of an endpoint is for. Pure but for memory, which grows with the
 * slots that are in use: an endpoint may have STEER_SLOTS of them, and most have two.
 *
 * A socket is known by its cookie, which is never 0. All zero at first, but for .max.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

struct slot_holder {
	uint64_t cookie; /* 0: the slot is free */
	bool claimed;    /* by steer_join(); else it was only taken over */
};

struct slots {
	struct slot_holder *list;
	uint32_t size; /* of the list; slots beyond it are free */
	uint32_t used;
	uint32_t max; /* at most STEER_SLOTS */
};

void slots_done(struct slots *slots);

/*
 * The slot that the socket has already, else the lowest free one, for which there is memory then.
 * -ENOSPC: all are taken, and @err says how many.
 */
int slots_choose(struct slots *slots, uint64_t cookie, uint16_t *ret, struct error *err);

/* It is @cookie's from now on. -ENOMEM, but not after slots_choose() has returned it. */
int slots_take(struct slots *slots, uint32_t slot, uint64_t cookie);
void slots_claim(struct slots *slots, uint32_t slot);
void slots_free(struct slots *slots, uint32_t slot);

/* 0: it is free. */
uint64_t slots_cookie(const struct slots *slots, uint32_t slot);
bool slots_is_claimed(const struct slots *slots, uint32_t slot);
