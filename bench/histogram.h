/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * histogram: keeps how long things took, in microseconds, at a fixed cost per value.
 *
 * Log-linear buckets: values below 256 are kept exactly, larger ones in 128 buckets per power of
 * two, so that a quantile is at most 1/128 (0.8%) too large and never too small. Values from 2^32
 * (71 minutes) on share the last bucket; the maximum is always exact. All zeroes is an empty
 * histogram. Pure: no I/O and no allocation.
 */
#pragma once

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 7
#define HISTOGRAM_MAX_BITS 32
#define HISTOGRAM_BUCKETS  ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
	uint64_t counts[HISTOGRAM_BUCKETS];
	uint64_t count;
	uint64_t max;
};

/* Add one value. */
void histogram_add(struct histogram *histogram, uint64_t value_us);

/* Add all values of @from. */
void histogram_merge(struct histogram *histogram, const struct histogram *from);

/*
 * The smallest value that @millionths of all values do not exceed, with the precision above. 500000
 * gives the median, 999000 the 99.9th percentile, 1000000 the maximum. 0 for an empty histogram.
 */
uint64_t histogram_quantile(const struct histogram *histogram, uint32_t millionths);
