/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hash tier: no program. The kernel hashes each connection over all sockets that listen (net/
 * core/sock_reuseport.c: reuseport_select_sock_by_hash()), so a socket gets its share as soon as it
 * listens and as long as it does; tables are remembered, and nothing follows from them. There is no
 * socket of the daemon's in the group, as it would get a share too. One that is bound, and does not
 * listen, keeps the address for those who share it: a server that binds it anew without
 * SO_REUSEPORT would be in the way of all others.
 *
 * A connection whose SYN races with the close of the old listener, or that is in its queue then, is
 * lost; with net.ipv4.tcp_migrate_req=1 the queue migrates, and few are (bench/tiers measures it).
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "orchestrator/steer/anchor.h"
#include "orchestrator/steer/socket.h"
#include "orchestrator/steer/steer_internal.h"
#include "orchestrator/steer/table.h"

struct hash {
	struct steer steer; /* first */
	int reserved_fd;    /* see above; -1: somebody does not share the address */
	struct slots slots;
	struct steer_table table;
};

static struct hash *to_hash(struct steer *base)
{
	return (struct hash *)base;
}

static int hash_open(const struct address *address, const struct steer_options *options,
		     struct steer **ret, struct error *err)
{
	struct hash *h = calloc(1, sizeof(*h));

	if (!h)
		return error_set(err, -ENOMEM, "steer");
	/* If it cannot be had, the servers will find out. */
	if (anchor_reserve(address, options->uid, &h->reserved_fd, NULL) < 0)
		h->reserved_fd = -1;
	h->slots.max = STEER_SLOTS;
	table_clear(&h->table);
	*ret = &h->steer;
	return 0;
}

static void hash_free(struct steer *base)
{
	struct hash *h = to_hash(base);

	if (h->reserved_fd >= 0)
		close(h->reserved_fd);
	slots_done(&h->slots);
	free(h);
}

static int hash_reset(struct steer *base, struct error *err)
{
	struct hash *h = to_hash(base);

	(void)err;
	slots_done(&h->slots);
	table_clear(&h->table);
	return 0;
}

static bool is_bound_to(int fd, const struct address *address)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in6 in6;
	} bound = {};
	socklen_t length = sizeof(bound), int_length = sizeof(int);
	int v6only = 0;

	if (getsockname(fd, &bound.sa, &length) < 0)
		return false;
	if (bound.sa.sa_family == AF_INET6 &&
	    getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &int_length) < 0)
		return false;
	return socket_is_of_group(address, &bound.sa, v6only);
}

static int check_listener(int fd, const struct address *address, struct error *err)
{
	socklen_t length = sizeof(int);
	int listening = 0, shared = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) < 0 || !listening)
		return error_text(err, -EINVAL, "%s: the socket does not listen", address->text);
	if (!is_bound_to(fd, address))
		return error_text(err, -EINVAL, "%s: the socket listens elsewhere", address->text);
	if (getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &shared, &length) < 0 || !shared)
		return error_text(err, -EINVAL,
				  "%s: the socket has no SO_REUSEPORT: the next generation could "
				  "not listen beside it",
				  address->text);
	return 0;
}

static int hash_join(struct steer *base, int listen_fd, tap_owner owner, uint16_t *ret_slot,
		     bool *ret_drift, struct error *err)
{
	struct hash *h = to_hash(base);
	uint64_t cookie = steer_cookie(listen_fd);
	uint16_t slot;
	int r;

	(void)owner;
	*ret_drift = false;
	r = check_listener(listen_fd, &base->address, err);
	if (r < 0)
		return r;
	r = slots_choose(&h->slots, cookie, &slot, err);
	if (r < 0)
		return error_prefix(err, r, "%s", base->address.text);
	slots_take(&h->slots, slot, cookie);
	*ret_slot = slot;
	return 0;
}

static void hash_release(struct steer *base, uint16_t slot)
{
	slots_free(&to_hash(base)->slots, slot);
}

static int hash_publish(struct steer *base, const struct steer_table *table, struct error *err)
{
	(void)err;
	to_hash(base)->table = *table;
	return 0;
}

static int hash_table(struct steer *base, struct steer_table *ret)
{
	*ret = to_hash(base)->table;
	return 0;
}

static enum steer_program hash_check(struct steer *base, char *ret_who, size_t size)
{
	(void)base, (void)ret_who, (void)size;
	return STEER_PROGRAM_NONE;
}

/* SO_REUSEPORT is older than anything that baton runs on. */
static int hash_try(struct error *err)
{
	(void)err;
	return 0;
}

static const struct slots *hash_slots(const struct steer *base)
{
	return &((const struct hash *)base)->slots;
}

const struct steer_ops steer_hash_ops = {
	.open = hash_open,
	.free = hash_free,
	.try = hash_try,
	.reset = hash_reset,
	.join = hash_join,
	.release = hash_release,
	.publish = hash_publish,
	.table = hash_table,
	.check = hash_check,
	.slots = hash_slots,
};
