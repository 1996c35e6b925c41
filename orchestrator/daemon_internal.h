/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daemon_internal: what the files of the daemon share: daemon_services.c (its services),
 * daemon_takeover.c (what an earlier daemon has left), daemon_reload.c (the configuration again),
 * daemon_api.c (what the API asks), daemon.c (signals, life). Each uses those before it only.
 * Nobody else includes this.
 */
#pragma once

#include <systemd/sd-event.h>

#include "common/refusal.h"
#include "common/timer.h"
#include "orchestrator/api/api.h"
#include "orchestrator/daemon.h"
#include "orchestrator/instance/instances.h"
#include "orchestrator/service/service.h"

struct daemon {
	struct context *context;
	struct config *config;
	struct daemon_options options;
	struct events *events;  /* the last ones, for the API */
	struct event_sink sink; /* puts them there */
	struct api *api;
	struct service *services[CONFIG_SERVICES_MAX];
	size_t n_services;
	struct waiting_line line;   /* to start servers, as "rollouts_max" says */
	struct takeover_list found; /* agents of an earlier daemon, while some are awaited */
	bool began;                 /* it knows who has answered at once */
	bool swept; /* what nobody needs any more has been removed: once, at the start */
	struct question *questions; /* of the API, whose answers wait for files */
	struct errand *looking;     /* a helper looks at these */
	bool look_late;             /* it does not answer: nobody waits for it */
	char look_why[512];         /* and where it is */
	struct errand *reading;     /* a helper reads the configuration, for a reload */
	struct api_reply *reloads;  /* who waits for it; NULL: a signal has asked */
	bool reload_again;          /* a signal has asked meanwhile */
	sd_event_source *reap;      /* removed services are freed from the top of the loop */
	struct timer trim;          /* rollouts have ended: give back what they needed */
	bool said_ready;
	bool ending;
	bool leaving; /* ends alone: see daemon_leave() */
	int exit_status;
};

/* Who may read by the API; (gid_t)-1: root and the daemon's own user only. */
static inline gid_t daemon_api_group(const struct daemon *daemon)
{
	return daemon->config->api_group ? daemon->config->api_gid : (gid_t)-1;
}

/* ---- daemon_services.c ----------------------------------------------------------------------- */

/* NULL: there is none of this name. */
struct service *daemon_find(struct daemon *daemon, const char *name);

int daemon_add_service(struct daemon *daemon, const struct service_config *config,
		       struct error *err);

/* @service is called @name from now on: see service_rename(). */
int daemon_rename(struct daemon *daemon, struct service *service, const char *name,
		  struct error *err);

/* @service has ended, and is configured no longer. */
void daemon_forget_id(struct daemon *daemon, const struct service *service);

/* Log, and tell as an event, that the service is not started or changed as configured. */
void daemon_tell_refused(struct daemon *daemon, const char *service, const char *why);

/* No generation, rollout or command of any service is left. */
bool daemon_is_idle(const struct daemon *daemon);

/* @refusal as the API's problem. */
void daemon_refuse(const struct refusal *refusal, struct api_problem *problem);

/* Leave the loop, with the first exit status that was given. */
void daemon_end(struct daemon *daemon, int exit_status);

/* End, and leave everything else as it is. False if everything is being stopped already. */
bool daemon_leave(struct daemon *daemon);

/* NULL: no service has this id. */
struct service *daemon_find_by_id(const struct daemon *daemon, const char *id);

/* Order its start, or tell why that is refused. */
void daemon_start_service(struct daemon *daemon, struct service *service);

/* "rollouts_max" is that of the present configuration, or by the number of processors. */
void daemon_set_rollouts_max(struct daemon *daemon, const struct config *config);

/* READY=1, once, as soon as every service has been started or taken over. */
void daemon_say_ready(struct daemon *daemon);

/* The on_end of every service. */
void daemon_on_service_end(void *userdata, struct service *service);

/* ---- daemon_takeover.c ----------------------------------------------------------------------- */

/*
 * Ask the agents that an earlier daemon has left of @service, which has nothing running. True: it
 * waits for them (.awaited), and is taken over or started when they have answered. False: there are
 * none.
 */
bool daemon_take_over(struct daemon *daemon, struct service *service);

/* Kill the agents and servers of services that wait for agents. */
void daemon_kill_awaited(struct daemon *daemon);

/* ---- daemon_reload.c ------------------------------------------------------------------------- */

/*
 * A helper reads the files first. Then sd_notify(3) is told, and @reply is answered (NULL: nobody
 * waits for it). False with @problem filled: it was not begun.
 */
bool daemon_reload(struct daemon *daemon, struct api_reply *reply, struct api_problem *problem);

/* Change the services that have waited until they lend nothing any more, or say why they stay. */
void daemon_resume_reload(struct daemon *daemon);

/* ---- daemon_api.c ---------------------------------------------------------------------------- */

extern const struct api_backend daemon_api;

/* The API is gone, and answers nobody any more. */
void daemon_forget_questions(struct daemon *daemon);
