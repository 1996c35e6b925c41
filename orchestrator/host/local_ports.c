/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/local_ports.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "orchestrator/host/file.h"

#define RANGE_FILE    "/proc/sys/net/ipv4/ip_local_port_range"
#define RESERVED_FILE "/proc/sys/net/ipv4/ip_local_reserved_ports"
#define SYSCTL_MAX    (512 * 1024) /* of a list of ports at most */

/* Above the kernel's range there are rarely services. With fewer ports than that, below, too. */
#define ABOVE_ENOUGH 256

#define TRIES_MAX 1024 /* ports that are looked at for one range */

/* ---- which ports ---------------------------------------------------------------------------- */

struct pool {
	uint32_t first, last; /* the kernel's own range */
	uint8_t reserved[65536 / 8];
	uint32_t lowest; /* none below is taken */
};

static bool has(const uint8_t *set, uint32_t port)
{
	return set[port / 8] & (1u << port % 8);
}

static void put(uint8_t *set, uint32_t port, bool in)
{
	if (in)
		set[port / 8] |= (uint8_t)(1u << port % 8);
	else
		set[port / 8] &= (uint8_t) ~(1u << port % 8);
}

/* "8080,9000-9010\n" */
static void read_reserved(const char *text, uint8_t *set)
{
	char *end;

	for (;;) {
		unsigned long first = strtoul(text, &end, 10), last = first;

		if (end == text)
			return;
		if (*end == '-') {
			text = end + 1;
			last = strtoul(text, &end, 10);
		}
		for (unsigned long port = first; port <= last && port < 65536; port++)
			put(set, (uint32_t)port, true);
		if (*end != ',')
			return;
		text = end + 1;
	}
}

static bool is_ours(const struct pool *pool, uint32_t port)
{
	return port < pool->first || port > pool->last || has(pool->reserved, port);
}

static int read_pool(struct pool *ret, struct error *err)
{
	cleanup_free char *range = NULL, *reserved = NULL;
	uint32_t above = 0;
	int r = file_read(RANGE_FILE, SYSCTL_MAX, &range, NULL);

	*ret = (struct pool){.lowest = LOCAL_PORTS_FIRST};
	if (r < 0)
		return error_set(err, r, RANGE_FILE);
	if (sscanf(range, "%u %u", &ret->first, &ret->last) != 2)
		return error_text(err, -EINVAL, RANGE_FILE ": is not two numbers");
	/* Without this file nothing is reserved. */
	if (file_read(RESERVED_FILE, SYSCTL_MAX, &reserved, NULL) == 0)
		read_reserved(reserved, ret->reserved);
	for (uint32_t port = ret->first; port < 65536; port++)
		above += is_ours(ret, port);
	if (above >= ABOVE_ENOUGH)
		ret->lowest = ret->first;
	return 0;
}

/* ---- is it in use? -------------------------------------------------------------------------- */

/*
 * By any socket, on any address, also in TIME_WAIT: a bind to the wildcard without SO_REUSEADDR
 * fails then (inet_csk_get_port()). That of IPv6 is of both families. 0, -EADDRINUSE, or what the
 * host lacks.
 */
static int try_port(uint32_t port)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int family = AF_INET6, off = 0;
	cleanup_close int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0 && errno == EAFNOSUPPORT) {
		family = AF_INET;
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	}
	if (fd < 0)
		return -errno;
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	r = family == AF_INET6 ? bind(fd, (struct sockaddr *)&in6, sizeof(in6))
			       : bind(fd, (struct sockaddr *)&in, sizeof(in));
	if (r == 0)
		return 0;
	return errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS
		       ? -errno
		       : -EADDRINUSE;
}

/* ---- taking --------------------------------------------------------------------------------- */

/* Two daemons on one host begin at different places. */
static uint32_t begin_at(const struct pool *pool)
{
	uint32_t size = 65536 - pool->lowest;

	return pool->lowest + (uint32_t)getpid() * 2654435761u % size;
}

static int search(struct local_ports *ports, const struct pool *pool, uint16_t wanted,
		  struct local_ports_range *ret)
{
	uint32_t size = 65536 - pool->lowest, tries = 0;
	uint32_t port = ports->next >= pool->lowest ? ports->next : begin_at(pool);
	struct local_ports_range run = {0};

	*ret = (struct local_ports_range){0};
	for (uint32_t k = 0; k < size && tries < TRIES_MAX && ret->n < wanted; k++) {
		bool good = is_ours(pool, port) && !has(ports->taken, port);

		if (good) {
			int r = try_port(port);

			tries++;
			if (r < 0 && r != -EADDRINUSE)
				return r;
			good = r == 0;
		}
		if (good && run.n++ == 0)
			run.first = (uint16_t)port;
		if (run.n > ret->n)
			*ret = run;
		if (!good || port == 65535)
			run.n = 0;
		port = port == 65535 ? pool->lowest : port + 1;
	}
	ports->next = (uint16_t)port;
	return ret->n > 0 ? 0 : -EADDRNOTAVAIL;
}

int local_ports_take(struct local_ports *ports, uint16_t wanted, struct local_ports_range *ret,
		     struct error *err)
{
	struct pool pool;
	int r;

	assert(wanted > 0 && wanted <= LOCAL_PORTS_MAX);
	*ret = (struct local_ports_range){0};
	r = read_pool(&pool, err);
	if (r < 0)
		return r;
	r = search(ports, &pool, wanted, ret);
	if (r == -EADDRNOTAVAIL)
		return error_text(
			err, r,
			"no local port is free outside of net.ipv4.ip_local_port_range "
			"(%u to %u): make that range shorter, or reserve some ports of it "
			"in net.ipv4.ip_local_reserved_ports",
			pool.first, pool.last);
	if (r < 0)
		return error_set(err, r, "look for a local port");
	for (uint32_t k = 0; k < ret->n; k++)
		put(ports->taken, (uint32_t)ret->first + k, true);
	return 0;
}

void local_ports_give(struct local_ports *ports, const struct local_ports_range *range)
{
	for (uint32_t k = 0; k < range->n; k++)
		put(ports->taken, (uint32_t)range->first + k, false);
}
