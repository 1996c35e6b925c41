/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * steer: picks the listening socket for each new connection of one endpoint.
 *
 * It runs on the endpoint's reuseport group for every SYN, and under SYN cookies also for the ACK
 * that completes the handshake. As a "migrate" program it also runs for each connection that a
 * closing listener leaves behind, queued or half open.
 *
 * It never falls back to the kernel's own hash, which could pick a listener that is not ready. A
 * connection that no named slot can take waits at the anchor if the service holds connections, else
 * it is refused.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "ebpf/tap_maps.h"
#include "ebpf/mix.h"
#include "ebpf/steer.h"

/* So many slots there are; the anchor's comes behind them. Fewer in maps of an earlier version. */
const volatile __u32 n_slots = STEER_SLOTS;

/* The listening sockets. The kernel empties a slot when its socket stops listening. */
struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, STEER_SLOTS + 1);
	__type(key, __u32);
	__type(value, __u64);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct steer_table);
} tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, STEER_PINS);
	__type(key, struct steer_pin_key);
	__type(value, __u32);
} pins SEC(".maps");

/* Of slots that are in use; an array would have memory for all of them, for each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, STEER_SLOTS);
	__type(key, __u32);
	__type(value, struct steer_slot_stats);
} slot_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct steer_stats);
} stats SEC(".maps");

/* Which instance the socket in a slot belongs to. 0: none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STEER_SLOTS + 1);
	__type(key, __u32);
	__type(value, tap_owner);
} slot_owner SEC(".maps");

/* Which instance a listening socket belongs to, by its cookie: a closing one is in no slot any
 * more. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, STEER_SLOTS + 2); /* and two anchors: while one replaces the other */
	__type(key, __u64);
	__type(value, tap_owner);
} listener_owner SEC(".maps");

volatile struct steer_control control SEC(".data.control");

#define AF_INET     2
#define IPV4_SOURCE 12 /* offset of the source address in the IPv4 header */
#define IPV6_SOURCE 8

/* bpf_sock.state */
#define TCP_CLOSE        7
#define TCP_NEW_SYN_RECV 12

/* ---- what comes ----------------------------------------------------------------------------- */

#define TCP_FLAGS 13 /* offset of the byte in the TCP header (RFC 9293, 3.1) */
#define TCP_SYN   0x02
#define TCP_RST   0x04
#define TCP_ACK   0x10

/*
 * The flags of a packet that belongs to no connection. A listener is looked for not only for those
 * that open one: the RST or FIN of a connection that is over comes here, too, and so does the ACK
 * that answers a SYN cookie. SYN if they cannot be read.
 */
static __always_inline __u8 packet_flags(struct sk_reuseport_md *ctx)
{
	void *transport = ctx->data;

	if (transport + TCP_FLAGS + 1 > ctx->data_end)
		return TCP_SYN;
	return ((__u8 *)transport)[TCP_FLAGS];
}

/* ---- where a connection comes from ---------------------------------------------------------- */

/* Load the packet's source address into 16 bytes of zeros. An IPv4 address becomes IPv4-mapped. */
static __always_inline long load_source(struct sk_reuseport_md *ctx, __u8 *address)
{
	if (ctx->eth_protocol != bpf_htons(ETH_P_IP))
		return bpf_skb_load_bytes_relative(ctx, IPV6_SOURCE, address, 16,
						   BPF_HDR_START_NET);
	address[10] = 0xff;
	address[11] = 0xff;
	return bpf_skb_load_bytes_relative(ctx, IPV4_SOURCE, address + 12, 4, BPF_HDR_START_NET);
}

/*
 * The hash of the source address. It is the same when the connection arrives and when it migrates,
 * for which there is no packet.
 */
static __always_inline __u32 hash_source(struct sk_reuseport_md *ctx, struct bpf_sock *migrating)
{
	__u32 address[4] = {};

	if (!migrating) {
		if (load_source(ctx, (__u8 *)address))
			return ctx->hash;
	} else if (migrating->family == AF_INET) {
		address[2] = bpf_htonl(0xffff);
		address[3] = migrating->dst_ip4;
		/* Otherwise the compiler joins this load with the last one by a computed offset. */
		barrier();
	} else {
		address[0] = migrating->dst_ip6[0];
		address[1] = migrating->dst_ip6[1];
		address[2] = migrating->dst_ip6[2];
		address[3] = migrating->dst_ip6[3];
	}
	return mix_address(address);
}

/* The slot that this new connection is pinned to, or NULL. */
static __always_inline __u32 *pinned_slot(struct sk_reuseport_md *ctx)
{
	struct steer_pin_key key = {};
	void *transport = ctx->data;

	/* ctx->data is at the TCP header, whose first field is the source port. */
	if (transport + sizeof(key.port) > ctx->data_end)
		return NULL;
	key.port = *(__u16 *)transport;
	if (load_source(ctx, key.address))
		return NULL;
	return bpf_map_lookup_elem(&pins, &key);
}

/*
 * Is this a health check's connection? Its pin may be gone already. Then the tap knows it, once it
 * was established.
 */
static __always_inline bool is_probe(struct bpf_sock *migrating)
{
	__u64 cookie = bpf_get_socket_cookie(migrating);
	tap_owner *owner = bpf_map_lookup_elem(&moved, &cookie);
	struct steer_pin_key key = {};
	__u32 *address = (__u32 *)key.address;

	if (owner && *owner == TAP_PROBE)
		return true;
	if (!control.pins)
		return false;
	if (migrating->family == AF_INET) {
		address[2] = bpf_htonl(0xffff);
		address[3] = migrating->dst_ip4;
		barrier(); /* as in hash_source() */
	} else {
		address[0] = migrating->dst_ip6[0];
		address[1] = migrating->dst_ip6[1];
		address[2] = migrating->dst_ip6[2];
		address[3] = migrating->dst_ip6[3];
	}
	key.port = migrating->dst_port;
	return bpf_map_lookup_elem(&pins, &key);
}

/* ---- counting ------------------------------------------------------------------------------- */

static __always_inline struct steer_slot_stats *stats_of(__u32 slot)
{
	return bpf_map_lookup_elem(&slot_stats, &slot);
}

static __always_inline struct steer_stats *stats_of_all(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&stats, &zero);
}

/* @opens: a connection, which counts. */
static __always_inline int refuse(bool pinned, bool opens)
{
	struct steer_stats *s = opens ? stats_of_all() : NULL;

	if (s && pinned)
		s->pinned_failed++;
	else if (s)
		s->refused++;
	return SK_DROP;
}

/*
 * A connection migrates to @slot: one instance has established it, but not accepted it. Move it in
 * the counters, too, if they have it. They do not have
 *	a half-open connection, which is counted later
 *	a connection that has ended, which was counted as closed where it was
 *	a connection that was established on a listener of no instance (an anchor). It belongs to
 *	nobody until it moves on
 *
 * The kernel holds the connection's lock, so it cannot end meanwhile (inet_csk_listen_stop()).
 */
static __always_inline void note_move(struct sk_reuseport_md *ctx, struct bpf_sock *migrating,
				      __u32 slot)
{
	__u32 state = migrating->state;
	struct tap_counts *c_from, *c_to;
	tap_owner *owner, from, to;
	__u64 cookie, listener;

	if (state == TCP_NEW_SYN_RECV || state == TCP_CLOSE)
		return;
	owner = bpf_map_lookup_elem(&slot_owner, &slot);
	if (!owner)
		return;
	to = *owner;
	cookie = bpf_get_socket_cookie(migrating);
	owner = bpf_map_lookup_elem(&moved, &cookie);
	if (owner) {
		from = *owner;
		c_from = bpf_map_lookup_elem(&counts, &from);
	} else {
		listener = bpf_get_socket_cookie(ctx->sk);
		owner = bpf_map_lookup_elem(&listener_owner, &listener);
		if (!owner)
			return;
		from = *owner;
		c_from = bpf_map_lookup_elem(&counts, &from);
		if (!c_from)
			return;
	}
	/*
	 * If the move cannot be noted, the connection stays counted, and is closed, where it was.
	 */
	if (from == to || bpf_map_update_elem(&moved, &cookie, &to, BPF_ANY))
		return;
	/* In before out: a reader in between sees one connection too many, never one too few. */
	c_to = bpf_map_lookup_elem(&counts, &to);
	if (c_to)
		__sync_fetch_and_add(&c_to->moved_in, 1);
	if (c_from)
		__sync_fetch_and_add(&c_from->moved_out, 1);
}

/* ---- choosing ------------------------------------------------------------------------------- */

/* No slot can take the connection. */
static __always_inline int hold_or_refuse(struct sk_reuseport_md *ctx, struct bpf_sock *migrating,
					  bool opens)
{
	__u32 slot = n_slots;
	struct steer_stats *s;

	if (!control.hold || bpf_sk_select_reuseport(ctx, &slots, &slot, 0))
		return refuse(false, opens);
	s = opens ? stats_of_all() : NULL;
	if (s)
		s->held++;
	if (migrating)
		note_move(ctx, migrating, slot);
	return SK_PASS;
}

SEC("sk_reuseport/migrate")
int steer(struct sk_reuseport_md *ctx)
{
	struct bpf_sock *migrating = ctx->migrating_sk;
	struct steer_slot_stats *s;
	struct steer_bucket bucket;
	struct steer_table *table;
	__u32 slot, current, hash;
	bool opens = true;

	if (!migrating) {
		__u8 flags = packet_flags(ctx);

		/* A listener can do nothing with it, and would count it as dropped. */
		if (flags & TCP_RST)
			return SK_DROP;
		opens = (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	}
	/*
	 * Pins are for new connections. A connection that migrates goes where the table says. But a
	 * health check asks one instance, so another one must not answer it.
	 */
	if (migrating && is_probe(migrating))
		return refuse(true, true);
	if (!migrating && control.pins) {
		__u32 *pin = pinned_slot(ctx);

		if (pin) {
			slot = *pin;
			if (bpf_sk_select_reuseport(ctx, &slots, &slot, 0))
				return refuse(true, opens);
			s = opens ? stats_of(slot) : NULL;
			if (s)
				s->pinned++;
			return SK_PASS;
		}
	}

	current = control.table & 1;
	table = bpf_map_lookup_elem(&tables, &current);
	if (!table)
		return refuse(false, opens);
	hash = control.sticky ? hash_source(ctx, migrating) : ctx->hash;
	bucket = table->buckets[hash & (STEER_BUCKETS - 1)];

	slot = bucket.primary;
	if (slot < n_slots && !bpf_sk_select_reuseport(ctx, &slots, &slot, 0)) {
		s = opens ? stats_of(slot) : NULL;
		if (s)
			s->primary++;
	} else {
		slot = bucket.backup;
		if (slot >= n_slots || bpf_sk_select_reuseport(ctx, &slots, &slot, 0))
			return hold_or_refuse(ctx, migrating, opens);
		s = opens ? stats_of(slot) : NULL;
		if (s)
			s->backup++;
	}
	if (migrating) {
		if (s)
			s->migrated++;
		note_move(ctx, migrating, slot);
	}
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
