/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * choose: which instances go, if a number of them is to go. Pure.
 *
 * The rollout's machine and the service only count. This module has the one ranking by which
 * instances are chosen for a count.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct choose_candidate {
	uint32_t index; /* of the instance */
	bool unserved;  /* no table has named it: nobody would miss it */
	bool bad;       /* it has failed, or it is unhealthy */
	bool taken;     /* is not to be chosen: it goes already */
};

enum choose_order {
	CHOOSE_LOWEST,  /* of equals the lowest index goes first: a rollout's victims */
	CHOOSE_HIGHEST, /* of equals the highest index goes first: what scaling down takes away */
};

/*
 * Choose @n of the @n_list candidates. Unserved ones go before others, then bad ones before good
 * ones, then as @order says. Their positions in @list come out in @ret, in that order. Returns how
 * many there are: fewer than @n if there are not so many to choose from.
 */
size_t choose(const struct choose_candidate *list, size_t n_list, enum choose_order order, size_t n,
	      size_t *ret);
