/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * takeover: finds the agents that an earlier daemon of the same name has left behind, alive.
 *
 * An agent outlives its daemon, and says all there is to know about itself to whoever connects to
 * its control socket: who it is, how its server does, duplicates of its listening sockets, and the
 * launch specification it was started with (protocol.h). What to make of it is service.c's to
 * decide.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/protocol.h"
#include "orchestrator/instance/agentlink.h"
#include "orchestrator/instance/context.h"
#include "orchestrator/release/release.h"

#define TAKEOVER_AGENTS_MAX 1024

struct takeover_agent {
	struct agentlink *link; /* NULL once taken */
	char socket_path[PATHS_MAX];
	struct report hello;
	int fds[PROTOCOL_SOCKETS_MAX]; /* duplicates of hello.sockets, closed with the agent */
	size_t n_fds;
	struct launch_spec spec;
};

struct takeover_list {
	struct takeover_agent **agents; /* by service, generation, instance */
	size_t n;
};

/*
 * Ask every control socket in the context's agents_dir, each for at most TAKEOVER_TIMEOUT_MS.
 * Sockets nobody answers on are removed; an agent that answers wrongly is logged and left alone.
 */
#define TAKEOVER_TIMEOUT_MS 2000
int takeover_find(struct context *context, struct takeover_list *ret, struct error *err);

/*
 * 0 where no agent of an earlier daemon is alive for @service, which the context's agents_dir
 * would show; else -EBUSY with the socket named. Not for services that have agents of their own: an
 * agent takes the newest connection for its daemon's.
 */
int takeover_check_gone(struct context *context, const char *service, struct error *err);

/*
 * Servers of @service whose agents have died with the daemon: nobody can take them over, and nobody
 * would ever end them. They are told to drain, and left to it; their listening sockets are in no
 * table. Returns how many instances that are.
 */
unsigned takeover_drain_orphans(struct context *context, const struct service_config *service,
				const struct takeover_list *found);

/* Frees what is in the list; agents whose link was not taken go on by themselves. */
void takeover_list_done(struct takeover_list *list);

/* What the agent runs, as a release (see release.h); NULL without memory. */
struct release *takeover_release(const struct takeover_agent *agent);

/* Is it listening for exactly these addresses, as this user? */
bool takeover_fits(const struct takeover_agent *agent, const struct service_config *config);
