/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * time_json: a time of day as JSON.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

/* CLOCK_REALTIME in milliseconds: "2026-01-31T12:00:00.042Z". */
json_t *time_json(uint64_t realtime_ms);
