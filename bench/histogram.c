/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/histogram.h"

#include <stddef.h>

#define SUB_BUCKETS (UINT64_C(1) << HISTOGRAM_SUB_BITS)
#define VALUE_MAX   ((UINT64_C(1) << HISTOGRAM_MAX_BITS) - 1)

/*
 * A value keeps its SUB_BITS + 1 highest bits. If anything was shifted out, the highest of them is
 * set. So each shift but 0 uses only the upper half of its range: shift 0 has the buckets 0 to 255,
 * shift 1 those from 256 to 383, and so on.
 */
static size_t bucket_of(uint64_t value)
{
	unsigned shift = 0;

	if (value > VALUE_MAX)
		value = VALUE_MAX;
	if (value >= 2 * SUB_BUCKETS)
		shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
	return (size_t)(shift * SUB_BUCKETS + (value >> shift));
}

static uint64_t bucket_last_value(size_t bucket)
{
	uint64_t shift = bucket < 2 * SUB_BUCKETS ? 0 : bucket / SUB_BUCKETS - 1;

	return ((bucket - shift * SUB_BUCKETS + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value_us)
{
	histogram->counts[bucket_of(value_us)]++;
	histogram->count++;
	if (value_us > histogram->max)
		histogram->max = value_us;
}

void histogram_merge(struct histogram *histogram, const struct histogram *from)
{
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		histogram->counts[i] += from->counts[i];
	histogram->count += from->count;
	if (from->max > histogram->max)
		histogram->max = from->max;
}

uint64_t histogram_quantile(const struct histogram *histogram, uint32_t millionths)
{
	unsigned __int128 product = (unsigned __int128)histogram->count * millionths;
	uint64_t rank = (uint64_t)((product + 999999) / 1000000);
	uint64_t seen = 0;

	if (rank >= histogram->count)
		return histogram->max;
	if (rank == 0)
		rank = 1;
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->counts[i];
		if (seen >= rank) {
			uint64_t last = bucket_last_value(i);

			return last < histogram->max ? last : histogram->max;
		}
	}
	return histogram->max;
}
