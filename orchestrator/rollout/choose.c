/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/rollout/choose.h"

#include <assert.h>
#include <string.h>

static bool goes_first(const struct choose_candidate *a, const struct choose_candidate *b,
		       enum choose_order order)
{
	if (a->unserved != b->unserved)
		return a->unserved;
	if (a->bad != b->bad)
		return a->bad;
	return order == CHOOSE_LOWEST ? a->index < b->index : a->index > b->index;
}

/* Where it belongs among those chosen so far, which are in their order: behind its equals. */
static size_t rank(const struct choose_candidate *list, const size_t *chosen, size_t n,
		   const struct choose_candidate *candidate, enum choose_order order)
{
	size_t low = 0;

	while (low < n) {
		size_t middle = low + (n - low) / 2;

		if (goes_first(candidate, &list[chosen[middle]], order))
			n = middle;
		else
			low = middle + 1;
	}
	return low;
}

size_t choose(const struct choose_candidate *list, size_t n_list, enum choose_order order, size_t n,
	      size_t *ret)
{
	size_t chosen = 0;

	assert(order == CHOOSE_LOWEST || order == CHOOSE_HIGHEST);
	for (size_t k = 0; k < n_list && n > 0; k++) {
		size_t at;

		if (list[k].taken)
			continue;
		at = rank(list, ret, chosen, &list[k], order);
		if (at == n)
			continue;
		/* The last one gives way if all places are taken. */
		if (chosen < n)
			chosen++;
		memmove(&ret[at + 1], &ret[at], (chosen - at - 1) * sizeof(*ret));
		ret[at] = k;
	}
	assert(chosen <= n && chosen <= n_list);
	return chosen;
}
