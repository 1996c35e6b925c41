/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_internal: what the parts of a service share. They are one module: service.c (life,
 * generations), service_endpoints.c (opening, tables, pause), service_orders.c (the orders that
 * begin rollouts), service_adopt.c (taking over what an earlier daemon has left), service_watch.c
 * (what has to be looked at). Nobody else includes this.
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

/* Nothing of the service is alive any more that another daemon could take over. */
void service_unpin_endpoints(struct service *service);

/* Publish again where what is named has changed since. */
void service_republish(struct service *service);

/* ---- service_watch.c --------------------------------------------------------------------------
 */

void service_watch_start(struct service *service);
void service_watch_stop(struct service *service);

/* Have backup slots been used since the last look? */
void service_look_failover(struct service *service);

/* What backups have carried until now is not to be told: an earlier daemon has. */
void service_forget_failover(struct service *service);

/*
 * Hold connections that nothing can take, or refuse them, as the service's situation says: begin
 * before a table is published, so that none is refused meanwhile, end after it.
 */
void service_begin_hold(struct service *service);
void service_end_hold(struct service *service);

/* Send what waits to where the table says. */
void service_unhold(struct service *service);

/* For hooks.h. */
void service_on_program(void *userdata, uint32_t generation, uint32_t instance, pid_t pid,
			const char *comm);

/* The rollout that could still go either way; NULL: none. */
struct run *service_undecided_run(struct service *service);

/* The rollout by which the current generation goes without a successor; NULL: none. */
struct run *service_stopping_run(struct service *service);

/* One that is not in use; NULL: all SERVICE_GENERATIONS_MAX are. */
struct run *service_free_run(struct service *service);
