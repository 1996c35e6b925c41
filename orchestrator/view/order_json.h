/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * order_json: makes an order of the body of a request, and the answer to it.
 */
#pragma once

#include <jansson.h>

#include "orchestrator/service/service.h"

/*
 * The order @name with the members of @body (a JSON object; NULL: none). common/orders.h says which
 * members an order takes; any other is refused by name. The caller frees @ret by
 * service_order_done(), also on failure.
 */
int order_parse(const char *name, const json_t *body, struct service_order *ret,
		struct refusal *refusal);

/* What has become of an order of @type; a new reference. */
json_t *order_answer_json(const struct service *service, enum service_order_type type,
			  const struct service_answer *answer);

/* How "reopen" went, where nothing failed. */
json_t *order_reopened_json(const struct service *service, const struct reopen_result *result);

/* What could not be opened anew: an array with a line of text for each. */
json_t *order_reopen_failures(const struct reopen_result *result);
