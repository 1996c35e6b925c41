/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service: a server that is kept running under a name: its endpoints, its generations, its
 * rollouts. Other folders include this header only.
 *
 * An order (restart, upgrade, rollback, start, stop, scale) begins a rollout and returns at once;
 * events tell how the rollout goes. At most one rollout of a service is undecided. While it is, a
 * further order is refused as busy, unless it says "supersede": then the other rollout is undone,
 * and the order takes its place. Decided rollouts may drain meanwhile, as long as there are no more
 * than drain.generations_max generations.
 *
 * Rollouts set the roles of instances (instance.h); the tables are made of the roles.
 *
 * A service is made of parts, each with a struct, a header and a file of its own:
 *
 *	service_endpoints  opens and closes the endpoints
 *	service_lend       hands an address over from one service to another
 *	service_publish    makes tables of the instances' roles
 *	service_hold       lets connections wait
 *	service_drift      notices somebody else's program on a group
 *	service_backlogs   how full the accept queues are, and what they have dropped
 *	service_strangers  notices somebody else's sockets in a group
 *	service_failover   notices backups that have taken over
 *	service_heal       replaces instances that are unhealthy, dead or missing
 *	service_history    knows what ran before, and what an upgrade has changed
 *	service_hooks      runs the operator's commands
 *	service_reopen     has files of output opened anew, and waits for the agents
 *	service_underway   tells the end of rollouts in whose middle a daemon has died
 *	service_orders     takes orders, refuses or queues them
 *	service_retry      tries a start again that an earlier server's connections hinder
 *	waiting_line       how many services start servers at a time
 *
 * The other files have no state of their own: service_internal.h lists all, and the order in which
 * they use each other. state.h keeps what must outlive the daemon.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/timer.h"
#include "orchestrator/config/config.h"
#include "orchestrator/instance/instances.h"
#include "orchestrator/rollout/run.h"
#include "orchestrator/service/flood.h"
#include "orchestrator/service/service_drift.h"
#include "orchestrator/service/service_endpoints.h"
#include "orchestrator/service/service_failover.h"
#include "orchestrator/service/service_heal.h"
#include "orchestrator/service/service_history.h"
#include "orchestrator/service/service_lend.h"
#include "orchestrator/service/service_hold.h"
#include "orchestrator/service/service_hooks.h"
#include "orchestrator/service/service_orders.h"
#include "orchestrator/service/service_publish.h"
#include "orchestrator/service/service_reopen.h"
#include "orchestrator/service/service_underway.h"
#include "orchestrator/service/service_retry.h"
#include "orchestrator/service/service_ahead.h"
#include "orchestrator/service/service_backlogs.h"
#include "orchestrator/service/service_strangers.h"
#include "orchestrator/service/state.h"
#include "orchestrator/service/waiting_line.h"

#define SERVICE_GENERATIONS_MAX 8  /* drain.generations_max is no more */
#define SERVICE_RUNS_MAX        16 /* rollouts; all but one of them drain */

struct service {
	struct context *context;
	struct service_config *config;
	uint32_t instances; /* how many are wanted: by the last scale, else by the configuration */

	struct wiring wiring; /* filled while .endpoints is open */
	struct generation *generations[SERVICE_GENERATIONS_MAX]; /* oldest first */
	size_t n_generations;
	struct generation *current; /* serves; NULL: none does */

	struct run_host host; /* of the rollouts */
	struct run runs[SERVICE_RUNS_MAX];
	struct run_result last; /* how the last rollout has ended */

	struct service_endpoints endpoints;
	struct service_lending lending;
	struct service_published published;
	struct service_hold hold;
	struct service_drift drift;
	struct flood floods[_EVENT_KIND_COUNT]; /* of events that may flood */
	struct service_strangers strangers;
	struct service_backlogs backlogs;
	struct service_failover failover;
	struct service_healing healing;
	struct service_history history;
	struct service_queue queue;
	struct turn turn;    /* to start servers */
	struct ahead *ahead; /* orders whose helpers are on their way */
	struct service_retry retry;
	struct service_hook hooks[SERVICE_HOOKS_MAX];
	struct service_reopening reopening;
	struct service_underway underway;

	/*
	 * An earlier daemon has left agents of it that have not answered yet: they are in this
	 * list. No order is taken, and nothing is known of what runs. NULL: none is awaited.
	 */
	const struct takeover_list *awaited;

	bool deferred;               /* its change waits until it lends nothing: see reload */
	bool kept;                   /* it is gone from the file, and must not go: see reload */
	bool settled;                /* its start has ended or was refused, or it was taken over */
	bool stopped;                /* by an order, and not started since */
	bool shutting_down;          /* no order is taken any more */
	char refusal[512];           /* why its start was refused; "": it was not refused */
	bool left;                   /* see service_left() */
	uint64_t failed_realtime_ms; /* since when nothing serves that should; 0: it does */

	struct timer tick;      /* every half second, see service_tick.c */
	struct watch *watcher;  /* of config->watch */
	sd_event_source *defer; /* looks at everything, once the loop is back on top */

	/*
	 * A rollout or a command of the operator's has ended: service_is_idle() may be true now. Or
	 * what it has lent is its partner's.
	 */
	void (*on_end)(void *userdata, struct service *service);
	void *userdata;
};

/* Takes over @config, also on failure. */
int service_new(struct context *context, struct service_config *config,
		void (*on_end)(void *userdata, struct service *service), void *userdata,
		struct service **ret, struct error *err);

/* Processes that are left (see service_shutdown) go on under their agents. */
void service_free(struct service *service);
DEFINE_CLEANUP(struct service *, service_free);

/*
 * Take over @n (at least one) agents of this service that an earlier daemon has left alive, before
 * any order. The generation that was the current one goes on serving without a gap; the others
 * drain and stop (service_takeover.c says which it was if the earlier daemon died half-way).
 * Returns 1 if a generation serves now, 0 if the service has yet to be started.
 */
int service_take_over(struct service *service, struct takeover_agent *const *agents, size_t n,
		      struct error *err);

/*
 * An address that is open and that overlaps with @address, but is another one ("0.0.0.0:80" and
 * "127.0.0.1:80"); NULL: none. They are two groups. As soon as anything listens on the more
 * specific one the kernel gives it the connections of both, whether it is ready or not, and when it
 * goes its queue moves nowhere.
 */
const struct address *service_overlap(const struct service *service, const struct address *address);

/*
 * Can what runs be replaced by what @config says, without a gap? -EBUSY if the user or the steering
 * differ while endpoints are open: the sockets of one reuseport group have one owner, and one way
 * of steering. Addresses may differ, if none overlaps with another one that is open.
 */
int service_can_become(const struct service *service, const struct service_config *config,
		       struct error *err);

/*
 * Lend what @config wants and @lender has open to @borrower (service_lend.h). -EBUSY: the two have
 * not the same user, tier and stickiness, or one of them has another partner already.
 */
int service_lend(struct service *lender, struct service *borrower,
		 const struct service_config *config, struct error *err);

/* Is this address open for it? */
static inline bool service_has(const struct service *service, const struct address *address)
{
	return wiring_place(&service->wiring, address) < WIRING_MAX;
}

/*
 * Take a new configuration of the same name (taken over, also on failure). What runs goes on as it
 * is. Returns 1 if an order would make it as configured: *ret_order (restart, scale). Else 0.
 * -EBUSY as service_can_become() says; then the old configuration is kept.
 */
int service_reconfigure(struct service *service, struct service_config *config,
			enum service_order_type *ret_order, struct error *err);

/*
 * Ask of files all that service_reconfigure() and the order that comes of it will ask. Only for a
 * helper (errand.h), whose memory nobody sees: the service is not what it was afterwards.
 */
void service_look_at(struct service *service, struct service_config *config);

/* What its agents, cgroups, pins and notes are called: its name, or one that it had before. */
static inline const char *service_id(const struct service *service)
{
	return service_config_id(service->config);
}

/*
 * The service is called @name from now on. Its id stays, and all that runs. service_reconfigure()
 * comes next: servers are told the name, so that it is another release. -ENOMEM.
 */
int service_rename(struct service *service, const char *name);

/*
 * An earlier daemon called it @id, and has left agents of that name: it is renamed before it has
 * ever run here. service_take_over() comes next. -ENOMEM.
 */
int service_succeed(struct service *service, const char *id);

/*
 * Note why the service could not be started; status shows it until a rollout succeeds. It may be
 * tried again: service_retries().
 */
void service_refused(struct service *service, const char *reason);

/*
 * The same of a service whose instances go on as an earlier daemon has left them, as nobody can
 * talk to an agent of theirs: it is not started in their place.
 */
void service_left(struct service *service, const char *reason);

/* Is that so, and are they still there? */
bool service_is_left(const struct service *service);

/*
 * End: undo the rollout that is undecided, then stop the current generation as the "stop" order
 * does. When all of it has ended on_end is called and service_is_idle() is true. It may be true at
 * once; then on_end is not called. @why is for people.
 */
void service_shutdown(struct service *service, const char *why);
/* Kill every process. */
void service_kill(struct service *service);

/*
 * No generation is left, no rollout is under way, no command of the operator's runs, and no agent
 * is awaited.
 */
bool service_is_idle(const struct service *service);

/* It should run, but no generation serves and none is about to. */
bool service_has_failed(struct service *service);

/* The undecided rollout, else the latest one; NULL: none is under way. */
struct run *service_run(struct service *service);

/* The rollout that could still go either way (see rollout_is_decided()); NULL: none. */
struct run *service_undecided_run(struct service *service);

/*
 * A rollout that nothing can start beside, because the service stops first and the processes of
 * that rollout have yet to go; NULL: none is in the way.
 */
struct run *service_going_run(struct service *service);

/* Who serves now: what a table names, runs, and does not fail its checks. */
void service_who_serves(const struct service *service, struct run_serving *ret);

/* What it waits for, and what comes of it; .awaited is not NULL. Returns @ret. */
#define SERVICE_AWAITED_MAX 512
char *service_describe_awaited(const struct service *service, char ret[static SERVICE_AWAITED_MAX]);

/* How a service does. */
enum service_condition {
	SERVICE_STOPPED,  /* it is not to serve */
	SERVICE_WELL,     /* it serves as it should */
	SERVICE_DEGRADED, /* it serves, with less than it should have; or agents are awaited */
	SERVICE_DEAD,     /* it should serve, and does not */
};
enum service_condition service_condition(struct service *service);

/* The instances of the current generation that no rollout has sent away. */
void service_staying(const struct service *service, struct instances *ret);

/* New connections that the tables have sent to @instance, ever. Negative: nothing counts them. */
int service_steered_to(const struct service *service, const struct instance *instance,
		       uint64_t *ret);
