/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * diag_internal: what the parts of diag share. Only they include it.
 *
 *	diag.c			the socket, a request and its answer, the dump of both families
 *	diag_listeners.c	listening sockets
 *	diag_connections.c	connections
 *	diag_details.c		what the kernel says about a connection only if it is asked
 */
#pragma once

#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/diag.h"

/* linux/tcp.h has such bits, netinet/tcp.h the states; no file can include both. */
#define DIAG_STATE_BIT(state) (1u << (state))

/* Header, inet_diag_req_v2, filter and the request for births take half of it. */
#define DIAG_REQUEST_SIZE 256

/* What a dump asks for, and who gets each socket. */
struct diag_query {
	uint16_t port;      /* 0: any */
	uint64_t cgroup_id; /* 0: any */
	uint32_t states;    /* of DIAG_STATE_BIT() */
	bool details;       /* also ask for what diag_read_details() reads */
	bool drops;         /* also ask for what diag_read_queue() reads */
	/* @header: a whole inet_diag_msg and its attributes. */
	void (*on_socket)(void *userdata, const struct nlmsghdr *header);
	void *userdata;
};

/*
 * Send the request in @header and read its whole answer. @query's on_socket gets each socket;
 * @query may be NULL. *ret_interrupted (may be NULL): the kernel calls the answer inconsistent.
 */
int diag_talk(struct diag *diag, struct nlmsghdr *header, const struct diag_query *query,
	      bool *ret_interrupted, struct error *err);

/*
 * Dump both address families. @reset is called with the query's userdata before each attempt: after
 * an inconsistent dump everything is told again.
 */
int diag_dump(struct diag *diag, const struct diag_query *query, void (*reset)(void *userdata),
	      struct error *err);

/* Tell @query's on_socket of the socket that the kernel finds for @id. -ENOENT: it finds none. */
int diag_find(struct diag *diag, uint8_t family, const struct inet_diag_sockid *id,
	      const struct diag_query *query, struct error *err);

/*
 * SOCK_DESTROY the socket that the kernel finds for @id. -ENOENT if it finds none, or one whose
 * cookie is not that of @id.
 */
int diag_destroy(struct diag *diag, uint8_t family, const struct inet_diag_sockid *id,
		 struct error *err);

/* What diag_remember() remembers. */
struct diag_memory {
	bool on, taken;
	struct diag_listening *list; /* sorted by their cookies */
	size_t n, size;
};
struct diag_memory *diag_memory(struct diag *diag);

/* SO_COOKIE of the socket. */
static inline uint64_t diag_cookie(const struct inet_diag_msg *message)
{
	return (uint64_t)message->id.idiag_cookie[1] << 32 | message->id.idiag_cookie[0];
}

/*
 * Is there a whole attribute at @at, before @end? For loops over attributes; mnl_attr_for_each()
 * would not compile with -Wconversion.
 */
static inline bool diag_is_attribute(const struct nlattr *at, const void *end)
{
	return mnl_attr_ok(at, (int)((const char *)end - (const char *)at));
}

/* An address of sock_diag in the form of the sockets API. */
union diag_address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* @address and @port are as in inet_diag_sockid. Only link-local addresses get a scope. */
void diag_read_address(const struct inet_diag_msg *message, const uint32_t address[4],
		       uint16_t port, union diag_address *ret);

/* ---- diag_details.c ------------------------------------------------------------------------- */

/* The value of inet_diag_req_v2.idiag_ext that asks for them. */
uint8_t diag_details_wanted(void);

/* The same for drops. */
uint8_t diag_drops_wanted(void);

/* The accept queue of a listening socket, as far as @header tells of it. */
void diag_read_queue(const struct nlmsghdr *header, struct diag_listener *ret);

/* Add to the request in @header: the value of the socket storage @map_fd. */
void diag_put_births(struct nlmsghdr *header, int map_fd);

/* Fill in bytes, idle time and birth, as far as @header has them. */
void diag_read_details(const struct nlmsghdr *header, struct diag_connection *connection);
