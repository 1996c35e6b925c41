/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_internal: what the parts of a service share. They are one module: service.c (life,
 * generations), service_endpoints.c (opening, pause), service_tables.c (who gets new connections),
 * service_orders.c, service_begin.c, service_scale.c (the orders), service_hooks.c (the operator's
 * commands), service_heal.c (what is unhealthy or dead), service_take_over.c (taking over what an
 * earlier daemon has left), service_watch.c (what has to be looked at). Nobody else includes this.
 */
#pragma once

#include "orchestrator/service/service.h"

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

/* ---- service_tables.c ------------------------------------------------------------------------
 */

/* Publish again where what is named has changed since. */
void service_republish(struct service *service);

/* The generation that the newest named instance is of; NULL: none is named. */
struct generation *service_named_generation(const struct service *service);

/* Can any instance that is in take connections? */
bool service_can_serve(const struct service *service);

/* ---- service_heal.c --------------------------------------------------------------------------
 */

/* Who has turned unhealthy or well again; what is to be replaced; is the service degraded? */
void service_look_health(struct service *service);

/* Somebody has given an order: what has failed before counts no more. */
void service_forgive(struct service *service);

/* ---- service_orders.c ------------------------------------------------------------------------
 */

/* Begin what is queued, where nothing is undecided any more. */
void service_begin_next(struct service *service);

/* Something is queued, and can begin now. */
bool service_is_about_to_begin(struct service *service);

/* Begin one for which nobody has asked. */
int service_begin_replace(struct service *service, const struct instances *goes, uint32_t n_new,
			  struct error *err);

/* What could not be had by scaling is not wanted any more: as soon as that is known. */
void service_settle_scale(struct service *service);

/* ---- service_hooks.c -------------------------------------------------------------------------
 */

void service_cancel_hooks(struct service *service);

/* ---- service_watch.c --------------------------------------------------------------------------
 */

/* Call @handler once, in @delay_ms; @source is made where it is NULL. */
void service_arm(struct service *service, sd_event_source **source, sd_event_time_handler_t handler,
		 uint64_t delay_ms);

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

/* For tap.h. */
void service_on_program(void *userdata, uint32_t generation, uint32_t instance, pid_t pid,
			const char *comm);

/* The rollout that could still go either way; NULL: none. */
struct run *service_undecided_run(struct service *service);

/* The rollout by which the current generation goes without a successor; NULL: none. */
struct run *service_stopping_run(struct service *service);

/* One that is not in use; NULL: all SERVICE_RUNS_MAX are. */
struct run *service_free_run(struct service *service);

/* All of it is to end: what goes already has no more than "shutdown_timeout" from now on either. */
void service_limit_drains(struct service *service);

/*
 * @goes, of the generation @g, settle, leave, drain and stop; no table names them any more. Nobody
 * has asked for it.
 */
void service_retire(struct service *service, struct generation *g, const struct instances *goes);
