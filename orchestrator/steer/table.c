/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/table.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

/*
 * Buckets change hands in the order 0, STRIDE, 2 * STRIDE ... modulo STEER_BUCKETS, so that what a
 * slot gets lies spread over the table, whether it grows by half of it at once or by one bucket a
 * day. Of all strides that are prime to the number of buckets this is the one with the most even
 * stretches: the longest run of any number of its members, or of those it leaves out, is never more
 * than twice as long as it must be.
 */
#define STRIDE 275u

_Static_assert(STRIDE % 2 == 1 && (STEER_BUCKETS & (STEER_BUCKETS - 1)) == 0, "STRIDE");

/* Slots are called by their place in the list of primaries from here on: their rank. */
struct plan {
	size_t n;
	uint16_t slots[STEER_SLOTS];
	uint64_t weights[STEER_SLOTS];
	uint32_t want[STEER_SLOTS]; /* buckets to have in the end */
	uint32_t have[STEER_SLOTS]; /* buckets that it has now */
	uint16_t ranks[STEER_BUCKETS];
};

#define NO_RANK STEER_NO_SLOT

void table_clear(struct steer_table *ret)
{
	for (size_t i = 0; i < STEER_BUCKETS; i++)
		ret->buckets[i] = (struct steer_bucket){STEER_NO_SLOT, STEER_NO_SLOT};
}

size_t table_count(const struct steer_table *table, uint16_t slot)
{
	size_t n = 0;

	for (size_t i = 0; i < STEER_BUCKETS; i++)
		n += table->buckets[i].primary == slot;
	return n;
}

/* Who has which bucket already. Slots of no weight are left out: they give up what they have. */
static void plan_init(struct plan *plan, const struct table_share *primary, size_t n_primary,
		      const struct steer_table *previous)
{
	uint16_t rank_of[STEER_SLOTS];
	bool met[STEER_SLOTS] = {false};

	memset(plan, 0, sizeof(*plan));
	memset(rank_of, 0xff, sizeof(rank_of)); /* NO_RANK */
	for (size_t k = 0; k < n_primary; k++) {
		uint16_t slot = primary[k].slot;

		assert(slot < STEER_SLOTS && !met[slot]);
		met[slot] = true;
		if (!primary[k].weight)
			continue;
		rank_of[slot] = (uint16_t)plan->n;
		plan->slots[plan->n] = slot;
		plan->weights[plan->n++] = primary[k].weight;
	}
	for (size_t i = 0; i < STEER_BUCKETS; i++) {
		uint16_t slot = previous ? previous->buckets[i].primary : STEER_NO_SLOT;

		plan->ranks[i] = slot < STEER_SLOTS ? rank_of[slot] : NO_RANK;
		if (plan->ranks[i] != NO_RANK)
			plan->have[plan->ranks[i]]++;
	}
}

/*
 * Largest remainders: each slot gets the whole buckets of its share, and those with the largest
 * fractions one more, until none is left. Of equal fractions slots that have that bucket now go
 * first, so that nothing moves needlessly.
 */
static void share_buckets(struct plan *plan)
{
	uint64_t remainders[STEER_SLOTS];
	uint64_t total = 0;
	uint32_t left = STEER_BUCKETS;

	for (size_t k = 0; k < plan->n; k++)
		total += plan->weights[k];
	for (size_t k = 0; k < plan->n; k++) {
		uint64_t exact = plan->weights[k] * STEER_BUCKETS;

		plan->want[k] = (uint32_t)(exact / total);
		remainders[k] = exact % total + 1; /* 0: has got one */
		left -= plan->want[k];
	}
	for (; left > 0; left--) {
		size_t best = 0;

		for (size_t k = 1; k < plan->n; k++) {
			bool keeps = plan->have[k] > plan->want[k];
			bool best_keeps = plan->have[best] > plan->want[best];

			if (remainders[k] > remainders[best] ||
			    (remainders[k] == remainders[best] && keeps && !best_keeps))
				best = k;
		}
		assert(remainders[best] > 0);
		remainders[best] = 0;
		plan->want[best]++;
	}
}

/* Slots that have too many buckets give them up. */
static void give_up(struct plan *plan)
{
	for (uint32_t i = 0; i < STEER_BUCKETS; i++) {
		uint16_t *rank = &plan->ranks[i * STRIDE % STEER_BUCKETS];

		if (*rank == NO_RANK || plan->have[*rank] <= plan->want[*rank])
			continue;
		plan->have[*rank]--;
		*rank = NO_RANK;
	}
}

/*
 * Deal the free buckets to those that have too few, in turns as far apart as their number allows
 * (nginx's smooth weighted round robin): n slots with equal shares of an empty table get bucket i
 * in slot i % n.
 */
static void take(struct plan *plan)
{
	int64_t due[STEER_SLOTS] = {0};
	uint32_t missing[STEER_SLOTS];
	int64_t total = 0;

	for (size_t k = 0; k < plan->n; k++) {
		missing[k] = plan->want[k] - plan->have[k];
		total += missing[k];
	}
	for (size_t i = 0; i < STEER_BUCKETS; i++) {
		size_t best = 0;

		if (plan->ranks[i] != NO_RANK)
			continue;
		for (size_t k = 0; k < plan->n; k++) {
			due[k] += missing[k];
			if (due[k] > due[best])
				best = k;
		}
		due[best] -= total;
		plan->ranks[i] = (uint16_t)best;
		plan->have[best]++;
	}
}

/* Slots that are dealt in turn. */
struct deal {
	uint16_t slots[STEER_SLOTS];
	size_t n;
	size_t next;
};

/* The next one that is not @slot, or STEER_NO_SLOT. */
static uint16_t deal_one(struct deal *deal, uint16_t slot)
{
	for (size_t tries = 0; tries < 2 && tries < deal->n; tries++) {
		uint16_t dealt = deal->slots[deal->next++ % deal->n];

		if (dealt != slot)
			return dealt;
	}
	return STEER_NO_SLOT;
}

/*
 * Primary by primary, so that the buckets of each go to all backups in turn. Each goes on after the
 * backup at which the one before ended, so that primaries with few buckets do not all have the same
 * backups.
 */
static void fill(const struct plan *plan, const uint16_t *backup, size_t n_backup,
		 struct steer_table *ret)
{
	struct deal backups = {.n = n_backup}, primaries = {.n = plan->n};

	for (size_t k = 0; k < n_backup; k++) {
		assert(backup[k] < STEER_SLOTS);
		backups.slots[k] = backup[k];
	}
	memcpy(primaries.slots, plan->slots, sizeof(primaries.slots));
	for (size_t k = 0; k < plan->n; k++) {
		uint16_t slot = plan->slots[k];

		for (size_t i = 0; i < STEER_BUCKETS; i++) {
			uint16_t stand_in;

			if (plan->ranks[i] != k)
				continue;
			stand_in = deal_one(&backups, slot);
			if (stand_in == STEER_NO_SLOT)
				stand_in = deal_one(&primaries, slot);
			ret->buckets[i] = (struct steer_bucket){slot, stand_in};
		}
	}
}

void table_compute(const struct table_share *primary, size_t n_primary, const uint16_t *backup,
		   size_t n_backup, const struct steer_table *previous, struct steer_table *ret)
{
	struct plan plan;

	assert(n_primary <= STEER_SLOTS && n_backup <= STEER_SLOTS);
	plan_init(&plan, primary, n_primary, previous);
	table_clear(ret); /* may be @previous */
	if (plan.n == 0)
		return;
	share_buckets(&plan);
	give_up(&plan);
	take(&plan);
	fill(&plan, backup, n_backup, ret);
}
