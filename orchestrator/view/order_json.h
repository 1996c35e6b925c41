/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * order_json: orders as they come in requests, and what is answered.
 */
#pragma once

#include <jansson.h>

#include "orchestrator/service/service.h"

/*
 * The order @name with the members of @body (a JSON object; NULL: none). What an order takes is in
 * common/orders.h; anything else is refused, with the member named. @ret is the caller's, to be
 * freed by service_order_done(), also on failure.
 */
int order_parse(const char *name, const json_t *body, struct service_order *ret,
		struct refusal *refusal);

/* What has become of it; a new reference. */
json_t *order_answer_json(const struct service *service, enum service_order_type type,
			  const struct service_answer *answer);
