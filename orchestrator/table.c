/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/table.h"

#include <assert.h>

static uint16_t backup_of(size_t bucket, const uint16_t *primary, size_t n_primary,
			  const uint16_t *backup, size_t n_backup)
{
	size_t round = bucket / n_primary;

	/* By rounds, so that what one primary loses is spread over all the backups. */
	if (n_backup > 0)
		return backup[(bucket % n_primary + round) % n_backup];
	if (n_primary > 1)
		return primary[(bucket + 1 + round % (n_primary - 1)) % n_primary];
	return STEER_NO_SLOT;
}

void table_compute(const uint16_t *primary, size_t n_primary, const uint16_t *backup,
		   size_t n_backup, struct steer_table *ret)
{
	assert(n_primary <= STEER_SLOTS && n_backup <= STEER_SLOTS);
	for (size_t i = 0; i < STEER_BUCKETS; i++) {
		if (n_primary == 0) {
			ret->buckets[i].primary = STEER_NO_SLOT;
			ret->buckets[i].backup = STEER_NO_SLOT;
			continue;
		}
		ret->buckets[i].primary = primary[i % n_primary];
		ret->buckets[i].backup = backup_of(i, primary, n_primary, backup, n_backup);
	}
}
