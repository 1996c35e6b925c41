/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * crossing: what two endpoints have in common that compete for connections ("127.0.0.1:80" and
 * "0.0.0.0:80"), and how many of these each gets while a service goes from one to the other. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/address.h"
#include "ebpf/cross.h"

/*
 * The connections that @a and @b compete for. Both must overlap (address_overlaps()), and differ.
 * The more specific address says which; a dual-stack wildcard has IPv4 in common with 0.0.0.0, and
 * IPv6 with [::].
 */
void crossing_destination(const struct address *a, const struct address *b,
			  struct cross_destination *ret);

/* Does the kernel's lookup prefer @b, or neither? */
bool crossing_is_wider(const struct address *a, const struct address *b);

/* How many instances serve on one of the two endpoints. */
struct crossing_weight {
	uint32_t canary; /* of the canary */
	uint32_t rest;
};

/*
 * Of CROSS_ALL connections, those that go to @second: each instance gets the same, but if both
 * the canary and the rest serve, the canary gets @canary_share of all. -1: nobody serves on either.
 */
int crossing_share(const struct crossing_weight *first, const struct crossing_weight *second,
		   uint32_t canary_share);
