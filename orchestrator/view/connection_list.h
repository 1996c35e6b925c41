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
 * {"service", "total", "shown", "connections"}: at most @limit connections, as connection_json()
 * makes them, with "generation" and "instance"; the newest generation first. A connection that has
 * migrated before accept(2) is listed with the generation on whose socket it was established. NULL
 * without memory, or if the kernel could not be asked.
 */
json_t *connection_list(struct service *service, size_t limit, struct error *err);
