/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * connections: those of one instance. The kernel is asked for all connections of its ports
 * (diag.h), and it is sorted out whose they are.
 *
 * With a cgroup the kernel does the sorting. Without one (a daemon without privileges) a connection
 * belongs to the instance if one of its processes holds it: /proc is searched for that, and what
 * waits for accept(2) is nobody's yet. Both cost as much as there are connections: for counting
 * prefer a tap (steer/tap.h), if there is one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"
#include "common/diag.h"
#include "common/error.h"
#include "common/processes.h"

struct connections_of {
	struct diag *diag;
	const struct address *listen; /* each port is asked for once */
	size_t n_listen;
	uint64_t cgroup_id; /* 0: none */
	const struct processes *processes;
	/* Leave out those that @skip says yes to. NULL: none. */
	bool (*skip)(const void *userdata, const struct diag_connection *connection);
	const void *skip_userdata;
};

struct connections_handler {
	void (*found)(void *userdata, const struct diag_connection *connection);
	/* One port is done: what was found so far stays. May be NULL. */
	void (*keep)(void *userdata);
	/* The kernel's list was inconsistent: forget what was found since the last keep. */
	void (*forget)(void *userdata);
	void *userdata;
};

int connections_each(const struct connections_of *of, const struct connections_handler *handler,
		     struct error *err);

/*
 * How many are live (diag.h), not counting those that have been idle (see below) for @idle_ms or
 * longer (0: all count). A negative errno if that cannot be told: then nobody may take it for 0.
 */
int connections_count(const struct connections_of *of, uint64_t idle_ms, uint64_t *ret);

/*
 * How many are silent: nobody has said anything on them yet, though they are @age_ms old or older.
 * (On a server that speaks first none is.) A server that is told to end may close them, since it
 * cannot know that a request is on its way. The kernel's clock ticks every 1 to 10 ms: one that is
 * CONNECTIONS_TICK_MS younger may count, too. Errors as of connections_count().
 */
#define CONNECTIONS_TICK_MS 20
int connections_silent(const struct connections_of *of, uint64_t age_ms, uint64_t *ret);

/*
 * What the live connections are doing, as far as can be told from outside:
 *	- busy: the server has something to do: the last that came was from the client, or something
 *	  waits in one of the connection's queues;
 *	- active: the server had the last word, less than CONNECTIONS_QUIET_MS ago;
 *	- idle: nothing has moved for longer. Between two requests (keep-alive), or upgraded to
 *	  something whose other side is silent: it is not the server that would lose anything.
 */
#define CONNECTIONS_QUIET_MS 1000

struct connections_kinds {
	uint64_t busy, active, idle;
};

int connections_kinds(const struct connections_of *of, struct connections_kinds *ret);

/*
 * Close all of them by a reset (SOCK_DESTROY). With a cgroup and processes: those that one of the
 * processes holds, since a connection that has migrated to another instance before accept(2) still
 * belongs to the cgroup it came to first. *ret is how many, after a failure, too. -EOPNOTSUPP: the
 * kernel is built without CONFIG_INET_DIAG_DESTROY; -EPERM: no CAP_NET_ADMIN.
 */
int connections_destroy(const struct connections_of *of, uint64_t *ret, struct error *err);
