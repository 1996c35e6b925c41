/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * socket_list: the listening sockets of an instance, with the slots that they have. All zero at
 * first; it grows with what is in it, and whoever has one ends it with instance_sockets_done().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A listening socket in its slot. */
struct instance_socket {
	uint64_t cookie;
	uint32_t endpoint; /* index into config->listen; see instance_endpoint() */
	uint16_t slot;
	bool own;   /* the server has bound it */
	bool loose; /* its slot may be empty: it was shut down, or could not be put back */
};

/* At most PROTOCOL_SET_MAX. */
struct instance_sockets {
	struct instance_socket *list;
	size_t n;
	size_t size; /* so many fit without another allocation */
};

/* -ENOMEM: it is not in the list. */
int instance_sockets_add(struct instance_sockets *list, const struct instance_socket *socket);

void instance_sockets_done(struct instance_sockets *list);
static inline void instance_sockets_done_ptr(struct instance_sockets *list)
{
	instance_sockets_done(list);
}
