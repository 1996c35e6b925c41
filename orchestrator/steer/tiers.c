/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/tiers.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "orchestrator/steer/steer.h"

/* Without pins the next daemon could not take over what this one leaves. */
static int try_pins(const char *name, int *ret_fd, struct error *err)
{
	struct error why;
	int r = bpffs_try(name, "tier", &why);
	const char *how;

	if (r >= 0)
		r = bpffs_claim(name, ret_fd, &why);
	if (r >= 0)
		return 0;
	how = bpffs_how(r);
	return error_text(err, r, "%s%s%s", why.text, how[0] ? ": " : "", how);
}

static int try(enum steer_tier tier, const char *name, int *ret_fd, struct error *err)
{
	int r = steer_try(tier, err);

	return r >= 0 && tier == STEER_EBPF ? try_pins(name, ret_fd, err) : r;
}

void tiers_try(const char *name, struct tiers *ret)
{
	ret->pins_fd = -1;
	for (size_t k = 0; k < _STEER_TIER_COUNT; k++) {
		struct error err = {};

		ret->list[k].works = try((enum steer_tier)k, name, &ret->pins_fd, &err) >= 0;
		snprintf(ret->list[k].reason, sizeof(ret->list[k].reason), "%s", err.text);
	}
}

void tiers_done(struct tiers *tiers)
{
	if (tiers->pins_fd >= 0)
		close(tiers->pins_fd);
	tiers->pins_fd = -1;
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
