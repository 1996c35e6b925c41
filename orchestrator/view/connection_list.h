/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * connection_list: the connections of a service, for GET /v1/services/NAME/connections. Only looks.
 *
 * The kernel is asked once, for all. JSON is made of it piece by piece, since that takes several
 * times as long, and the loop has other work: a piece is a matter of less than a millisecond.
 */
#pragma once

#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/service/service.h"

struct connection_list;

/*
 * {"service", "total", "shown", "connections"}: at most @limit connections, as connection_json()
 * makes them, with "generation" and "instance"; the newest generation first. A connection that has
 * migrated before accept(2) is listed with the generation on whose socket it was established.
 * -ENOMEM, or what the kernel says that could not be asked. @service need not outlive the list.
 */
int connection_list_new(struct service *service, size_t limit, struct connection_list **ret,
			struct error *err);
void connection_list_free(struct connection_list *list);
DEFINE_CLEANUP(struct connection_list *, connection_list_free);

/* The next piece of the text, from malloc(3). Empty: that was all. NULL: no memory. */
char *connection_list_next(struct connection_list *list);
