/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service: a named thing to keep running: its endpoints, its generations, its rollouts.
 *
 * Orders (restart, upgrade, rollback, start, stop) begin a rollout and return at once; how it goes
 * is told by events. At most one rollout of a service is before its point of no return (LEAVING);
 * a further order is refused as busy. Behind that point older rollouts may still be draining, up
 * to SERVICE_GENERATIONS_MAX generations in all.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/adopt.h"
#include "orchestrator/api.h"
#include "orchestrator/config.h"
#include "orchestrator/context.h"
#include "orchestrator/generation.h"
#include "orchestrator/hold.h"
#include "orchestrator/run.h"
#include "orchestrator/tiers.h"
#include "orchestrator/wiring.h"

#define SERVICE_GENERATIONS_MAX 8
#define SERVICE_COMMAND_MAX     256 /* arguments of an upgrade's command */

/* New connections that backup slots had to take, because the primary's socket was gone. */
struct service_failover {
	uint64_t count;   /* how often that has begun */
	uint64_t carried; /* connections */
	uint64_t last_realtime_ms;
	bool active; /* at the last look there had been new ones */
};

struct service {
	struct context *context;
	struct service_config *config;
	char **command; /* of the last successful upgrade; NULL: the configuration's */

	struct wiring wiring;                /* filled while open */
	char anchor_cgroup[CGROUP_PATH_MAX]; /* "": none */
	char tier_reason[TIERS_REASON_MAX];  /* why not a higher tier; "": it is the highest */
	bool open;

	struct generation *generations[SERVICE_GENERATIONS_MAX]; /* oldest first */
	size_t n_generations;
	struct generation *current; /* the one that serves; NULL: none */
	/* What the published table names, as of which generation_version(). */
	struct generation *primary, *backup; /* NULL: none */
	uint64_t primary_version, backup_version;

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

	struct run runs[SERVICE_GENERATIONS_MAX];
	struct run_result last;
	bool settled;      /* its first rollout has ended or was refused, or it was adopted */
	bool changed;      /* a reload has come while a rollout was under way: restart after it */
	char refusal[512]; /* why its start was refused; "": it was not */

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
int service_adopt(struct service *service, struct adopt_agent *const *agents, size_t n,
		  struct error *err);

/*
 * Carry out @order with @body (see api.h). *ret_run is the rollout begun (or, for a rollback
 * during one, the one that is being undone). Returns 0, or a negative errno with @problem filled.
 */
int service_order(struct service *service, const char *order, const json_t *body,
		  struct run **ret_run, struct api_problem *problem);

/*
 * Take a new configuration of the same name (taken over, also on failure). What runs goes on as it
 * is; *ret_changed says whether a restart would run something else than what runs. -EBUSY, with the
 * old configuration kept, where endpoints or user differ and the service is not stopped: the
 * sockets of one reuseport group have one address and one owner.
 */
int service_reconfigure(struct service *service, struct service_config *config, bool *ret_changed,
			struct error *err);

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

/* No generation is left and no rollout is under way. */
bool service_is_idle(const struct service *service);

/* The rollout that is not yet past its point of no return, else the latest one; NULL: none. */
struct run *service_run(struct service *service);

/* ---- for run.c ------------------------------------------------------------------------------ */

/* Name @primary (backed up by @backup) in every endpoint's table; either may be NULL. */
int service_publish(struct service *service, struct generation *primary, struct generation *backup,
		    struct error *err);

/* Look at everything as soon as the loop is back on top. */
void service_poke(struct service *service);

/* The new generation of @run is the current one from now on; what was, can be rolled back to. */
void service_commit(struct service *service, const struct run *run);

/* Add an event; @details is consumed, may be NULL. Returns its number. */
uint64_t service_event(struct service *service, const char *event, json_t *details);
