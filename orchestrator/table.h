/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * table: which slot gets the connections of which bucket. A pure function.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ebpf/steer.h"

/*
 * Spread the buckets evenly over @primary; a bucket's backup is one of @backup, or, where there
 * is none, another one of @primary. With no primary at all every bucket is empty: connections are
 * refused. Slots are below STEER_SLOTS; each list holds at most STEER_SLOTS.
 */
void table_compute(const uint16_t *primary, size_t n_primary, const uint16_t *backup,
		   size_t n_backup, struct steer_table *ret);
