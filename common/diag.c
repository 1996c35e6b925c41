/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/diag.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "common/diag_internal.h"
#include "common/privilege.h"

/* The kernel fills dumps in pieces of at most 32 KiB (af_netlink.c: netlink_dump()). */
#define BUFFER_SIZE 32768
#define ERRNO_MAX   4095 /* MAX_ERRNO of the kernel (include/linux/err.h) */

struct diag {
	struct mnl_socket *socket;
	unsigned portid;
	unsigned seq;
	int births_fd; /* -1: none */
	struct diag_memory memory;
	bool renew; /* an answer was not read to its end: open a new socket for the next request */
	char buffer[BUFFER_SIZE] __attribute__((aligned(8)));
};

static int refused(int code, struct error *err)
{
	char advice[PRIVILEGE_TEXT_MAX];

	return error_text(err, code, "sock_diag: socket: %s%s", strerror(-code),
			  privilege_explain(code, &privilege_sock_diag, advice));
}

/* (Re)open the socket. */
static int open_socket(struct diag *diag, struct error *err)
{
	const struct timeval timeout = {
		.tv_sec = DIAG_TIMEOUT_MS / 1000,
		.tv_usec = DIAG_TIMEOUT_MS % 1000 * 1000,
	};
	int on = 1;

	diag_forget(diag);
	if (diag->socket)
		mnl_socket_close(diag->socket);
	diag->socket = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	if (!diag->socket)
		return refused(-errno, err);
	if (mnl_socket_bind(diag->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return error_set(err, -errno, "sock_diag: bind");
	if (setsockopt(mnl_socket_get_fd(diag->socket), SOL_SOCKET, SO_RCVTIMEO, &timeout,
		       sizeof(timeout)) < 0)
		return error_set(err, -errno, "sock_diag: SO_RCVTIMEO");
	/* We would like errors in words, and without a copy of the request; but can do without. */
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
	diag->births_fd = -1;
	r = open_socket(diag, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(diag);
	return 0;
}

void diag_remember(struct diag *diag)
{
	diag->memory.on = true;
}

void diag_forget(struct diag *diag)
{
	free(diag->memory.list);
	diag->memory = (struct diag_memory){};
}

struct diag_memory *diag_memory(struct diag *diag)
{
	return &diag->memory;
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

/* The kernel's own words for an error (NLMSGERR_ATTR_MSG), or NULL. */
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
	     diag_is_attribute(attr, mnl_nlmsg_get_payload_tail(header));
	     attr = mnl_attr_next(attr)) {
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG &&
		    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
			return mnl_attr_get_str(attr);
	}
	return NULL;
}

/* What no kernel says is no errno: callers negate it. */
static int errno_of(int code)
{
	return code < -ERRNO_MAX ? -EBADMSG : code;
}

/* NLMSG_ERROR: 0 if it acknowledges, else its errno. */
static int handle_error(const struct nlmsghdr *header, struct error *err)
{
	const struct nlmsgerr *error = mnl_nlmsg_get_payload(header);
	const char *message;
	int code;

	if (mnl_nlmsg_get_payload_len(header) < sizeof(*error))
		return error_text(err, -EBADMSG, "sock_diag: an error message is cut short");
	code = errno_of(error->error);
	if (code >= 0)
		return 0;
	message = error_message(header);
	if (message)
		return error_text(err, code, "sock_diag: %s", message);
	return error_set(err, code, "sock_diag");
}

/* NLMSG_DONE carries the dump's own errno in its payload (netlink_dump_done()). */
static int handle_done(const struct nlmsghdr *header, struct error *err)
{
	int code = 0;

	if (mnl_nlmsg_get_payload_len(header) >= sizeof(code))
		memcpy(&code, mnl_nlmsg_get_payload(header), sizeof(code));
	code = errno_of(code);
	return code < 0 ? error_set(err, code, "sock_diag") : 0;
}

/* mnl_nlmsg_ok() takes a length above INT_MAX for a negative one, which is less than what is left.
 */
static bool is_message(const struct nlmsghdr *header, int left)
{
	return mnl_nlmsg_ok(header, left) && header->nlmsg_len <= (unsigned)left;
}

/*
 * Handle the messages of one datagram. 1: more is to come; 0: the answer is complete. Sets
 * *interrupted if one of them is marked NLM_F_DUMP_INTR.
 */
static int handle_messages(struct diag *diag, size_t received, const struct diag_query *query,
			   bool *interrupted, struct error *err)
{
	const struct nlmsghdr *header = (const struct nlmsghdr *)diag->buffer;
	int left = (int)received;

	for (; is_message(header, left); header = mnl_nlmsg_next(header, &left)) {
		/* After a timeout the answers to the request that was given up may still come. */
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
				query->on_socket(query->userdata, header);
			break;
		default:
			break;
		}
	}
	return 1;
}

/* Receive the next datagram into diag->buffer. Returns its length or a negative errno. */
static ssize_t receive(struct diag *diag, struct error *err)
{
	ssize_t n;

	do {
		n = mnl_socket_recvfrom(diag->socket, diag->buffer, sizeof(diag->buffer));
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN) /* SO_RCVTIMEO */
		return error_text(err, -ETIMEDOUT, "sock_diag: no answer within %d ms",
				  DIAG_TIMEOUT_MS);
	if (n < 0)
		return error_set(err, -errno, "sock_diag: receive");
	if (n == 0)
		return error_text(err, -EPIPE, "sock_diag: closed");
	return n;
}

int diag_talk(struct diag *diag, struct nlmsghdr *header, const struct diag_query *query,
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
	 * The rest of a broken answer must not be taken for the next one's. Also the kernel refuses
	 * a second dump on a socket while one is unread. But -ENOENT is a whole answer.
	 */
	if (r < 0 && r != -ENOENT)
		diag->renew = true;
	if (ret_interrupted)
		*ret_interrupted = interrupted;
	return r;
}

/* One request about one socket. It is acknowledged, so that its answer has an end. */
static int ask(struct diag *diag, uint16_t type, uint8_t family, const struct inet_diag_sockid *id,
	       const struct diag_query *query, struct error *err)
{
	char request[DIAG_REQUEST_SIZE] __attribute__((aligned(4)));
	struct nlmsghdr *header = mnl_nlmsg_put_header(request);
	struct inet_diag_req_v2 *body;

	header->nlmsg_type = type;
	header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	body = mnl_nlmsg_put_extra_header(header, sizeof(*body));
	body->sdiag_family = family;
	body->sdiag_protocol = IPPROTO_TCP;
	body->idiag_states = UINT32_MAX;
	body->id = *id;
	return diag_talk(diag, header, query, NULL, err);
}

int diag_find(struct diag *diag, uint8_t family, const struct inet_diag_sockid *id,
	      const struct diag_query *query, struct error *err)
{
	return ask(diag, SOCK_DIAG_BY_FAMILY, family, id, query, err);
}

int diag_destroy(struct diag *diag, uint8_t family, const struct inet_diag_sockid *id,
		 struct error *err)
{
	return ask(diag, SOCK_DESTROY, family, id, NULL, err);
}

/* ---- dumps ---------------------------------------------------------------------------------- */

/*
 * Add the filter: conditions that jump over the rest if they do not hold. A jump to the end means
 * "yes", a jump to four bytes behind the end "no" (inet_diag.c: inet_diag_bc_run()).
 */
static void put_filter(struct nlmsghdr *header, const struct diag_query *query)
{
	struct inet_diag_bc_op code[5] = {0};
	size_t port = query->port ? 2 : 0, cgroup = query->cgroup_id ? 3 : 0;
	uint16_t end = (uint16_t)((port + cgroup) * sizeof(code[0]));

	_Static_assert(sizeof(code) == 20, "the kernel takes the filter byte for byte");
	if (port) {
		code[0] = (struct inet_diag_bc_op){
			.code = INET_DIAG_BC_S_EQ, .yes = 8, .no = (uint16_t)(end + 4)};
		code[1].no = query->port;
	}
	if (cgroup) {
		code[port] = (struct inet_diag_bc_op){
			.code = INET_DIAG_BC_CGROUP_COND, .yes = 12, .no = 12 + 4};
		memcpy(&code[port + 1], &query->cgroup_id, sizeof(query->cgroup_id));
	}
	if (end)
		mnl_attr_put(header, INET_DIAG_REQ_BYTECODE, end, code);
}

static int dump_family(struct diag *diag, uint8_t family, const struct diag_query *query,
		       int births_fd, bool *ret_interrupted, struct error *err)
{
	char request[DIAG_REQUEST_SIZE] __attribute__((aligned(4)));
	struct nlmsghdr *header = mnl_nlmsg_put_header(request);
	struct inet_diag_req_v2 *body;

	header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	body = mnl_nlmsg_put_extra_header(header, sizeof(*body));
	body->sdiag_family = family;
	body->sdiag_protocol = IPPROTO_TCP;
	body->idiag_states = query->states;
	body->idiag_ext = query->details ? diag_details_wanted() : 0;
	if (query->drops)
		body->idiag_ext |= diag_drops_wanted();
	put_filter(header, query);
	if (births_fd >= 0)
		diag_put_births(header, births_fd);
	return diag_talk(diag, header, query, ret_interrupted, err);
}

/*
 * sock_diag has no handler for AF_UNSPEC (sock_diag.c: __sock_diag_cmd()). A kernel without IPv6
 * has none for AF_INET6 either; that is no error.
 */
static int dump_once(struct diag *diag, const struct diag_query *query, int births_fd,
		     bool *ret_interrupted, struct error *err)
{
	bool v4 = false, v6 = false;
	int r;

	r = dump_family(diag, AF_INET, query, births_fd, &v4, err);
	if (r < 0)
		return r;
	r = dump_family(diag, AF_INET6, query, births_fd, &v6, err);
	*ret_interrupted = v4 || v6;
	return r == -ENOENT ? 0 : r;
}

int diag_dump(struct diag *diag, const struct diag_query *query, void (*reset)(void *userdata),
	      struct error *err)
{
	int births_fd = query->details ? diag->births_fd : -1;
	bool interrupted = true;

	assert(query->on_socket && reset);

	for (int i = 0; i < DIAG_TRIES && interrupted; i++) {
		int r;

		reset(query->userdata);
		r = dump_once(diag, query, births_fd, &interrupted, err);
		/* The map is gone, or a capability missing? Then try again without the births. */
		if (r < 0 && r != -ETIMEDOUT && births_fd >= 0) {
			births_fd = -1;
			reset(query->userdata);
			r = dump_once(diag, query, births_fd, &interrupted, err);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

void diag_set_births(struct diag *diag, int map_fd)
{
	diag->births_fd = map_fd;
}

void diag_read_address(const struct inet_diag_msg *message, const uint32_t address[4],
		       uint16_t port, union diag_address *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (message->idiag_family == AF_INET) {
		ret->in.sin_family = AF_INET;
		ret->in.sin_port = port;
		memcpy(&ret->in.sin_addr, address, sizeof(ret->in.sin_addr));
		return;
	}
	ret->in6.sin6_family = AF_INET6;
	ret->in6.sin6_port = port;
	memcpy(&ret->in6.sin6_addr, address, sizeof(ret->in6.sin6_addr));
	if (IN6_IS_ADDR_LINKLOCAL(&ret->in6.sin6_addr))
		ret->in6.sin6_scope_id = message->id.idiag_if;
}
