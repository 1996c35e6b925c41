/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/health/sources.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#define SIZE_FIRST 4

/* IPv4 addresses are IPv4-mapped: the server's socket may be of the other family. */
struct source {
	struct in6_addr address;
	in_port_t port;
	uint64_t cookie; /* of the server's end, once the check has closed its own; 0: it has not */
};

static struct source to_source(const struct sockaddr *address)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
	const struct sockaddr_in *in = (const struct sockaddr_in *)address;
	struct source ret = {};

	if (address->sa_family == AF_INET6) {
		ret.address = in6->sin6_addr;
		ret.port = in6->sin6_port;
	} else {
		ret.address.s6_addr[10] = ret.address.s6_addr[11] = 0xff;
		memcpy(&ret.address.s6_addr[12], &in->sin_addr, sizeof(in->sin_addr));
		ret.port = in->sin_port;
	}
	return ret;
}

static void to_sockaddr(const struct source *source, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
	struct sockaddr_in *in = (struct sockaddr_in *)ret;

	memset(ret, 0, sizeof(*ret));
	if (IN6_IS_ADDR_V4MAPPED(&source->address)) {
		in->sin_family = AF_INET;
		in->sin_port = source->port;
		memcpy(&in->sin_addr, &source->address.s6_addr[12], sizeof(in->sin_addr));
		return;
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = source->port;
	in6->sin6_addr = source->address;
}

static bool same(const struct source *a, const struct source *b)
{
	return a->port == b->port && memcmp(&a->address, &b->address, sizeof(a->address)) == 0;
}

bool sources_same(const struct sockaddr *a, const struct sockaddr *b)
{
	struct source first = to_source(a), second = to_source(b);

	return same(&first, &second);
}

static struct source *find(const struct sources *sources, const struct sockaddr *address)
{
	struct source wanted = to_source(address);

	for (size_t k = 0; k < sources->n; k++)
		if (same(&sources->list[k], &wanted))
			return &sources->list[k];
	return NULL;
}

static void remove_at(struct sources *sources, size_t k)
{
	sources->n--;
	memmove(&sources->list[k], &sources->list[k + 1],
		(sources->n - k) * sizeof(sources->list[0]));
}

static bool is_it(const struct source *source, const struct diag_connection *c)
{
	return !source->cookie || source->cookie == c->cookie;
}

/*
 * The server's end of a connection from @peer. A dual-stack server is asked over the other family,
 * too: from the very address that is connected to.
 */
static void server_end(const struct address *address, const struct sockaddr_storage *peer,
		       struct sockaddr_storage *ret)
{
	in_port_t port = htons(address_port(address));

	memset(ret, 0, sizeof(*ret));
	if (peer->ss_family == address->sa.sa_family) {
		memcpy(ret, &address->sa, address->length);
		return;
	}
	*ret = *peer;
	if (peer->ss_family == AF_INET6)
		((struct sockaddr_in6 *)ret)->sin6_port = port;
	else
		((struct sockaddr_in *)ret)->sin_port = port;
}

/* Does the server have it? -ENOENT: not any more, or not yet. */
static int look(const struct source *source, struct diag *diag, const struct address *address,
		struct diag_connection *ret)
{
	struct sockaddr_storage peer, local;
	int r;

	to_sockaddr(source, &peer);
	server_end(address, &peer, &local);
	r = diag_connection(diag, (struct sockaddr *)&local, (struct sockaddr *)&peer, ret, NULL);
	return r == 0 && (!diag_is_live(ret) || !is_it(source, ret)) ? -ENOENT : r;
}

/* Nobody has it open, and nobody can have closed it. */
static bool waits(const struct diag_connection *c)
{
	return c->inode == 0 && (c->state == TCP_ESTABLISHED || c->state == TCP_CLOSE_WAIT);
}

int sources_waits(struct diag *diag, const struct address *address, const struct sockaddr *source)
{
	struct diag_connection c;
	int r = diag_connection(diag, &address->sa, source, &c, NULL);

	return r < 0 ? r : waits(&c) || c.state == TCP_SYN_RECV;
}

uint32_t sources_queued(struct sources *sources, struct diag *diag, const struct address *address)
{
	uint32_t queued = 0;

	for (size_t k = 0; k < sources->n;) {
		struct diag_connection c;
		int r = look(&sources->list[k], diag, address, &c);

		if (r == -ENOENT && sources->list[k].cookie) {
			remove_at(sources, k);
			continue;
		}
		if (r == 0 && waits(&c))
			queued++;
		k++;
	}
	return queued;
}

static bool make_room(struct sources *sources, struct diag *diag, const struct address *address)
{
	size_t size = sources->size ? 2 * sources->size : SIZE_FIRST;
	struct source *list;

	if (sources->n == sources->size && sources->n > 0)
		sources_queued(sources, diag, address);
	if (sources->n == SOURCES_MAX)
		remove_at(sources, 0);
	if (sources->n < sources->size)
		return true;
	list = realloc(sources->list, size * sizeof(*list));
	if (!list)
		return false;
	sources->list = list;
	sources->size = size;
	return true;
}

void sources_add(struct sources *sources, struct diag *diag, const struct address *address,
		 const struct sockaddr *source)
{
	struct source *known = find(sources, source);

	if (known)
		known->cookie = 0;
	else if (make_room(sources, diag, address))
		sources->list[sources->n++] = to_source(source);
}

void sources_close(struct sources *sources, struct diag *diag, const struct address *address,
		   const struct sockaddr *source)
{
	struct source *known = find(sources, source);
	struct diag_connection c;

	if (!known)
		return;
	if (look(known, diag, address, &c) == 0)
		known->cookie = c.cookie;
	else
		remove_at(sources, (size_t)(known - sources->list));
}

bool sources_has(const struct sources *sources, const struct diag_connection *connection)
{
	const struct source *known = find(sources, (const struct sockaddr *)&connection->peer);

	return known && is_it(known, connection);
}

void sources_done(struct sources *sources)
{
	free(sources->list);
	*sources = (struct sources){};
}
