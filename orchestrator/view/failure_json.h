/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * failure_json: what a person needs who finds a service failed.
 */
#pragma once

#include <jansson.h>

#include "orchestrator/service/service.h"

/*
 * Of a service of which nothing serves: since when, the last words of its server, in how long it is
 * tried again ("retry_ms", null: it is not), what happens to connections, and what to type.
 */
json_t *failure_json(struct service *service);
