/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listener: the instance's listening sockets. The agent creates them, passes them to the server,
 * and keeps duplicates until the instance leaves, so that a server which crashes can be started
 * again on the same sockets, whose queues held the connections meanwhile.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/processes.h"
#include "common/address.h"
#include "common/error.h"
#include "common/protocol.h"

struct listener {
	int fd; /* close-on-exec, blocking (what LISTEN_FDS servers expect); -1: closed */
	uint64_t cookie;
	uint64_t inode;
	struct address address;
};

struct listeners {
	struct listener list[PROTOCOL_SOCKETS_MAX];
	size_t n;
};

/*
 * Create, bind and listen on all the addresses of @spec, in their order, with SO_REUSEADDR and
 * SO_REUSEPORT, as a member of the instance's cgroup (the agent is back in its own afterwards) and
 * in the name of spec->uid where ids are set: the kernel takes only sockets of one uid into a
 * group. All or nothing; -EADDRINUSE where somebody else has the address.
 */
int listeners_open(const struct launch_spec *spec, struct processes *processes,
		   struct listeners *ret, struct error *err);

/* Close the agent's duplicates. Cookies, inodes and addresses stay. Again is harmless. */
void listeners_close(struct listeners *listeners);

/* Are the agent's duplicates open? */
bool listeners_are_open(const struct listeners *listeners);
