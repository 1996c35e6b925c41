/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/diag.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

#include "common/diag_internal.h"

#define STATES_ALWAYS_LIVE                                                                         \
	(DIAG_STATE_BIT(TCP_ESTABLISHED) | DIAG_STATE_BIT(TCP_CLOSE_WAIT) |                        \
	 DIAG_STATE_BIT(TCP_SYN_RECV))
#define STATES_LIVE_WHILE_OPEN                                                                     \
	(DIAG_STATE_BIT(TCP_FIN_WAIT1) | DIAG_STATE_BIT(TCP_FIN_WAIT2) |                           \
	 DIAG_STATE_BIT(TCP_CLOSING) | DIAG_STATE_BIT(TCP_LAST_ACK))

static bool is_live(uint8_t state, uint64_t inode)
{
	uint32_t bit = state < 32 ? DIAG_STATE_BIT(state) : 0;

	return (bit & STATES_ALWAYS_LIVE) || ((bit & STATES_LIVE_WHILE_OPEN) && inode);
}

bool diag_is_live(const struct diag_connection *connection)
{
	return is_live(connection->state, connection->inode);
}

const char *diag_state_name(uint8_t state)
{
	static const char *const names[] = {
		[TCP_ESTABLISHED] = "ESTABLISHED",
		[TCP_SYN_SENT] = "SYN_SENT",
		[TCP_SYN_RECV] = "SYN_RECV",
		[TCP_FIN_WAIT1] = "FIN_WAIT1",
		[TCP_FIN_WAIT2] = "FIN_WAIT2",
		[TCP_TIME_WAIT] = "TIME_WAIT",
		[TCP_CLOSE] = "CLOSE",
		[TCP_CLOSE_WAIT] = "CLOSE_WAIT",
		[TCP_LAST_ACK] = "LAST_ACK",
		[TCP_LISTEN] = "LISTEN",
		[TCP_CLOSING] = "CLOSING",
	};

	if (state >= sizeof(names) / sizeof(names[0]) || !names[state])
		return "UNKNOWN";
	return names[state];
}

/* ---- counting ------------------------------------------------------------------------------- */

static void reset_count(void *userdata)
{
	uint64_t *live = userdata;

	*live = 0;
}

static void count_connection(void *userdata, const struct nlmsghdr *header)
{
	const struct inet_diag_msg *message = mnl_nlmsg_get_payload(header);
	uint64_t *live = userdata;

	if (is_live(message->idiag_state, message->idiag_inode))
		(*live)++;
}

static void count_any(void *userdata, const struct nlmsghdr *header)
{
	(void)header;
	++*(uint64_t *)userdata;
}

int diag_lingering(struct diag *diag, uint16_t port, uint64_t *ret, struct error *err)
{
	const struct diag_query query = {
		.port = port,
		.states = ~DIAG_STATE_BIT(TCP_LISTEN),
		.on_socket = count_any,
		.userdata = ret,
	};

	return diag_dump(diag, &query, reset_count, err);
}

int diag_connections(struct diag *diag, uint16_t port, uint64_t cgroup_id, uint64_t *ret_live,
		     struct error *err)
{
	uint64_t live = 0;
	const struct diag_query query = {
		.port = port,
		.cgroup_id = cgroup_id,
		.states = STATES_ALWAYS_LIVE | STATES_LIVE_WHILE_OPEN,
		.on_socket = count_connection,
		.userdata = &live,
	};
	int r = diag_dump(diag, &query, reset_count, err);

	if (r < 0)
		return r;
	*ret_live = live;
	return 0;
}

/* ---- each of them --------------------------------------------------------------------------- */

struct connection_visit {
	void (*reset)(void *userdata);
	void (*found)(void *userdata, const struct diag_connection *connection);
	void *userdata;
};

static void reset_visit(void *userdata)
{
	const struct connection_visit *visit = userdata;

	if (visit->reset)
		visit->reset(visit->userdata);
}

/* A FIN takes a sequence number, so the kernel counts it as a byte (tcp_input.c). */
static void discount_fins(struct diag_connection *connection)
{
	bool received = connection->state == TCP_CLOSE_WAIT || connection->state == TCP_LAST_ACK ||
			connection->state == TCP_CLOSING;
	bool acknowledged = connection->state == TCP_FIN_WAIT2;

	if (received && connection->bytes_received)
		connection->bytes_received--;
	if (acknowledged && connection->bytes_sent)
		connection->bytes_sent--;
}

static void read_ends(const struct inet_diag_msg *message, struct diag_connection *ret)
{
	union diag_address address;

	diag_read_address(message, message->id.idiag_src, message->id.idiag_sport, &address);
	memcpy(&ret->local, &address, sizeof(address));
	diag_read_address(message, message->id.idiag_dst, message->id.idiag_dport, &address);
	memcpy(&ret->peer, &address, sizeof(address));
}

static void visit_connection(void *userdata, const struct nlmsghdr *header)
{
	const struct inet_diag_msg *message = mnl_nlmsg_get_payload(header);
	const struct connection_visit *visit = userdata;
	struct diag_connection connection = {
		.cookie = diag_cookie(message),
		.inode = message->idiag_inode,
		.state = message->idiag_state,
		.receive_queue = message->idiag_rqueue,
		.send_queue = message->idiag_wqueue,
		.interface = message->id.idiag_if,
	};

	read_ends(message, &connection);
	diag_read_details(header, &connection);
	discount_fins(&connection);
	visit->found(visit->userdata, &connection);
}

int diag_each_connection(struct diag *diag, uint16_t port, uint64_t cgroup_id,
			 void (*reset)(void *userdata),
			 void (*found)(void *userdata, const struct diag_connection *connection),
			 void *userdata, struct error *err)
{
	struct connection_visit visit = {.reset = reset, .found = found, .userdata = userdata};
	const struct diag_query query = {
		.port = port,
		.cgroup_id = cgroup_id,
		.states = STATES_ALWAYS_LIVE | STATES_LIVE_WHILE_OPEN,
		.details = true,
		.on_socket = visit_connection,
		.userdata = &visit,
	};

	return diag_dump(diag, &query, reset_visit, err);
}

/* ---- one of them ---------------------------------------------------------------------------- */

/* Back into the form of inet_diag_sockid. */
static void write_address(const struct sockaddr *from, uint32_t address[4], uint16_t *port)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
	const struct sockaddr_in *in = (const struct sockaddr_in *)from;

	if (from->sa_family == AF_INET) {
		memcpy(address, &in->sin_addr, sizeof(in->sin_addr));
		*port = in->sin_port;
		return;
	}
	memcpy(address, &in6->sin6_addr, sizeof(in6->sin6_addr));
	*port = in6->sin6_port;
}

static void take_connection(void *userdata, const struct nlmsghdr *header)
{
	const struct inet_diag_msg *message = mnl_nlmsg_get_payload(header);
	struct diag_connection *ret = userdata;

	ret->cookie = diag_cookie(message);
	ret->inode = message->idiag_inode;
	ret->state = message->idiag_state;
	ret->interface = message->id.idiag_if;
	read_ends(message, ret);
}

int diag_connection(struct diag *diag, const struct sockaddr *local, const struct sockaddr *peer,
		    struct diag_connection *ret, struct error *err)
{
	struct inet_diag_sockid id = {
		.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE},
	};
	const struct diag_query query = {.on_socket = take_connection, .userdata = ret};
	int r;

	*ret = (struct diag_connection){};
	write_address(local, id.idiag_src, &id.idiag_sport);
	write_address(peer, id.idiag_dst, &id.idiag_dport);
	r = diag_find(diag, (uint8_t)local->sa_family, &id, &query, err);
	if (r < 0)
		return r;
	/* Without the connection, the kernel finds the listener that it would be for. */
	if (ret->state == TCP_LISTEN || ret->state == TCP_TIME_WAIT || ret->state == 0)
		return error_set(err, -ENOENT, "sock_diag: no such connection");
	return 0;
}

/* ---- destroy -------------------------------------------------------------------------------- */

int diag_destroy_connection(struct diag *diag, const struct diag_connection *connection,
			    struct error *err)
{
	struct inet_diag_sockid id = {
		.idiag_if = connection->interface,
		.idiag_cookie = {(uint32_t)connection->cookie,
				 (uint32_t)(connection->cookie >> 32)},
	};

	write_address((const struct sockaddr *)&connection->local, id.idiag_src, &id.idiag_sport);
	write_address((const struct sockaddr *)&connection->peer, id.idiag_dst, &id.idiag_dport);
	return diag_destroy(diag, (uint8_t)connection->local.ss_family, &id, err);
}
