/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/tiers.h"

#include <errno.h>
#include <stdio.h>

#include "orchestrator/steer/steer.h"

/* Without pins the next daemon could not take over what this one leaves. */
static int try(enum steer_tier tier, const char *name, struct error *err)
{
	int r = steer_try(tier, err);

	return r >= 0 && tier == STEER_EBPF ? bpffs_try(name, "tier", err) : r;
}

void tiers_try(const char *name, struct tiers *ret)
{
	for (size_t k = 0; k < _STEER_TIER_COUNT; k++) {
		struct error err = {};

		ret->list[k].works = try((enum steer_tier)k, name, &err) >= 0;
		snprintf(ret->list[k].reason, sizeof(ret->list[k].reason), "%s", err.text);
	}
}

static int choose_one(const struct tiers *tiers, enum steer_tier tier, enum steer_tier *ret,
		      struct error *err)
{
	if (!tiers->list[tier].works)
		return error_text(err, -EOPNOTSUPP, "steering \"%s\" does not work here: %s",
				  steer_tier_name(tier), tiers->list[tier].reason);
	*ret = tier;
	return 0;
}

int tiers_choose(const struct tiers *tiers, enum steering_choice choice, enum steer_tier *ret,
		 char ret_reason[static TIERS_REASON_MAX], struct error *err)
{
	static const enum steer_tier wanted[] = {
		[STEERING_EBPF] = STEER_EBPF,
		[STEERING_CBPF] = STEER_CBPF,
		[STEERING_HASH] = STEER_HASH,
	};
	size_t n = 0;

	ret_reason[0] = '\0';
	if (choice != STEERING_AUTO)
		return choose_one(tiers, wanted[choice], ret, err);
	for (size_t k = 0; k < _STEER_TIER_COUNT; k++) {
		if (tiers->list[k].works) {
			*ret = (enum steer_tier)k;
			return 0;
		}
		if (n < TIERS_REASON_MAX)
			n += (size_t)snprintf(ret_reason + n, TIERS_REASON_MAX - n, "%s%s: %s",
					      n ? "; " : "", steer_tier_name((enum steer_tier)k),
					      tiers->list[k].reason);
	}
	return error_text(err, -EOPNOTSUPP, "no way to steer connections works here: %s",
			  ret_reason);
}
