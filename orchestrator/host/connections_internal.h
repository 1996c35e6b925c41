/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * connections_internal: what the parts of connections share, and what their tests call.
 *
 *	connections.c		whose they are; what one is doing; how many
 *	connections_kinds.c	how many are doing what
 *	connections_destroy.c	closing them
 */
#pragma once

#include <stdbool.h>

#include "orchestrator/host/connections.h"

/*
 * connections_each(). @held: only those that a process of the instance holds, even if there is a
 * cgroup.
 */
int connections_search(const struct connections_of *of, bool held,
		       const struct connections_handler *handler, struct error *err);

enum connections_kind {
	CONNECTIONS_BUSY,
	CONNECTIONS_ACTIVE,
	CONNECTIONS_IDLE,
	CONNECTIONS_N_KINDS,
};

/* Pure. @quiet_ms as CONNECTIONS_QUIET_MS. */
enum connections_kind connections_kind(const struct diag_connection *connection, uint64_t quiet_ms);

/* connections_kinds() with a @quiet_ms of the caller's. */
int connections_kinds_within(const struct connections_of *of, uint64_t quiet_ms,
			     struct connections_kinds *ret);
