/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tail_json: the last words of a server as JSON.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Add to @json what a server wrote last: "tail", "tail_stream", "tail_time". @text "": nothing. */
void tail_json(json_t *json, const char *text, bool is_stdout, uint64_t realtime_ms);
