/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rollout_fixture: the rollouts that there are, with a policy that has every deadline, each another
 * one.
 */
#pragma once

#include "orchestrator/rollout.h"

static const struct rollout_policy policy = {
	.start_timeout_ms = 1000,
	.settle_timeout_ms = 20,
	.bake_ms = 300,
	.leave_timeout_ms = 40,
	.old_drain_timeout_ms = 500,
	.new_drain_timeout_ms = 600,
	.stop_timeout_ms = 60,
};

enum kind { REPLACE, FIRST, STOP, RETIRE, _KIND_COUNT };

static inline void init_policy(struct rollout *r, enum kind kind, const struct rollout_policy *p)
{
	if (kind == RETIRE)
		rollout_init_retire(r, p);
	else
		rollout_init(r, p, kind != FIRST, kind != STOP);
}

static inline void init(struct rollout *r, enum kind kind)
{
	init_policy(r, kind, &policy);
}

/* Of the two, who does not leave where it is the victim. */
static inline void init_stays(struct rollout *r, enum kind kind, bool old_stays, bool new_stays)
{
	struct rollout_policy stays = policy;

	stays.old_stays = old_stays;
	stays.new_stays = new_stays;
	init_policy(r, kind, &stays);
}
