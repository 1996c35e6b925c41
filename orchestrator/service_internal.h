/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_internal: what service.c, service_orders.c and service_adopt.c share. They are one module
 * in three parts: a service's life and tables; the orders that begin rollouts; taking over what an
 * earlier daemon has left. Nobody else includes this.
 */
#pragma once

#include "orchestrator/service.h"

/* What every instance of a service reports to; the userdata is the service. */
extern const struct instance_callbacks service_instance_callbacks;

/*
 * Open every endpoint (steer_open()); on failure none is left open. service_open_fresh() also
 * clears and attaches them, for a first generation: -EBUSY where something of an earlier daemon's
 * is alive.
 */
int service_open_endpoints(struct service *service, struct error *err);
int service_attach_endpoints(struct service *service, struct error *err);
int service_open_fresh(struct service *service, struct error *err);

/* The pins stay: see steer_unpin_all(). */
void service_close_endpoints(struct service *service);

/* The rollout that could still go either way; NULL: none. */
struct run *service_undecided_run(struct service *service);

/* The rollout by which the current generation goes without a successor; NULL: none. */
struct run *service_stopping_run(struct service *service);

/* One that is not in use; NULL: all SERVICE_GENERATIONS_MAX are. */
struct run *service_free_run(struct service *service);
