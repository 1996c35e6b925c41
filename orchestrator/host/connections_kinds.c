/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "orchestrator/host/connections_internal.h"

struct kinds {
	uint64_t quiet_ms;
	uint64_t kept[CONNECTIONS_N_KINDS], found[CONNECTIONS_N_KINDS];
};

static void on_found(void *userdata, const struct diag_connection *connection)
{
	struct kinds *kinds = userdata;

	if (diag_is_live(connection))
		kinds->found[connections_kind(connection, kinds->quiet_ms)]++;
}

static void on_forget(void *userdata)
{
	struct kinds *kinds = userdata;

	memset(kinds->found, 0, sizeof(kinds->found));
}

static void on_keep(void *userdata)
{
	struct kinds *kinds = userdata;

	for (size_t k = 0; k < CONNECTIONS_N_KINDS; k++)
		kinds->kept[k] += kinds->found[k];
	on_forget(kinds);
}

int connections_kinds_within(const struct connections_of *of, uint64_t quiet_ms,
			     struct connections_kinds *ret)
{
	struct kinds kinds = {.quiet_ms = quiet_ms};
	const struct connections_handler handler = {
		.found = on_found,
		.keep = on_keep,
		.forget = on_forget,
		.userdata = &kinds,
	};
	int r = connections_each(of, &handler, NULL);

	*ret = (struct connections_kinds){
		.busy = kinds.kept[CONNECTIONS_BUSY],
		.active = kinds.kept[CONNECTIONS_ACTIVE],
		.idle = kinds.kept[CONNECTIONS_IDLE],
	};
	return r;
}

int connections_kinds(const struct connections_of *of, struct connections_kinds *ret)
{
	return connections_kinds_within(of, CONNECTIONS_QUIET_MS, ret);
}
