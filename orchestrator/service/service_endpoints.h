/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_endpoints: opening and closing a service's endpoints, and its pause.
 */
#pragma once

#include <stdbool.h>

#include "common/error.h"
#include "orchestrator/host/cgroup.h"
#include "orchestrator/steer/steer.h"

struct service;

struct service_endpoints {
	bool open;                           /* the service's wiring is filled */
	char anchor_cgroup[CGROUP_PATH_MAX]; /* "": none */
	char tier_reason[TIERS_REASON_MAX];  /* why not a higher tier; "": it is the highest */
};

/*
 * Open every endpoint (steer_open()); on failure none is left open. service_open_fresh() also
 * clears and attaches them, for a first generation: -EBUSY if something of an earlier daemon's is
 * alive.
 */
int service_open_endpoints(struct service *service, struct error *err);
int service_attach_endpoints(struct service *service, struct error *err);
int service_open_fresh(struct service *service, struct error *err);

/* The pins stay: see steer_unpin_all(). */
void service_close_endpoints(struct service *service);

/* Nothing of the service is alive any more that another daemon could take over. */
void service_unpin_endpoints(struct service *service);
