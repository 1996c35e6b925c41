/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_internal: what the files of a service share. Each file uses those above it in this list
 * only; those with a header of their own are marked by a star.
 *
 *	service_base.c        events, pokes, timers
 *	service_runs.c        which rollouts there are; beginning one
 *	service_members.c     who serves, who is meant to, who is on the way out
 *	service_failover.c *
 *	service_drift.c *
 *	service_hold.c *
 *	service_publish.c *
 *	service_tick.c        what has to be looked at twice a second
 *	service_endpoints.c *
 *	service_pause.c       pause and resume
 *	service_generations.c making and dropping generations, removing instances
 *	service_hooks.c *
 *	service_history.c *
 *	service_scale.c       more instances, fewer, others
 *	service_begin.c       a new generation, or none
 *	service_orders.c *
 *	service_heal.c *
 *	service_host.c        what rollouts ask of their service
 *	service_takeover.c    what an earlier daemon has left
 *	service_watch.c       paths whose change begins a rollout
 *	service_reconfigure.c another configuration
 *	service.c             the deferred look, the end of a rollout, life
 *
 * Nobody else includes this.
 */
#pragma once

#include "orchestrator/service/service.h"

/* ---- service_base.c -------------------------------------------------------------------------- */

/* Log an event, and give it to whoever keeps events. */
void service_tell(struct service *service, const struct event *event);

/* The same for one that has nothing but a message. */
void service_note(struct service *service, enum event_kind kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Look at everything as soon as the loop is back on top. */
void service_poke(struct service *service);

/* Call @handler once, in @delay_ms; replaces what was set before. */
void service_arm(struct service *service, struct timer *timer, sd_event_time_handler_t handler,
		 uint64_t delay_ms);

/* ---- service_runs.c -------------------------------------------------------------------------- */

/* Is the rollout of this slot under way? */
bool service_run_is_used(const struct run *run);

/* The rollout by which the current generation goes without a successor; NULL: none. */
struct run *service_stopping_run(struct service *service);

/* One that is not in use; NULL: all SERVICE_RUNS_MAX are. */
struct run *service_free_run(struct service *service);

/* The number of the next rollout. */
uint32_t service_next_rollout(struct service *service);

/* Begin @plan in @run, which is free; with the next number if the plan has none. */
void service_begin_run(struct service *service, struct run *run, struct run_plan plan);

/* All of it is to end: what goes already has no more than "shutdown_timeout" from now on either. */
void service_limit_drains(struct service *service);

/* What could not be had by scaling is not wanted any more: as soon as that is known. */
void service_settle_scale(struct service *service);

/*
 * @goes, of the generation @g, settle, leave, drain and stop; no table names them any more. Nobody
 * has asked for it.
 */
void service_retire(struct service *service, struct generation *g, const struct instances *goes);

/* ---- service_members.c ----------------------------------------------------------------------- */

typedef bool service_filter(const struct service *service, const struct instance *instance);

/* Its role is to serve, whether it can or not. */
service_filter service_is_meant;
/* ... and it can. */
service_filter service_is_in;
service_filter service_is_backup;
/* In, not unhealthy, and started again by its agent when it dies. */
service_filter service_is_steady;

/* What is unhealthy is left out, unless there is nothing else. */
service_filter *service_in_service(const struct service *service);

size_t service_count(const struct service *service, service_filter *wanted);

/* Can any instance that is in take connections? */
bool service_can_serve(const struct service *service);

/* How many instances the tables name. */
size_t service_named(const struct service *service);

/* The generation that the newest named instance is of; NULL: none is named. */
struct generation *service_named_generation(const struct service *service);

/* ---- service_tick.c -------------------------------------------------------------------------- */

void service_start_tick(struct service *service);
void service_stop_tick(struct service *service);

/* See tap.h: looks at once. */
void service_on_program(void *userdata, uint32_t generation, uint32_t instance, pid_t pid,
			const char *comm);

/* ---- service_pause.c ------------------------------------------------------------------------- */

/* An order while it is being carried out. */
struct order_call {
	struct service *service;
	const struct service_order *order;
	uint32_t id; /* of its rollout; 0: the next one */
	struct service_answer *answer;
	struct refusal *refusal;
};

/*
 * Pause: name nothing in the tables, so that new connections wait in the anchors' queues, each for
 * at most service_hold_ms(); what has been accepted goes on. Resume: send them to where they
 * belong.
 */
int order_pause(struct order_call *call);
int order_resume(struct order_call *call);

/* ---- service_generations.c ------------------------------------------------------------------- */

/* Is there room for one more generation? */
bool service_has_room(const struct service *service);

/* A new one, not yet started. Takes over @config and @release, also on failure. */
int service_make_generation(struct service *service, struct service_config *config,
			    struct release *release, struct generation **ret, struct error *err);

/* For those that are taken over. -E2BIG if there are too many. */
int service_add_generation(struct service *service, struct generation *g, struct error *err);

/* A generation is over with its last instance, unless a rollout may still give it new ones. */
void service_drop_empty_generations(struct service *service);

/* An instance whose processes are gone: out of every rollout, and freed. */
void service_remove_instance(struct service *service, struct instance *instance);

/* What every instance of a service reports to; the userdata is the service. */
extern const struct instance_callbacks service_instance_callbacks;

/* ---- service_scale.c ------------------------------------------------------------------------- */

int order_scale(struct order_call *call);

/* Because of @run, which is named. */
int order_refuse_busy(const struct run *run, struct refusal *refusal);

/* Begin a rollout within the current generation for which nobody has asked. */
int service_begin_replace(struct service *service, const struct instances *goes, uint32_t n_new,
			  struct error *err);

/* ---- service_begin.c ------------------------------------------------------------------------- */

/* Where no rollout is begun answer->message says why. */
int order_restart(struct order_call *call);
int order_upgrade(struct order_call *call);
int order_rollback(struct order_call *call);
/* What a rollback would go to, as answer->message. */
int order_try_rollback(struct order_call *call);
int order_start(struct order_call *call);
int order_stop(struct order_call *call);

/* Can what the order would start be started, as far as can be seen before? */
int order_check_release(struct order_call *call);
int order_check_rollback(struct order_call *call);
int order_check_start(struct order_call *call);

/* ---- service_watch.c ------------------------------------------------------------------------- */

/* Watch the paths of the configuration, instead of those of an earlier one. */
void service_watch_paths(struct service *service);

/* ---- service_host.c -------------------------------------------------------------------------- */

extern const struct run_host_ops service_host_ops;
