/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * connection_list: the connections of a service, for GET /v1/services/NAME/connections. Only looks.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "common/error.h"
#include "orchestrator/service/service.h"

/*
 * {"service", "total", "shown", "connections"}: each as connection_json() has it, with "generation"
 * and "instance", newest generation first; at most @limit of them. A connection that has migrated
 * before it was accepted is listed with the generation on whose socket it was established. NULL
 * without memory or where the kernel could not be asked.
 */
json_t *connection_list(struct service *service, size_t limit, struct error *err);
