/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_publish: makes a table for each endpoint of the instances' roles: who gets new
 * connections. Unhealthy instances are left out as long as there are healthy ones.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "orchestrator/rollout/run.h"

struct service;

struct service_published {
	/*
	 * Stands for the roles and shares that the tables were made of; 0: the last publish failed,
	 * so that some endpoints may have other tables than the rest.
	 */
	uint64_t version;
	char failure[256]; /* why the tables are not what they should be; "": they are */
	struct run_shares shares;
};

/*
 * Make tables of the instances' roles. The endpoints must be open. Negative if an endpoint did not
 * get its table: then service_republish() tries once more at the service's next look.
 */
int service_publish(struct service *service, struct error *err);

/*
 * Publish again if roles, health or sockets have changed since, or if the last publish failed. If
 * that fails, it is logged, and not tried again before something else changes.
 */
void service_republish(struct service *service);

/* If that failed the last time: have it tried once more. To be called every half second or so. */
void service_publish_again(struct service *service);

/* Is another endpoint open that could take connections of the one at @place (steer_share())? */
bool service_competes(const struct service *service, size_t place);

/* -ENOENT if an instance of @set listens on fewer than all endpoints. */
int service_check_sockets(struct service *service, const struct instances *set, struct error *err);
