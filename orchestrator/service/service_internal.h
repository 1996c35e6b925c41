/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_internal: what the files of a service share. Each file uses only those above it in this
 * list. A star marks those with a header of their own.
 *
 *	service_base.c        events, pokes, timers
 *	service_runs.c        which rollouts there are; beginning one
 *	service_members.c     which instances serve, are meant to serve, stay
 *	service_failover.c *
 *	service_drift.c *
 *	service_strangers.c *
 *	service_backlogs.c *
 *	service_hold.c *
 *	service_publish.c *
 *	service_tick.c        looks twice a second
 *	service_lend.c *
 *	service_endpoints.c *
 *	service_borrow.c      an address comes from another service
 *	service_twins.c *
 *	service_pause.c       pause and resume
 *	service_reopen.c *
 *	service_generations.c making and dropping generations, removing instances
 *	service_hooks.c *
 *	service_history.c *
 *	service_become.c      what it can become by a rollout
 *	service_room.c        whether an address has room for more listening sockets
 *	service_scale.c       more instances, fewer, others in their place
 *	service_begin.c       a new generation, or none any more
 *	service_turn.c        no more than so many services start servers at a time
 *	service_underway.c *
 *	service_orders_copy.c an order that outlives the call
 *	service_ahead.c *
 *	service_orders.c *
 *	service_heal.c *
 *	service_retry.c *
 *	service_host.c        answers what rollouts ask
 *	service_takeover.c    takes over what an earlier daemon has left
 *	service_watch.c       paths whose change begins a rollout
 *	service_reconfigure.c another configuration
 *	service.c             the deferred look, the end of a rollout, life
 *
 * Nobody else includes this.
 */
#pragma once

#include "orchestrator/service/service.h"

/* For each endpoint that is not another service's: its place. */
#define SERVICE_OWN(k, service)                                                                    \
	WIRING_EACH (k, &(service)->wiring)                                                        \
		if (!(service)->lending.borrowed[k])

/* ---- service_base.c -------------------------------------------------------------------------- */

/* Log an event, and give it to whoever keeps events. */
void service_tell(struct service *service, const struct event *event);

/* The same for an event that has nothing but a message, and the generation that serves. */
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

/* A place for another rollout; NULL: all SERVICE_RUNS_MAX are in use. */
struct run *service_free_run(struct service *service);

/* The number of the next rollout. */
uint32_t service_next_rollout(struct service *service);

/* Begin @plan in @run, which is free; with the next number if the plan has none. */
void service_begin_run(struct service *service, struct run *run, struct run_plan plan);

/* The service is to end: what drains already has no more than "shutdown_timeout" from now on. */
void service_limit_drains(struct service *service);

/* If a scaling has failed, its number of instances is not wanted any more. */
void service_settle_scale(struct service *service);

/* Let @goes, of the generation @g, settle, leave, drain and stop. No table names them any more. */
void service_retire(struct service *service, struct generation *g, const struct instances *goes);

/* ---- service_members.c ----------------------------------------------------------------------- */

typedef bool service_filter(const struct service *service, const struct instance *instance);

/* Its role is INSTANCE_IN, whether it can serve or not. */
service_filter service_is_meant;
/* ... and it can serve. */
service_filter service_is_in;
service_filter service_is_backup;
/* In, not unhealthy, and started again by its agent when it dies. */
service_filter service_is_steady;

/*
 * Those that the tables name: the healthy ones that are in; if there are none, all that are in; if
 * there are none because the service is being stopped, those that have yet to leave.
 */
service_filter *service_in_service(const struct service *service);

size_t service_count(const struct service *service, service_filter *wanted);

/* Can any instance that is in take connections? */
bool service_can_serve(const struct service *service);

/* ... or any that has yet to leave, while the service is being stopped? */
bool service_can_take(const struct service *service);

/* How many instances the tables name. */
size_t service_named(const struct service *service);

/* The newest generation that the published tables name; NULL: they name none. */
struct generation *service_named_generation(const struct service *service);

/*
 * The agents of all instances keep what must outlive the daemon (steer_beacon(), steer_anchor()):
 * another endpoint was opened, one was closed, or has another anchor.
 */
void service_keep_sockets(struct service *service);

/* ---- service_tick.c -------------------------------------------------------------------------- */

void service_start_tick(struct service *service);
void service_stop_tick(struct service *service);

/* See tap.h: note who has changed a program, and look at once. */
void service_on_program(void *userdata, uint32_t generation, uint32_t instance, pid_t pid,
			const char *comm);

/* ---- service_become.c ------------------------------------------------------------------------ */

/*
 * -EBUSY if an address of @config overlaps with another one that is open, and no connection can be
 * moved between the two.
 */
int service_check_overlaps(const struct service *service, const struct service_config *config,
			   struct error *err);

/* ---- service_borrow.c ------------------------------------------------------------------------ */

/* @borrower has committed: all that it has borrowed is its own. */
void service_keep_borrowed(struct service *borrower);

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
 * Pause: the tables name nothing, so that new connections wait in the anchors' queues, each for at
 * most service_hold_ms(). Connections that were accepted go on. Resume: the tables name instances
 * again, and those that wait go there.
 */
int order_pause(struct order_call *call);
int order_resume(struct order_call *call);

/* ---- service_generations.c ------------------------------------------------------------------- */

/* Is there room for one more generation? */
bool service_has_room(const struct service *service);

/* The number that the next one will have. */
uint32_t service_coming_number(const struct service *service);

/* A new one, not yet started. Takes over @config and @release, also on failure. */
int service_make_generation(struct service *service, struct service_config *config,
			    struct release *release, struct generation **ret, struct error *err);

/* Add @g, which is newer than all others. -E2BIG if there are too many; then @g is freed. */
int service_add_generation(struct service *service, struct generation *g, struct error *err);

/* Free generations without instances, unless a rollout may still give them new ones. */
void service_drop_empty_generations(struct service *service);

/* Close the addresses that only generations had that have left. */
void service_drop_unused_endpoints(struct service *service);

/* The processes of @instance are gone: take it out of every rollout, and free it. */
void service_remove_instance(struct service *service, struct instance *instance);

/* What every instance of a service reports to; the userdata is the service. */
extern const struct instance_callbacks service_instance_callbacks;

/* ---- service_room.c -------------------------------------------------------------------------- */

/*
 * Can each address have the listening sockets of @n more instances? -ENOSPC: @err says how many
 * there are and would be, and what can be done. 0 while the endpoints are not open.
 */
int service_check_slots(const struct service *service, uint32_t n, struct error *err);

/* ---- service_scale.c ------------------------------------------------------------------------- */

int order_scale(struct order_call *call);

/* What the rollout that the order begins is for. */
enum run_order order_purpose(const struct order_call *call);

/* Refuse an order because of @run, which the refusal names. */
int order_refuse_busy(const struct run *run, struct refusal *refusal);

/* Begin a rollout within the current generation that nobody has ordered. */
int service_begin_replace(struct service *service, const struct instances *goes, uint32_t n_new,
			  struct error *err);

/* ---- service_begin.c ------------------------------------------------------------------------- */

/* If no rollout begins, answer->message says why. */
int order_restart(struct order_call *call);
int order_upgrade(struct order_call *call);
int order_rollback(struct order_call *call);
/* What a rollback would go to, as answer->message. */
int order_try_rollback(struct order_call *call);
int order_start(struct order_call *call);
int order_stop(struct order_call *call);

/* Ask of files all that carrying out @order will ask. For a helper: nothing comes of it. */
void order_look(struct service *service, const struct service_order *order);

/* Refuse the order if it is clear beforehand that it cannot begin. */
int order_check_release(struct order_call *call);
int order_check_rollback(struct order_call *call);
int order_check_start(struct order_call *call);

/* ---- service_turn.c -------------------------------------------------------------------------- */

/* Does it start servers that an operator, or a change of the configuration, has asked for? */
bool service_needs_turn(const struct service *service, const struct service_order *order);

/* It needs none, or has it, or nobody is before it. */
bool service_has_turn(const struct service *service, const struct service_order *order);

/* A rollout holds its turn: it has yet to start something, or to decide whether that stays. */
bool service_uses_turn(struct service *service);

/* See waiting_line.h. */
bool service_take_turn(struct service *service);
void service_leave_turn(struct service *service);
void service_end_turn(struct service *service);

/* ---- service_watch.c ------------------------------------------------------------------------- */

/* Watch the paths of the configuration, and no others. */
void service_watch_paths(struct service *service);

/* ---- service_host.c -------------------------------------------------------------------------- */

extern const struct run_host_ops service_host_ops;
