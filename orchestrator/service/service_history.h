/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_history: what a service has run before, for a rollback, and what the last upgrade has put
 * in the place of the configuration's command and environment, for the restarts to come.
 */
#pragma once

#include <stdbool.h>

#include "common/error.h"
#include "orchestrator/config/config.h"
#include "orchestrator/release/release.h"

struct generation;
struct service;

struct service_history {
	char **command;     /* of the last successful upgrade; NULL: the configuration's */
	char **environment; /* what it has added to the environment; NULL: nothing */

	/* What ran before the current generation; NULL: nothing that is known. */
	struct service_config *previous_config;
	struct release *previous_release;
	char **previous_added;
	bool rolled_back; /* from that, by an order: a reload is not to bring it again */
};

/* The current generation has taken the place of @old (NULL: of none), by @order. */
void service_note_commit(struct service *service, const struct generation *old, const char *order);

/* What ran before cannot come back. */
void service_forget_previous(struct service *service);

/* The file's command and environment count again. */
void service_forget_overrides(struct service *service);

/* As an earlier daemon has noted them. */
void service_recall_overrides(struct service *service);

void service_history_done(struct service_history *history);
