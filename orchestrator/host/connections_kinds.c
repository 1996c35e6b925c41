/* SPDX-License-Identifier: BSD-2-Clause */
#include <netinet/tcp.h>
#include <string.h>

#include "orchestrator/host/connections_internal.h"

/* Has the server sent its FIN? Then nothing more is to be expected of it. */
static bool has_finished(uint8_t state)
{
	return state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_CLOSING ||
	       state == TCP_LAST_ACK;
}

/*
 * Was the last word the client's? The kernel's clock ticks every 1 to 10 ms, and a request that is
 * answered within one tick looks like an answer that is followed by the next request within one. If
 * there was an answer at all, the former is much more common. If there was none, the request came
 * within a tick of the connection's beginning.
 */
static bool awaits_answer(const struct diag_connection *connection)
{
	if (connection->since_received_ms == connection->since_sent_ms)
		return connection->bytes_received > 0 && connection->bytes_sent == 0;
	return connection->since_received_ms < connection->since_sent_ms;
}

enum connections_kind connections_kind(const struct diag_connection *connection, uint64_t quiet_ms)
{
	if (connection->receive_queue > 0 || connection->send_queue > 0)
		return CONNECTIONS_BUSY;
	if (!has_finished(connection->state)) {
		/* Not accepted yet; or the client's FIN, which no data's time tells of. */
		if (connection->inode == 0 || connection->state == TCP_CLOSE_WAIT)
			return CONNECTIONS_BUSY;
		if (awaits_answer(connection))
			return CONNECTIONS_BUSY;
	}
	return connection->idle_ms < quiet_ms ? CONNECTIONS_ACTIVE : CONNECTIONS_IDLE;
}

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
