/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backoff: delays that grow. A caller that tries something again and again waits longer each time,
 * up to a limit. Pure: the caller counts its tries and waits.
 */
#pragma once

#include <stdint.h>

/*
 * The delay after @tries earlier ones: @first_ms, doubled once for each of @tries, and never more
 * than @most_ms. No number of tries overflows. A @first_ms of 0 stays 0.
 */
uint64_t backoff_delay_ms(uint64_t first_ms, uint64_t most_ms, uint64_t tries);
