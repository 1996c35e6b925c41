/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/rollout/choose.h"

#include <assert.h>

static bool goes_first(const struct choose_candidate *a, const struct choose_candidate *b,
		       enum choose_order order)
{
	if (a->unserved != b->unserved)
		return a->unserved;
	if (a->bad != b->bad)
		return a->bad;
	return order == CHOOSE_LOWEST ? a->index < b->index : a->index > b->index;
}

static bool is_chosen(const size_t *chosen, size_t n, size_t position)
{
	for (size_t k = 0; k < n; k++)
		if (chosen[k] == position)
			return true;
	return false;
}

size_t choose(const struct choose_candidate *list, size_t n_list, enum choose_order order, size_t n,
	      size_t *ret)
{
	size_t chosen = 0;

	assert(order == CHOOSE_LOWEST || order == CHOOSE_HIGHEST);
	while (chosen < n) {
		size_t best = n_list;

		for (size_t k = 0; k < n_list; k++)
			if (!list[k].taken && !is_chosen(ret, chosen, k) &&
			    (best == n_list || goes_first(&list[k], &list[best], order)))
				best = k;
		if (best == n_list)
			break;
		ret[chosen++] = best;
	}
	assert(chosen <= n && chosen <= n_list);
	return chosen;
}
