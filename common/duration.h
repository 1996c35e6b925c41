/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * duration: lengths of time as people write them ("500ms", "1m30s"), kept in milliseconds.
 *
 * A duration is one or more pairs of a decimal number and a unit: ms, s, m, h, d. Units may be
 * combined from large to small, each once ("1h30m"); a fraction is allowed where the result is a
 * whole number of milliseconds ("1.5s"). A bare number is refused: it would hide its unit. The one
 * exception is "0".
 */
#pragma once

#include <stdint.h>

/* The longest duration accepted: 366 days. */
#define DURATION_MAX_MS   (366ULL * 24 * 3600 * 1000)
#define DURATION_TEXT_MAX 32

/* Returns -EINVAL where @text is not a duration, -ERANGE where it is longer than the maximum. */
int duration_parse(const char *text, uint64_t *ret_ms);

/*
 * The exact text with the fewest units, the milliseconds as a fraction of the seconds where there
 * are any ("1m30s", "1.5s", "250ms", "0"), in @buffer, which is also returned. duration_parse()
 * reads it back, up to its maximum; every 64-bit value fits the buffer.
 */
char *duration_format(uint64_t ms, char buffer[static DURATION_TEXT_MAX]);
