/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clock: the two clocks that baton reads. They are functions of their own, so that a test or a
 * simulator can link others. Pure modules never call them: their callers pass the time.
 */
#pragma once

#include <stdint.h>

/* CLOCK_MONOTONIC in milliseconds: for deadlines and lengths of time. Async-signal-safe. */
uint64_t clock_monotonic_ms(void);

/* CLOCK_REALTIME in milliseconds since 1970: for people only. */
uint64_t clock_realtime_ms(void);
