/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_history: keeps what a service ran before, for a rollback. Keeps the command and the
 * environment of the last upgrade, which later restarts use instead of the configuration's.
 */
#pragma once

#include <stdbool.h>

#include "common/error.h"
#include "orchestrator/config/config.h"
#include "orchestrator/release/release.h"
#include "orchestrator/rollout/run.h"

struct generation;
struct service;

struct service_history {
	char **command;     /* of the last successful upgrade; NULL: the configuration's */
	char **environment; /* what it has added to the environment; NULL: nothing */

	/* What ran before the current generation; NULL: nothing that is known. */
	struct service_config *previous_config;
	struct release *previous_release;
	char **previous_added;
	bool rolled_back; /* from .previous_..., by an order: a reload must not bring it again */
};

/* The current generation has taken the place of @old (NULL: of none), by a rollout for @order. */
void service_note_commit(struct service *service, const struct generation *old,
			 enum run_order order);

/* A rollback is not possible any more. */
void service_forget_previous(struct service *service);

/* Command and environment of the configuration count again. */
void service_forget_overrides(struct service *service);

/* Read command and environment of the last upgrade, as an earlier daemon has noted them. */
void service_recall_overrides(struct service *service);

void service_history_done(struct service_history *history);
