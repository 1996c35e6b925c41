/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_history: what a service has run before, for a rollback (history.h), and what upgrades
 * have put in the place of the configuration's command and environment, for the restarts to come.
 * Both are in files, too, and so outlive the daemon.
 */
#pragma once

#include <stdbool.h>

#include "common/error.h"
#include "orchestrator/config/config.h"
#include "orchestrator/release/release.h"
#include "orchestrator/rollout/run.h"
#include "orchestrator/service/history.h"

struct context;
struct generation;
struct kept_file;
struct service;

struct service_history {
	char **command;       /* of the last successful upgrade; NULL: the configuration's */
	char **environment;   /* what upgrades have added to the environment; NULL: nothing */
	char overridden[256]; /* what the last reload has put in the place of these; "": nothing */
	struct history past;
	struct kept_file *file; /* that past is in; NULL: nothing was written yet */
};

/* The current generation has taken the place of the one before, if there was one, by @order. */
void service_note_commit(struct service *service, enum run_order order);

/* The current generation has been taken over: what is known of it by an earlier daemon's notes. */
void service_note_taken_over(struct service *service);

/* Where a rollback would go; NULL: nothing that has served well is left. */
const struct past *service_rollback_target(const struct service *service);

/* The file's command and environment count again; .overridden says what does not any more. */
void service_drop_overrides(struct service *service);

/* As an earlier daemon has noted them, unless the file has other ones since. */
void service_recall(struct service *service);

/*
 * Only for a helper (errand.h): ask of files what service_recall() will ask for a service with this
 * id (service_id()).
 */
void service_look_at_history(const struct context *context, const char *id);

/* Overrides and history are those of somebody else who has run under this name. */
void service_forget(struct service *service);

void service_history_done(struct service_history *history);
