/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* netinet/tcp.h has the states' names, but not the request's bits for them. */
#define STATE_BIT(state) (1u << (state))

#define STATES_ALWAYS_LIVE                                                                         \
	(STATE_BIT(TCP_ESTABLISHED) | STATE_BIT(TCP_CLOSE_WAIT) | STATE_BIT(TCP_SYN_RECV))
#define STATES_LIVE_WHILE_OPEN                                                                     \
	(STATE_BIT(TCP_FIN_WAIT1) | STATE_BIT(TCP_FIN_WAIT2) | STATE_BIT(TCP_CLOSING) |            \
	 STATE_BIT(TCP_LAST_ACK))

/* The kernel fills dumps in pieces of at most 32 KiB (af_netlink.c: netlink_dump()). */
#define BUFFER_SIZE 32768

/* Header, inet_diag_req_v2 and filter come to less than half of it. */
#define REQUEST_SIZE 256

struct diag {
	struct mnl_socket *socket;
	unsigned portid;
	unsigned seq;
	bool renew; /* an answer was not read to its end: the next request takes a new socket */
	char buffer[BUFFER_SIZE] __attribute__((aligned(8)));
};

/* What a dump asks for, and who looks at each answer. */
struct query {
	uint16_t port;
	uint64_t cgroup_id; /* 0: any */
	uint32_t states;
	void (*on_socket)(void *userdata, const struct inet_diag_msg *message);
	void *userdata;
};

/* (Re)open the socket. */
static int open_socket(struct diag *diag, struct error *err)
{
	const struct timeval timeout = {
		.tv_sec = DIAG_TIMEOUT_MS / 1000,
		.tv_usec = DIAG_TIMEOUT_MS % 1000 * 1000,
	};
	int on = 1;

	if (diag->socket)
		mnl_socket_close(diag->socket);
	diag->socket = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	if (!diag->socket)
		return error_set(err, -errno, "sock_diag: socket");
	if (mnl_socket_bind(diag->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return error_set(err, -errno, "sock_diag: bind");
	if (setsockopt(mnl_socket_get_fd(diag->socket), SOL_SOCKET, SO_RCVTIMEO, &timeout,
		       sizeof(timeout)) < 0)
		return error_set(err, -errno, "sock_diag: SO_RCVTIMEO");
	/* Errors in words, and without a copy of the request: doing without is no failure. */
	(void)mnl_socket_setsockopt(diag->socket, NETLINK_EXT_ACK, &on, sizeof(on));
	(void)mnl_socket_setsockopt(diag->socket, NETLINK_CAP_ACK, &on, sizeof(on));
	diag->portid = mnl_socket_get_portid(diag->socket);
	diag->renew = false;
	return 0;
}

int diag_open(struct diag **ret, struct error *err)
{
	cleanup(diag_free) struct diag *diag = calloc(1, sizeof(*diag));
	int r;

	if (!diag)
		return error_set(err, -ENOMEM, "sock_diag");
	r = open_socket(diag, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(diag);
	return 0;
}

void diag_free(struct diag *diag)
{
	if (!diag)
		return;
	if (diag->socket)
		mnl_socket_close(diag->socket);
	free(diag);
}

/* ---- one request and its answers ------------------------------------------------------------ */

/* The kernel's own words for an error (NLMSGERR_ATTR_MSG), where it has any. */
static const char *error_message(const struct nlmsghdr *header)
{
	const struct nlmsgerr *error = mnl_nlmsg_get_payload(header);
	size_t offset = sizeof(*error);
	const struct nlattr *attr;

	if (!(header->nlmsg_flags & NLM_F_ACK_TLVS))
		return NULL;
	if (!(header->nlmsg_flags & NLM_F_CAPPED)) {
		if (error->msg.nlmsg_len < sizeof(error->msg) ||
		    error->msg.nlmsg_len > header->nlmsg_len)
			return NULL;
		offset += error->msg.nlmsg_len - sizeof(error->msg);
	}
	for (attr = mnl_nlmsg_get_payload_offset(header, offset);
	     mnl_attr_ok(attr, (int)((const char *)mnl_nlmsg_get_payload_tail(header) -
				     (const char *)attr));
	     attr = mnl_attr_next(attr)) {
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG &&
		    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
			return mnl_attr_get_str(attr);
	}
	return NULL;
}

/* NLMSG_ERROR: 0 where it acknowledges, else its errno. */
static int handle_error(const struct nlmsghdr *header, struct error *err)
{
	const struct nlmsgerr *error = mnl_nlmsg_get_payload(header);
	const char *message;

	if (mnl_nlmsg_get_payload_len(header) < sizeof(*error))
		return error_text(err, -EBADMSG, "sock_diag: an error message is cut short");
	if (error->error >= 0)
		return 0;
	message = error_message(header);
	if (message)
		return error_text(err, error->error, "sock_diag: %s", message);
	return error_set(err, error->error, "sock_diag");
}

/* NLMSG_DONE carries the dump's own errno in its payload (netlink_dump_done()). */
static int handle_done(const struct nlmsghdr *header, struct error *err)
{
	int code = 0;

	if (mnl_nlmsg_get_payload_len(header) >= sizeof(code))
		memcpy(&code, mnl_nlmsg_get_payload(header), sizeof(code));
	return code < 0 ? error_set(err, code, "sock_diag") : 0;
}

/*
 * The messages of one datagram. 1: more is to come, 0: the answer is complete. *interrupted is set
 * where one is marked NLM_F_DUMP_INTR.
 */
static int handle_messages(struct diag *diag, size_t received, const struct query *query,
			   bool *interrupted, struct error *err)
{
	const struct nlmsghdr *header = (const struct nlmsghdr *)diag->buffer;
	int left = (int)received;

	for (; mnl_nlmsg_ok(header, left); header = mnl_nlmsg_next(header, &left)) {
		/* Of a request that was given up: after a timeout its answers may still come. */
		if (!mnl_nlmsg_portid_ok(header, diag->portid) ||
		    !mnl_nlmsg_seq_ok(header, diag->seq))
			continue;
		if (header->nlmsg_flags & NLM_F_DUMP_INTR)
			*interrupted = true;
		switch (header->nlmsg_type) {
		case NLMSG_ERROR:
			return handle_error(header, err);
		case NLMSG_DONE:
			return handle_done(header, err);
		case NLMSG_OVERRUN:
			return error_text(err, -ENOBUFS, "sock_diag: messages were lost");
		case SOCK_DIAG_BY_FAMILY:
			if (mnl_nlmsg_get_payload_len(header) < sizeof(struct inet_diag_msg))
				return error_text(err, -EBADMSG,
						  "sock_diag: a socket is cut short");
			if (query)
				query->on_socket(query->userdata, mnl_nlmsg_get_payload(header));
			break;
		default:
			break;
		}
	}
	return 1;
}

/* The next datagram, into diag->buffer; its length, or a negative errno. */
static ssize_t receive(struct diag *diag, struct error *err)
{
	ssize_t n;

	do {
		n = mnl_socket_recvfrom(diag->socket, diag->buffer, sizeof(diag->buffer));
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN) /* SO_RCVTIMEO */
		return error_text(err, -ETIMEDOUT, "sock_diag: no answer within %dms",
				  DIAG_TIMEOUT_MS);
	if (n < 0)
		return error_set(err, -errno, "sock_diag: receive");
	if (n == 0)
		return error_text(err, -EPIPE, "sock_diag: closed");
	return n;
}

/* Send the request in @header and read the whole answer. */
static int talk(struct diag *diag, struct nlmsghdr *header, const struct query *query,
		bool *ret_interrupted, struct error *err)
{
	bool interrupted = false;
	int r;

	if (diag->renew || !diag->socket) {
		diag->renew = true;
		r = open_socket(diag, err);
		if (r < 0)
			return r;
	}
	header->nlmsg_seq = ++diag->seq;
	if (mnl_socket_sendto(diag->socket, header, header->nlmsg_len) < 0)
		return error_set(err, -errno, "sock_diag: send");
	do {
		ssize_t n = receive(diag, err);

		r = n < 0 ? (int)n : handle_messages(diag, (size_t)n, query, &interrupted, err);
	} while (r > 0);
	/*
	 * Whatever is left of a broken answer must not be read as the next one's, and the kernel
	 * refuses a second dump on a socket while one is unread. (-ENOENT is a whole answer.)
	 */
	if (r < 0 && r != -ENOENT)
		diag->renew = true;
	if (ret_interrupted)
		*ret_interrupted = interrupted;
	return r;
}

/* ---- dumps ---------------------------------------------------------------------------------- */

/*
 * The filter: conditions, each of which jumps over the rest where it does not hold. A jump to four
 * bytes behind the end means "no", one to the end "yes" (inet_diag.c: inet_diag_bc_run()).
 */
static void put_filter(struct nlmsghdr *header, const struct query *query)
{
	struct {
		struct inet_diag_bc_op port, value;
		struct inet_diag_bc_op cgroup;
		uint32_t cgroup_id[2];
	} code = {
		.port = {.code = INET_DIAG_BC_S_EQ, .yes = 8, .no = 8 + 4},
		.value = {.no = query->port},
		.cgroup = {.code = INET_DIAG_BC_CGROUP_COND, .yes = 12, .no = 12 + 4},
	};
	size_t length = offsetof(typeof(code), cgroup);

	_Static_assert(sizeof(code) == 20, "the kernel takes the filter byte for byte");
	if (query->cgroup_id) {
		memcpy(code.cgroup_id, &query->cgroup_id, sizeof(query->cgroup_id));
		code.port.no = sizeof(code) + 4;
		length = sizeof(code);
	}
	mnl_attr_put(header, INET_DIAG_REQ_BYTECODE, length, &code);
}

static int dump_once(struct diag *diag, uint8_t family, const struct query *query,
		     bool *ret_interrupted, struct error *err)
{
	char request[REQUEST_SIZE] __attribute__((aligned(4)));
	struct nlmsghdr *header = mnl_nlmsg_put_header(request);
	struct inet_diag_req_v2 *body;

	header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	body = mnl_nlmsg_put_extra_header(header, sizeof(*body));
	body->sdiag_family = family;
	body->sdiag_protocol = IPPROTO_TCP;
	body->idiag_states = query->states;
	put_filter(header, query);
	return talk(diag, header, query, ret_interrupted, err);
}

/*
 * Dump both families: sock_diag has no handler for AF_UNSPEC (sock_diag.c: __sock_diag_cmd()). A
 * kernel without IPv6 has none for AF_INET6 either; that is no error. @reset is called before each
 * attempt, since an inconsistent dump is thrown away whole.
 */
static int dump(struct diag *diag, const struct query *query, void (*reset)(void *userdata),
		struct error *err)
{
	bool interrupted = true;

	for (int i = 0; i < DIAG_TRIES && interrupted; i++) {
		bool v4 = false, v6 = false;
		int r;

		reset(query->userdata);
		r = dump_once(diag, AF_INET, query, &v4, err);
		if (r < 0)
			return r;
		r = dump_once(diag, AF_INET6, query, &v6, err);
		if (r < 0 && r != -ENOENT)
			return r;
		interrupted = v4 || v6;
	}
	return 0;
}

/* ---- listeners ------------------------------------------------------------------------------ */

struct listener_search {
	uint64_t cookie;
	bool found;
	struct inet_diag_msg message;
};

static void reset_search(void *userdata)
{
	struct listener_search *search = userdata;

	search->found = false;
}

static void match_listener(void *userdata, const struct inet_diag_msg *message)
{
	struct listener_search *search = userdata;
	uint64_t cookie = (uint64_t)message->id.idiag_cookie[1] << 32 | message->id.idiag_cookie[0];

	if (message->idiag_state != TCP_LISTEN || cookie != search->cookie)
		return;
	search->found = true;
	search->message = *message;
}

static int find_listener(struct diag *diag, uint16_t port, uint64_t cookie,
			 struct inet_diag_msg *ret, struct error *err)
{
	struct listener_search search = {.cookie = cookie};
	const struct query query = {
		.port = port,
		.states = STATE_BIT(TCP_LISTEN),
		.on_socket = match_listener,
		.userdata = &search,
	};
	int r = dump(diag, &query, reset_search, err);

	if (r < 0)
		return r;
	if (!search.found)
		return error_text(err, -ENOENT,
				  "sock_diag: no socket with cookie %llu listens on port %u",
				  (unsigned long long)cookie, port);
	*ret = search.message;
	return 0;
}

int diag_listener(struct diag *diag, uint16_t port, uint64_t cookie, struct diag_listener *ret,
		  struct error *err)
{
	struct inet_diag_msg message;
	int r = find_listener(diag, port, cookie, &message, err);

	if (r < 0)
		return r;
	/* For a listener the queues are those of accept(2) (tcp_diag.c: tcp_diag_get_info()). */
	ret->queued = message.idiag_rqueue;
	ret->backlog = message.idiag_wqueue;
	return 0;
}

static int destroy_once(struct diag *diag, const struct inet_diag_msg *listener, uint16_t peer_port,
			struct error *err)
{
	char request[REQUEST_SIZE] __attribute__((aligned(4)));
	struct nlmsghdr *header = mnl_nlmsg_put_header(request);
	struct inet_diag_req_v2 *body;

	header->nlmsg_type = SOCK_DESTROY;
	header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	body = mnl_nlmsg_put_extra_header(header, sizeof(*body));
	body->sdiag_family = listener->idiag_family;
	body->sdiag_protocol = IPPROTO_TCP;
	body->idiag_states = STATE_BIT(TCP_LISTEN);
	body->id = listener->id;
	body->id.idiag_dport = htons(peer_port);
	return talk(diag, header, NULL, NULL, err);
}

int diag_destroy_listener(struct diag *diag, uint16_t port, uint64_t cookie, struct error *err)
{
	struct inet_diag_msg listener;
	int r = find_listener(diag, port, cookie, &listener, err);

	if (r < 0)
		return r;
	for (unsigned i = 1; i <= DIAG_DESTROY_TRIES; i++) {
		r = destroy_once(diag, &listener, (uint16_t)i, err);
		/* -ENOENT: the lookup ended at another member of the group. */
		if (r != -ENOENT)
			return r;
	}
	r = find_listener(diag, port, cookie, &listener, err);
	if (r < 0)
		return r;
	return error_text(err, -EAGAIN, "sock_diag: %d lookups on port %u missed the socket",
			  DIAG_DESTROY_TRIES, port);
}

/* ---- connections ---------------------------------------------------------------------------- */

static void reset_count(void *userdata)
{
	uint64_t *live = userdata;

	*live = 0;
}

static void count_connection(void *userdata, const struct inet_diag_msg *message)
{
	uint32_t state = message->idiag_state < 32 ? STATE_BIT(message->idiag_state) : 0;
	uint64_t *live = userdata;

	if ((state & STATES_ALWAYS_LIVE) ||
	    ((state & STATES_LIVE_WHILE_OPEN) && message->idiag_inode))
		(*live)++;
}

int diag_connections(struct diag *diag, uint16_t port, uint64_t cgroup_id, uint64_t *ret_live,
		     struct error *err)
{
	uint64_t live = 0;
	const struct query query = {
		.port = port,
		.cgroup_id = cgroup_id,
		.states = STATES_ALWAYS_LIVE | STATES_LIVE_WHILE_OPEN,
		.on_socket = count_connection,
		.userdata = &live,
	};
	int r = dump(diag, &query, reset_count, err);

	if (r < 0)
		return r;
	*ret_live = live;
	return 0;
}
