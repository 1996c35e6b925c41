/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * duration: lengths of time as people write them ("500ms", "1m30s"), kept in milliseconds. Pure.
 *
 * A duration is one or more pairs of a decimal number and a unit: ms, s, m, h, d. Units may be
 * combined from large to small, each once ("1h30m"). A fraction is allowed if the result is a whole
 * number of milliseconds ("1.5s"). A bare number is refused, since nobody could tell its unit; the
 * only exception is "0".
 */
#pragma once

#include <stdint.h>

/* The longest duration accepted: 366 days. */
#define DURATION_MAX_MS   (366ULL * 24 * 3600 * 1000)
#define DURATION_TEXT_MAX 32

/* Returns 0, -EINVAL if @text is not a duration, or -ERANGE if it is longer than the maximum. */
int duration_parse(const char *text, uint64_t *ret_ms);

/*
 * Write the exact text with the fewest units into @buffer and return @buffer: "1m30s", "250ms",
 * "0". Beside seconds, milliseconds are their fraction: "1.5s". Every 64-bit value fits the buffer,
 * and duration_parse() reads it back, up to its maximum.
 */
char *duration_format(uint64_t ms, char buffer[static DURATION_TEXT_MAX]);
