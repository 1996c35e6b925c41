/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hold_fixture: a service whose connections wait: what the anchors hold, and what is told of it.
 */
#pragma once

#include "tests/unit/service/service_fixture.h"

#define HOLD_ALL "hold " ENDPOINT_0 " on; hold " ENDPOINT_1 " on"

/* What waits still has nowhere to go. */
#define REFUSE_ALL(a, b)                                                                           \
	"hold " ENDPOINT_0 " off; expire " ENDPOINT_0 " " #a "; hold " ENDPOINT_1                  \
	" off; expire " ENDPOINT_1 " " #b

static inline void wait_there(uint32_t first, uint32_t second)
{
	service->wiring.endpoints[0]->held = first;
	service->wiring.endpoints[1]->held = second;
}

/* The sockets that the tables name do not listen (any more). */
static inline void nobody_takes(bool nobody)
{
	for (size_t e = 0; e < 2; e++)
		service->wiring.endpoints[e]->nobody_takes = nobody;
}

static inline void assert_named(bool named)
{
	for (uint16_t e = 0; e < 2; e++)
		assert_table(e,
			     named ? (uint16_t)(10 * service->current->number + e) : STEER_NO_SLOT,
			     STEER_NO_SLOT);
}

static inline void assert_holding(bool holding)
{
	assert_int_equal(service->hold.on, holding);
	for (size_t e = 0; e < 2; e++)
		assert_int_equal(service->wiring.endpoints[e]->hold, holding);
}

/* Negative if it is refused: then @err says why. */
static inline int give_pause(bool on)
{
	int r = give_order(on ? "pause" : "resume", NULL);

	err = refusal.why;
	return r;
}

static inline void pause_service(bool on)
{
	if (give_pause(on) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(service->hold.paused, on);
}
