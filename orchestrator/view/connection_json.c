/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/view/connection_json.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* "[", an address, "%", a scope, "]:", a port */
#define END_TEXT_MAX (INET6_ADDRSTRLEN + 24)

static void format_ipv6(const struct sockaddr_in6 *in6, char ret[static END_TEXT_MAX])
{
	char address[INET6_ADDRSTRLEN], scope[16] = "";
	uint16_t port = ntohs(in6->sin6_port);

	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], address, sizeof(address));
		snprintf(ret, END_TEXT_MAX, "%s:%u", address, port);
		return;
	}
	inet_ntop(AF_INET6, &in6->sin6_addr, address, sizeof(address));
	if (in6->sin6_scope_id)
		snprintf(scope, sizeof(scope), "%%%u", in6->sin6_scope_id);
	snprintf(ret, END_TEXT_MAX, "[%s%s]:%u", address, scope, port);
}

static const char *format_end(const struct sockaddr_storage *end, char ret[static END_TEXT_MAX])
{
	struct sockaddr_in6 in6;
	struct sockaddr_in in;
	char address[INET_ADDRSTRLEN];

	if (end->ss_family == AF_INET6) {
		memcpy(&in6, end, sizeof(in6));
		format_ipv6(&in6, ret);
	} else if (end->ss_family == AF_INET) {
		memcpy(&in, end, sizeof(in));
		inet_ntop(AF_INET, &in.sin_addr, address, sizeof(address));
		snprintf(ret, END_TEXT_MAX, "%s:%u", address, ntohs(in.sin_port));
	} else {
		snprintf(ret, END_TEXT_MAX, "-");
	}
	return ret;
}

/* No descriptor: nobody has accepted it yet, or the server has closed it (diag_connections()). */
static bool is_accepted(const struct diag_connection *connection)
{
	return connection->inode != 0 ||
	       (connection->state != TCP_ESTABLISHED && connection->state != TCP_CLOSE_WAIT &&
		connection->state != TCP_SYN_RECV);
}

static json_t *age_json(uint64_t born_ns, uint64_t now_ns)
{
	if (born_ns == 0)
		return json_null();
	return json_integer(now_ns > born_ns ? (json_int_t)((now_ns - born_ns) / 1000000) : 0);
}

json_t *connection_json(const struct diag_connection *connection, uint64_t now_ns)
{
	char peer[END_TEXT_MAX], local[END_TEXT_MAX];

	return json_pack(
		"{s:s, s:s, s:s, s:b, s:b, s:o, s:I, s:I, s:I, s:I, s:I}", "peer",
		format_end(&connection->peer, peer), "local", format_end(&connection->local, local),
		"state", diag_state_name(connection->state), "live", diag_is_live(connection),
		"accepted", is_accepted(connection), "age_ms",
		age_json(connection->born_ns, now_ns), "idle_ms", (json_int_t)connection->idle_ms,
		"received", (json_int_t)connection->bytes_received, "sent",
		(json_int_t)connection->bytes_sent, "receive_queue",
		(json_int_t)connection->receive_queue, "send_queue",
		(json_int_t)connection->send_queue);
}
