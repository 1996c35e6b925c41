/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * status: a service as JSON, for GET /v1/services (docs/api.md). Only looks.
 */
#pragma once

#include <jansson.h>

#include "orchestrator/service/service.h"

/* A new reference, or NULL without memory. */
json_t *status_service(struct service *service);

/* A service that is not there, as its configuration has mistakes: state "refused". */
json_t *status_refused(const struct config_refused *refused);
json_t *status_refused_condition(const struct config_refused *refused);

/* "starting", "running", "degraded", "rolling", "stopping", "stopped", "failed" */
const char *status_state(struct service *service);

/* {"service", "condition", "reason"}: for GET /readyz. */
json_t *status_condition(struct service *service);
