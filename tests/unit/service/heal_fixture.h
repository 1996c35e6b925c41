/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * heal_fixture: instances that fall ill, and whether they are being replaced.
 */
#pragma once

#include "tests/unit/service/service_fixture.h"

/* The check of the instance says something else. */
static inline void answers(uint32_t generation, uint32_t index, bool healthy, const char *text)
{
	struct probe_result *last = &fake_there(generation, index)->checks.list[0].checker.last;

	fake(generation, index)->unhealthy = !healthy;
	last->ok = healthy;
	snprintf(last->text, sizeof(last->text), "%s", text);
}

static inline void fall_ill(uint32_t index)
{
	answers(1, index, false, "GET /: 500");
}

static inline void assert_replacing(bool replacing)
{
	struct run *found = service_run(service);

	assert_int_equal(found != NULL, replacing);
	if (!found)
		return;
	assert_int_equal(found->order, RUN_ORDER_REPLACE);
	assert_true(found->automatic && found->partial);
}
