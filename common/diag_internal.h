/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * diag_internal: what the parts of diag share: one dump, and what its messages say.
 *
 *	diag.c			the request, the answer, the dump of both families
 *	diag_listeners.c	listening sockets
 *	diag_connections.c	connections; diag_details.c: what the kernel tells of them on demand
 */
#pragma once

#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/diag.h"

/* linux/tcp.h and netinet/tcp.h exclude each other: one has the bits, the other the names. */
#define DIAG_STATE_BIT(state) (1u << (state))

/* Header, inet_diag_req_v2, filter and the request for births come to half of it. */
#define DIAG_REQUEST_SIZE 256

/* What a dump asks for, and who looks at each answer. */
struct diag_query {
	uint16_t port;      /* 0: any */
	uint64_t cgroup_id; /* 0: any */
	uint32_t states;    /* of DIAG_STATE_BIT() */
	bool details;       /* what diag_read_details() reads is asked for too */
	/* An inet_diag_msg with its attributes; the whole of it is there. */
	void (*on_socket)(void *userdata, const struct nlmsghdr *header);
	void *userdata;
};

/*
 * Send the request in @header and read the whole answer. @query (may be NULL) gets the sockets;
 * *ret_interrupted (may be NULL) is whether the kernel calls the answer inconsistent.
 */
int diag_talk(struct diag *diag, struct nlmsghdr *header, const struct diag_query *query,
	      bool *ret_interrupted, struct error *err);

/*
 * Dump both families. @reset is called with the query's userdata before each attempt: an
 * inconsistent dump is thrown away whole.
 */
int diag_dump(struct diag *diag, const struct diag_query *query, void (*reset)(void *userdata),
	      struct error *err);

/*
 * SOCK_DESTROY of the socket that the kernel finds for @id, where its cookie is @id's. -ENOENT
 * where there is none, or another.
 */
int diag_destroy(struct diag *diag, uint8_t family, const struct inet_diag_sockid *id,
		 struct error *err);

static inline uint64_t diag_cookie(const struct inet_diag_msg *message)
{
	return (uint64_t)message->id.idiag_cookie[1] << 32 | message->id.idiag_cookie[0];
}

/* Is there an attribute at @at, whole, before @end? (mnl_attr_for_each() warns of conversions.) */
static inline bool diag_is_attribute(const struct nlattr *at, const void *end)
{
	return mnl_attr_ok(at, (int)((const char *)end - (const char *)at));
}

/* Any address that sock_diag has, as the sockets API has it. */
union diag_address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* @address and @port as in inet_diag_sockid; a scope only where the address needs one. */
void diag_read_address(const struct inet_diag_msg *message, const uint32_t address[4],
		       uint16_t port, union diag_address *ret);

/* ---- diag_details.c ------------------------------------------------------------------------- */

/* What a request asks for beyond the socket itself (inet_diag_req_v2.idiag_ext). */
uint8_t diag_details_wanted(void);

/* Ask for the value of the socket storage @map_fd too. */
void diag_put_births(struct nlmsghdr *header, int map_fd);

/* Fill in bytes, idle time and birth as far as @header says; what it does not say stays as it is.
 */
void diag_read_details(const struct nlmsghdr *header, struct diag_connection *connection);
