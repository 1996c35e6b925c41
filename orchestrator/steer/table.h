/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * table: which slot gets the connections of which bucket. Pure: from the slots and their weights it
 * computes the table that steer_publish() takes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ebpf/steer.h"

/* A slot and its share of the new connections: weight / sum of all weights. */
struct table_share {
	uint16_t slot;   /* below STEER_SLOTS */
	uint32_t weight; /* 0: gets nothing, but can be a backup */
};

#define TABLE_WEIGHT_MAX 1000000u

/*
 * Fill @ret so that each slot of @primary has its share of the buckets, to the nearest one
 * (largest remainders; 1,024 buckets give steps of 0.1%), spread evenly.
 *
 * If @previous is not NULL as few buckets as possible change their primary: a change of x% of the
 * weights moves x% of the buckets, and a client whose connections go by its address (sticky) stays
 * where it is unless its bucket must move.
 *
 * A bucket's backup is one of @backup; if there is none, another one of @primary with a weight;
 * else STEER_NO_SLOT. What one slot loses is spread over all its backups. With no primary of any
 * weight every bucket is empty: connections are held or refused. Each list holds at most
 * STEER_SLOTS, each slot once.
 */
void table_compute(const struct table_share *primary, size_t n_primary, const uint16_t *backup,
		   size_t n_backup, const struct steer_table *previous, struct steer_table *ret);

/* No bucket names anything. */
void table_clear(struct steer_table *ret);

/* How many buckets have @slot as their primary. */
size_t table_count(const struct steer_table *table, uint16_t slot);
