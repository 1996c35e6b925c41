/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service: a named thing to keep running: its endpoints, its generations, its rollouts.
 *
 * Orders (restart, upgrade, rollback, start, stop, scale) begin a rollout and return at once; how
 * it goes is told by events. At most one rollout of a service is before its point of no return; a
 * further order is refused as busy, or, if it says so ("supersede"), has the other one undone and
 * takes its place. Behind that point older rollouts may still be draining, up to
 * drain.generations_max generations in all.
 *
 * Which instances get new connections is said by their roles (instance.h), which rollouts set;
 * service_publish() makes tables of that, leaving out what is unhealthy while anything healthy is
 * left. What is unhealthy or dead is replaced, as often as "restart" allows (service_heal.c).
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/instance/takeover.h"
#include "orchestrator/api/api.h"
#include "orchestrator/config/config.h"
#include "orchestrator/instance/context.h"
#include "orchestrator/instance/generation.h"
#include "orchestrator/service/hold.h"
#include "orchestrator/service/restarts.h"
#include "orchestrator/rollout/run.h"
#include "orchestrator/steer/tiers.h"
#include "orchestrator/host/watch.h"
#include "orchestrator/instance/wiring.h"

#define SERVICE_GENERATIONS_MAX 8   /* drain.generations_max is no more */
#define SERVICE_RUNS_MAX        16  /* rollouts, nearly all of which drain */
#define SERVICE_HOOKS_MAX       8   /* commands of the operator's that run at once */
#define SERVICE_COMMAND_MAX     256 /* arguments of an upgrade's command */

/* New connections that backup slots had to take, because the primary's socket was gone. */
struct service_failover {
	uint64_t count;   /* how often that has begun */
	uint64_t carried; /* connections */
	uint64_t last_realtime_ms;
	bool active; /* at the last look there had been new ones */
};

/* An order that begins as soon as nothing is undecided any more. */
struct service_next {
	const char *order; /* static; NULL: there is none */
	json_t *body;      /* owned; NULL: empty */
	uint32_t id;       /* of its rollout; 0: nobody has been told */
};

/* A command of the operator's that nothing waits for. */
struct service_hook {
	struct service *service;
	enum hook_point point;
	struct command *command; /* NULL: not in use */
	char **environment;
};

struct service {
	struct context *context;
	struct service_config *config;
	char **command;     /* of the last successful upgrade; NULL: the configuration's */
	char **environment; /* what it has added to the environment; NULL: nothing */
	uint32_t instances; /* wanted: by the last scale, else by the configuration */
	uint32_t scaling;   /* the rollout by which so many are to be had; 0: none */

	struct wiring wiring;                /* filled while open */
	char anchor_cgroup[CGROUP_PATH_MAX]; /* "": none */
	char tier_reason[TIERS_REASON_MAX];  /* why not a higher tier; "": it is the highest */
	bool open;

	struct generation *generations[SERVICE_GENERATIONS_MAX]; /* oldest first */
	size_t n_generations;
	struct generation *current; /* the one that serves; NULL: none */
	/* The instances of this one share canary_weight percent of the connections. NULL: all alike
	 */
	struct generation *canary;
	uint32_t canary_weight;
	uint64_t version;         /* of what the published table was made of */
	struct service_next next; /* what an operator wants */
	const char *own_order;    /* what the service itself wants after that; NULL: nothing */

	sd_event_source *watch;          /* every half second, see service_watch.c */
	bool drifted[CONFIG_LISTEN_MAX]; /* another program is on it, and that was told */
	char culprit[128];               /* who has set a program lately, for the next event */
	struct service_failover failover;

	bool paused;  /* nothing is named; connections wait */
	bool holding; /* connections that nothing can take wait */
	struct hold holds[CONFIG_LISTEN_MAX];
	uint64_t expired[CONFIG_LISTEN_MAX]; /* have waited too long and were reset */
	sd_event_source *hold_timer;

	/* What ran before the current generation, for a rollback. */
	struct service_config *previous_config;
	struct release *previous_release;
	char **previous_added;
	bool rolled_back; /* from that, by an order: a reload is not to bring it again */

	struct run runs[SERVICE_RUNS_MAX];
	struct run_result last;
	struct service_hook hooks[SERVICE_HOOKS_MAX];
	bool settled; /* its first rollout has ended or was refused, or it was taken over */
	bool stopped; /* by an order, and not started since */

	struct restarts restarts; /* of instances of the current generation */
	uint64_t heal_at_ms;      /* when something is to be replaced; 0: nothing is */
	sd_event_source *heal_timer;
	char degraded[320];    /* why it is not as it should be, for good; "": it is */
	struct watch *watcher; /* of config->watch */
	char refusal[512];     /* why its start was refused; "": it was not */

	sd_event_source *defer; /* run_observe() for all, once the loop is back on top */
	bool shutting_down;

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

/* What has become of an order. */
struct service_answer {
	struct run *run; /* begun; or undone, or promoted; NULL: none, see below */
	uint32_t queued; /* the number of the rollout that begins when another has been undone */
	uint32_t supersedes; /* which; 0: none */
	char message[256];   /* nothing had to be begun, and why */
	bool unchanged;      /* ... because all is so already */
};

/*
 * Carry out @order with @body (see api.h; NULL: empty). Returns 0, or a negative errno with
 * @problem filled.
 */
int service_order(struct service *service, const char *order, const json_t *body,
		  struct service_answer *ret, struct api_problem *problem);

/* The same for one that the service gives itself: where something is under way it waits for that.
 */
void service_order_later(struct service *service, const char *order);

/*
 * Take a new configuration of the same name (taken over, also on failure). What runs goes on as it
 * is; *ret_order is the order by which it would become as configured ("restart", "scale"), or NULL.
 * -EBUSY, with the old configuration kept, where endpoints or user differ and the service is not
 * stopped: the sockets of one reuseport group have one address and one owner.
 */
int service_reconfigure(struct service *service, struct service_config *config,
			const char **ret_order, struct error *err);

/*
 * @on: name nothing in the tables, so that new connections wait in the anchors' queues, each for at
 * most service_hold_ms(); what has been accepted goes on. Off: send them to where they belong.
 * 1 where that is a change, 0 where it was so already. -EOPNOTSUPP on tiers that cannot hold,
 * -ENOTCONN where it is stopped or being stopped.
 */
int service_pause(struct service *service, bool on, struct error *err);

/* How long connections wait at most; 0: they do not. */
uint64_t service_hold_ms(const struct service *service);

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

/* ---- for run.c ------------------------------------------------------------------------------ */

/* Make tables of the instances' roles. */
int service_publish(struct service *service, struct error *err);

/* Does @set listen on every endpoint? -ENOENT where one has none. */
int service_check_sockets(struct service *service, const struct instances *set, struct error *err);

/* The instances of the current generation that nothing has sent away. */
void service_staying(const struct service *service, struct instances *ret);

/* How many instances the tables name. */
size_t service_named(const struct service *service);

/* New connections that the tables have sent to @instance, ever. Negative where nothing counts them.
 */
int service_steered_to(const struct service *service, const struct instance *instance,
		       uint64_t *ret);

/* An instance whose processes are gone: out of every rollout, and freed; its generation with it. */
void service_remove_instance(struct service *service, struct instance *instance);

/*
 * How a command of the operator's is run on behalf of @run: @ret but for the timeout of a gate.
 * *environment belongs to the caller (it replaces what was there), the rest is borrowed. @point:
 * _HOOK_COUNT for a gate.
 */
int service_command(struct service *service, const struct run *run, enum hook_point point,
		    struct command_spec *ret, char ***environment, struct error *err);

/* Run the command of @point, if there is one; how it went is told by an event. */
void service_hook(struct service *service, const struct run *run, enum hook_point point);

/* Look at everything as soon as the loop is back on top. */
void service_poke(struct service *service);

/*
 * The new side of @run is what serves from now on. If it is a generation of its own it is the
 * current one, and what was can be rolled back to.
 */
void service_commit(struct service *service, const struct run *run);

/* Add an event; @details is consumed, may be NULL. Returns its number. */
uint64_t service_event(struct service *service, const char *event, json_t *details);
