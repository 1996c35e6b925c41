/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service: a named thing to keep running: its endpoints, its generations, its rollouts. This is the
 * header of service/ for all others.
 *
 * Orders (restart, upgrade, rollback, start, stop, scale) begin a rollout and return at once; how
 * it goes is told by events. At most one rollout of a service is before its point of no return. A
 * further order is refused as busy, or, if it says so ("supersede"), has the other one undone and
 * takes its place. Behind that point older rollouts may still be draining, up to
 * drain.generations_max generations in all.
 *
 * Which instances get new connections is said by their roles (instance.h), which rollouts set.
 *
 * A service is made of parts, each with a struct, a header and a file of its own:
 *
 *	service_endpoints  opens and closes what is listened on
 *	service_publish    makes tables of the instances' roles
 *	service_hold       connections that wait
 *	service_drift      somebody else's program on a group
 *	service_failover   backups that have taken over
 *	service_heal       what is unhealthy, dead or missing
 *	service_history    what ran before; what an upgrade has changed
 *	service_hooks      the operator's commands
 *	service_orders     orders, one after the other
 *
 * The other files have no state of their own; service_internal.h says what is in which, and which
 * uses which.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/timer.h"
#include "orchestrator/config/config.h"
#include "orchestrator/instance/context.h"
#include "orchestrator/instance/generation.h"
#include "orchestrator/instance/takeover.h"
#include "orchestrator/instance/wiring.h"
#include "orchestrator/rollout/run.h"
#include "orchestrator/service/service_drift.h"
#include "orchestrator/service/service_endpoints.h"
#include "orchestrator/service/service_failover.h"
#include "orchestrator/service/service_heal.h"
#include "orchestrator/service/service_history.h"
#include "orchestrator/service/service_hold.h"
#include "orchestrator/service/service_hooks.h"
#include "orchestrator/service/service_orders.h"
#include "orchestrator/service/service_publish.h"

#define SERVICE_GENERATIONS_MAX 8  /* drain.generations_max is no more */
#define SERVICE_RUNS_MAX        16 /* rollouts, nearly all of which drain */

struct service {
	struct context *context;
	struct service_config *config;
	uint32_t instances; /* wanted: by the last scale, else by the configuration */

	struct wiring wiring; /* filled while .endpoints is open */
	struct generation *generations[SERVICE_GENERATIONS_MAX]; /* oldest first */
	size_t n_generations;
	struct generation *current; /* the one that serves; NULL: none */

	struct run_host host; /* of the rollouts */
	struct run runs[SERVICE_RUNS_MAX];
	struct run_result last;

	struct service_endpoints endpoints;
	struct service_published published;
	struct service_hold hold;
	struct service_drift drift;
	struct service_failover failover;
	struct service_healing healing;
	struct service_history history;
	struct service_queue queue;
	struct service_hook hooks[SERVICE_HOOKS_MAX];

	bool settled;       /* its first rollout has ended or was refused, or it was taken over */
	bool stopped;       /* by an order, and not started since */
	bool shutting_down; /* no order is taken any more */
	char refusal[512];  /* why its start was refused; "": it was not */
	uint64_t failed_realtime_ms; /* since when nothing serves that should; 0: it does */

	struct timer tick;      /* every half second, see service_tick.c */
	struct watch *watcher;  /* of config->watch */
	sd_event_source *defer; /* the look at everything, once the loop is back on top */

	/* Called when a rollout has ended, and when the last run has ended in a shutdown. */
	void (*on_end)(void *userdata, struct service *service);
	void *userdata;
};

/* Takes over @config, also on failure. */
int service_new(struct context *context, struct service_config *config,
		void (*on_end)(void *userdata, struct service *service), void *userdata,
		struct service **ret, struct error *err);

/* Its processes must be gone (see service_shutdown), else they are left to their agents. */
void service_free(struct service *service);
DEFINE_CLEANUP(struct service *, service_free);

/*
 * Take over @n agents of this service that an earlier daemon has left alive, before any order. The
 * generation that was the current one (or, where the earlier daemon died between two, the one
 * that has served longest) goes on serving without a gap; the others drain and stop. Returns 1
 * where something serves now, 0 where the service has yet to be started.
 */
int service_take_over(struct service *service, struct takeover_agent *const *agents, size_t n,
		      struct error *err);

/*
 * Take a new configuration of the same name (taken over, also on failure). What runs goes on as it
 * is; *ret_order is the order by which it would become as configured (restart, scale), if there is
 * one: then 1 is returned, else 0.
 * -EBUSY, with the old configuration kept, where endpoints or user differ and the service is not
 * stopped: the sockets of one reuseport group have one address and one owner.
 */
int service_reconfigure(struct service *service, struct service_config *config,
			enum service_order_type *ret_order, struct error *err);

/* Note why the service could not be started; shown as its reason until it is. */
void service_refused(struct service *service, const char *reason);

/*
 * End: undo what is before its point of no return, then stop the current generation as the "stop"
 * order does. on_end is called when service_is_idle() has become true; it may be so at once.
 */
void service_shutdown(struct service *service);
/* The same, at once: everything is killed. */
void service_kill(struct service *service);

/* No generation is left, no rollout is under way and no command of the operator's runs. */
bool service_is_idle(const struct service *service);

/* It should run, and nothing of it does, nor is about to. */
bool service_has_failed(struct service *service);

/* The rollout that is not yet past its point of no return, else the latest one; NULL: none. */
struct run *service_run(struct service *service);

/* The rollout that could still go either way; NULL: none. */
struct run *service_undecided_run(struct service *service);

/* The instances of the current generation that nothing has sent away. */
void service_staying(const struct service *service, struct instances *ret);

/* New connections that the tables have sent to @instance, ever. Negative: nothing counts them. */
int service_steered_to(const struct service *service, const struct instance *instance,
		       uint64_t *ret);
