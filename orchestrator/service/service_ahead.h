/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_ahead: before an order that reads files is carried out, a helper reads them (errand.h).
 * So an order whose files do not answer is refused with the reason, and nobody waits for it but
 * whoever gave it.
 */
#pragma once

#include <stdbool.h>

#include "common/error.h"

struct service;
struct service_order;
struct ahead;

/*
 * 0: what the order asks of files until this returns is recalled; else @why says what does not
 * answer. @order is a copy.
 */
typedef void service_on_ahead(void *userdata, struct service *service,
			      const struct service_order *order, int r, const struct error *why);

/* Does carrying out @order ask anything of files? If not, nothing has to be sent. */
bool service_asks_files(const struct service_order *order);

/*
 * Send a helper for @order, which is copied. @on_ahead is called once, from the loop or by
 * service_stop_ahead(), unless the service is freed before. Negative with @err: it cannot be sent,
 * and nothing is called.
 */
int service_send_ahead(struct service *service, const struct service_order *order,
		       service_on_ahead *on_ahead, void *userdata, struct error *err);

/* All that are on their way come back with -ESHUTDOWN. */
void service_stop_ahead(struct service *service);

/* They are forgotten. */
void service_drop_ahead(struct service *service);
