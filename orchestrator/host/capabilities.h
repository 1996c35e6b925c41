/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * capabilities: which capabilities batond keeps after its start, each with its reason. SECURITY.md
 * shows the same list.
 *
 * What batond starts does not get less by this. The bounding and the inheritable set stay: an agent
 * of root's has by its exec whatever batond was started with, and so has a service of root's. For
 * the same reason PR_SET_NO_NEW_PRIVS is not set: set-user-ID programs of services would break.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct capability_use {
	int capability;
	/* What batond cannot do without it: "start anything as another user". */
	const char *use;
	/* It is permitted, but effective only during the calls that need it (capability_raise()).
	 */
	bool at_times;
};

extern const struct capability_use capability_uses[];
extern const size_t n_capability_uses;

/*
 * Drop all others. Of root they go from the permitted set, too; of another user from the effective
 * set alone, as what it starts has them from the permitted one (ambient capabilities). Call it
 * before there is a second thread. Returns 0 or a negative errno.
 */
int capabilities_reduce(void);

/*
 * Log what of the list is missing, and what cannot be done for that. Of an ordinary user without
 * any nothing: there the tiers say what works.
 */
void capabilities_tell_missing(void);
