/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/crossing.h"

#include <assert.h>
#include <netinet/in.h>
#include <string.h>

/* ---- what both have ------------------------------------------------------------------------- */

static bool is_ipv4(const struct address *a)
{
	return a->sa.sa_family == AF_INET || address_is_mapped(a);
}

/* An IPv4 address as the last 32 bits of an IPv4-mapped one. */
static void load(const struct address *a, uint32_t ret[static 4])
{
	if (a->sa.sa_family == AF_INET6)
		memcpy(ret, &a->in6.sin6_addr, 4 * sizeof(*ret));
	else
		ret[3] = a->in.sin_addr.s_addr;
}

static bool is_any(const struct address *a)
{
	uint32_t ip[4] = {};

	load(a, ip);
	if (is_ipv4(a))
		return ip[3] == 0;
	return (ip[0] | ip[1] | ip[2] | ip[3]) == 0;
}

/* Of two wildcards one is dual-stack, and the other says which family both have. */
bool crossing_is_wider(const struct address *a, const struct address *b)
{
	return is_any(a) && (a->dual_stack || !is_any(b));
}

void crossing_destination(const struct address *a, const struct address *b,
			  struct cross_destination *ret)
{
	const struct address *narrow = crossing_is_wider(a, b) ? b : a;
	uint32_t ip[4] = {};

	assert(address_overlaps(a, b));
	load(narrow, ip);
	*ret = (struct cross_destination){
		.family = is_ipv4(narrow) ? AF_INET : AF_INET6,
		.port = address_port(narrow),
		.any = is_any(narrow),
	};
	if (is_ipv4(narrow))
		ret->ip[0] = ip[3];
	else
		memcpy(ret->ip, ip, sizeof(ip));
}

/* ---- how many each gets --------------------------------------------------------------------- */

int crossing_share(const struct crossing_weight *first, const struct crossing_weight *second,
		   uint32_t canary_share)
{
	uint64_t canary = (uint64_t)first->canary + second->canary;
	uint64_t rest = (uint64_t)first->rest + second->rest;

	assert(canary_share <= CROSS_ALL);
	if (canary + rest == 0)
		return -1;
	if (canary == 0 || rest == 0)
		return (int)(CROSS_ALL * (second->canary + (uint64_t)second->rest) /
			     (canary + rest));
	return (int)(canary_share * (uint64_t)second->canary / canary +
		     (CROSS_ALL - canary_share) * (uint64_t)second->rest / rest);
}
