/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/health/proxy_header.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Both addresses of a connection, as they are on the wire. */
struct ends {
	bool ip6;
	const void *source, *target;
	in_port_t source_port, target_port;
};

static struct ends ends_of(const struct sockaddr *source, const struct sockaddr *target)
{
	const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)source;
	const struct sockaddr_in6 *b6 = (const struct sockaddr_in6 *)target;
	const struct sockaddr_in *a = (const struct sockaddr_in *)source;
	const struct sockaddr_in *b = (const struct sockaddr_in *)target;

	assert(source->sa_family == target->sa_family);
	if (source->sa_family == AF_INET6)
		return (struct ends){true, &a6->sin6_addr, &b6->sin6_addr, a6->sin6_port,
				     b6->sin6_port};
	return (struct ends){false, &a->sin_addr, &b->sin_addr, a->sin_port, b->sin_port};
}

static size_t write_text(const struct ends *ends, char *ret)
{
	char source[INET6_ADDRSTRLEN], target[INET6_ADDRSTRLEN];
	int family = ends->ip6 ? AF_INET6 : AF_INET;

	inet_ntop(family, ends->source, source, sizeof(source));
	inet_ntop(family, ends->target, target, sizeof(target));
	return (size_t)snprintf(ret, PROXY_HEADER_MAX, "PROXY %s %s %s %u %u\r\n",
				ends->ip6 ? "TCP6" : "TCP4", source, target,
				ntohs(ends->source_port), ntohs(ends->target_port));
}

static void put(char *ret, size_t *n, const void *data, size_t length)
{
	memcpy(ret + *n, data, length);
	*n += length;
}

/* Section 2.2: the signature, version and command (2, PROXY), family and protocol, the length. */
static size_t write_binary(const struct ends *ends, char *ret)
{
	size_t size = ends->ip6 ? 16 : 4, n = 0;
	const char kind[] = {0x21, ends->ip6 ? 0x21 : 0x11, 0, (char)(2 * size + 4)};

	put(ret, &n, "\r\n\r\n\0\r\nQUIT\n", 12);
	put(ret, &n, kind, sizeof(kind));
	put(ret, &n, ends->source, size);
	put(ret, &n, ends->target, size);
	put(ret, &n, &ends->source_port, sizeof(ends->source_port));
	put(ret, &n, &ends->target_port, sizeof(ends->target_port));
	return n;
}

size_t proxy_header(uint32_t version, const struct sockaddr *source, const struct sockaddr *target,
		    char ret[static PROXY_HEADER_MAX])
{
	struct ends ends = ends_of(source, target);

	if (version == 0)
		return 0;
	return version == 1 ? write_text(&ends, ret) : write_binary(&ends, ret);
}
