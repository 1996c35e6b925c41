/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_publish: who gets new connections: the instances' roles, made into a table for each
 * endpoint. What is unhealthy is left out while anything healthy is left.
 */
#pragma once

#include <stdint.h>

#include "common/error.h"
#include "orchestrator/rollout/run.h"

struct service;

struct service_published {
	/*
	 * Of what the published tables were made of; 0: they may be of anything, because some
	 * endpoint could not get its own.
	 */
	uint64_t version;
	struct run_shares shares;
};

/*
 * Make tables of the instances' roles. Negative where an endpoint could not get its table: then it
 * is tried again at the service's next look.
 */
int service_publish(struct service *service, struct error *err);

/* Publish again if what is named has changed since. */
void service_republish(struct service *service);

/* Does @set listen on every endpoint? -ENOENT where one has none. */
int service_check_sockets(struct service *service, const struct instances *set, struct error *err);
