/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tiers: which of the ways to steer (steer.h) work on this machine, for this user. Found out once,
 * by trying, when the daemon starts.
 */
#pragma once

#include <stdbool.h>

#include "common/error.h"
#include "orchestrator/config/config.h"

/* From the best one down. */
enum steer_tier { STEER_EBPF, STEER_CBPF, STEER_HASH, _STEER_TIER_COUNT };

struct tiers {
	struct {
		bool works;
		char reason[384]; /* why not */
	} list[_STEER_TIER_COUNT];
	int pins_fd; /* while it is open the pins are this daemon's; -1: it has none */
};

/*
 * @name is the daemon's: STEER_EBPF works only if it can pin its maps and nobody else has those
 * pins (bpffs.h). tiers_done() lets others have them.
 */
void tiers_try(const char *name, struct tiers *ret);
void tiers_done(struct tiers *tiers);

#define TIERS_REASON_MAX 1024

/*
 * The tier for a service. With STEERING_AUTO the highest one that works; @ret_reason then says why
 * not a higher one ("ebpf: Operation not permitted ..."), "" if there is none. -EOPNOTSUPP with the
 * reason if the tier that is asked for does not work.
 */
int tiers_choose(const struct tiers *tiers, enum steering_choice choice, enum steer_tier *ret,
		 char ret_reason[static TIERS_REASON_MAX], struct error *err);
