/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * event_json: an event as the members of a JSON object (docs/api.md).
 */
#pragma once

#include <jansson.h>

#include "orchestrator/event/event.h"

/* All but "seq", "time", "service" and "event". A new reference; NULL without memory. */
json_t *event_json(const struct event *event);
