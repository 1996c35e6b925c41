/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * connection_json: one connection (diag.h) as the API tells of it. Pure.
 *
 *	{"peer": "127.0.0.1:5123", "local": "127.0.0.1:8080", "state": "ESTABLISHED",
 *	 "live": true, "accepted": true, "age_ms": 1200, "idle_ms": 30, "received": 100,
 *	 "sent": 2000, "receive_queue": 0, "send_queue": 0}
 *
 * "age_ms" is null if nobody noted when it began. "accepted" is false while it waits for accept(2).
 * An IPv4 client of a dual-stack socket has its IPv4 address.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "common/diag.h"

/* @now_ns: CLOCK_MONOTONIC. A new reference; NULL without memory. */
json_t *connection_json(const struct diag_connection *connection, uint64_t now_ns);
