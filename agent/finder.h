/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * finder: finds the listening TCP sockets that the instance's processes have bound themselves.
 *
 * A look first asks the kernel for the listening sockets of the instance's cgroup (common/diag.h).
 * If there is no cgroup, or the server has made cgroups below it, it asks for all sockets of the
 * host. That is cheap, and can be done every second for ever.
 *
 * Then it judges each socket that it has not seen before:
 *
 *	stranger	It is the instance's, on an address that the service does not declare. Its
 *			address is reported; the socket itself is never touched.
 *	foreign		No process of the instance holds it. As a socket may be on its way from one
 *			process to another, that is found out by several looks. A socket of the
 *			instance's cgroup is never given up: it is looked for again and again.
 *	known		The instance holds it, and its address is declared. A duplicate is taken and
 *			added to the listeners.
 *
 * Who holds a socket is found out in /proc/PID/fd of the instance's processes (holders.h), unless
 * the cgroup and the address say enough. ":80" and "[::]:80" are two different addresses. Twins
 * (address.h) are both declared if one is: which of them a server binds, batond must hear.
 */
#pragma once

#include <stdint.h>

#include "agent/listener.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/processes.h"
#include "common/protocol.h"

struct finder;

/* @spec and @processes are borrowed and must outlive it. Returns 0 or a negative errno. */
int finder_new(const struct launch_spec *spec, const struct processes *processes,
	       struct finder **ret, struct error *err);
void finder_free(struct finder *finder);
DEFINE_CLEANUP(struct finder *, finder_free);

/*
 * Look once, and append each new socket on a declared address to @listeners. Sockets that would not
 * fit into a report any more (PROTOCOL_SOCKETS_MAX) are left alone. Returns 0, or a negative errno
 * if the kernel could not be asked. @now_ms is CLOCK_MONOTONIC.
 */
int finder_look(struct finder *finder, struct listeners *listeners, uint64_t now_ms,
		struct error *err);

/* In how long a socket that the last look has left undecided is to be looked at; UINT64_MAX: none. */
uint64_t finder_delay_ms(const struct finder *finder, uint64_t now_ms);

/*
 * Why a listening socket of the server's, on a declared address, cannot be used, and what to do;
 * "": there is none that cannot. Borrowed until the next look. *ret_endpoint: whose it is (0 if
 * there is none).
 */
const char *finder_trouble(const struct finder *finder, uint32_t *ret_endpoint);

/* Fill in the addresses of the last look's strangers, sorted, each once. Returns how many. */
size_t finder_strangers(const struct finder *finder,
			char ret[static PROTOCOL_STRANGERS_MAX][ADDRESS_TEXT_MAX]);
