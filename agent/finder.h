/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * finder: finds the listening TCP sockets that the instance's processes have bound themselves.
 *
 * The kernel is asked for all listening sockets of the instance's cgroup (sock_diag; where there is
 * no cgroup, or the server has made others below it, of all). That is cheap, and can be done every
 * second for ever. What has not been seen before is looked for in /proc/PID/fd of the instance's
 * processes (holders.h): once where the cgroup says that it is the instance's and its address is
 * nothing to the service, else until it is found, a few times at least, since a socket may be on
 * its way from one process to another.
 *
 * A socket on a declared address (for the IPv6 wildcard the family counts: ":80" and "[::]:80" are
 * two) is taken a duplicate of and added to the listeners. Others are strangers: their addresses
 * are named, and they are never touched.
 */
#pragma once

#include <stdint.h>

#include "agent/listener.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/processes.h"
#include "common/protocol.h"

struct finder;

/* @spec and @processes must outlive it. */
int finder_new(const struct launch_spec *spec, const struct processes *processes,
	       struct finder **ret, struct error *err);
void finder_free(struct finder *finder);
DEFINE_CLEANUP(struct finder *, finder_free);

/*
 * Look once, and append to @listeners what is new on a declared address. What does not fit into a
 * report any more (PROTOCOL_SOCKETS_MAX) is left alone.
 */
int finder_look(struct finder *finder, struct listeners *listeners, uint64_t now_ms,
		struct error *err);

/* The addresses of the strangers of the last look, sorted, each once; returns how many. */
size_t finder_strangers(const struct finder *finder,
			char ret[static PROTOCOL_STRANGERS_MAX][ADDRESS_TEXT_MAX]);
