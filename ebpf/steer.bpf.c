/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * steer: picks the listening socket of each new connection of one endpoint.
 *
 * Runs on the endpoint's reuseport group for every SYN (and for the ACK that completes a
 * handshake under SYN cookies), and, being a "migrate" program, for each connection that a closing
 * listener leaves behind: queued, or half open. Never falls back to the kernel's own hash, which
 * could pick a listener that is not ready: what no named slot can take is refused.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "ebpf/steer.h"

/* Listening sockets. The kernel empties a slot when its socket stops listening. */
struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, STEER_SLOTS);
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
	__uint(max_entries, STEER_PINS);
	__type(key, struct steer_pin_key);
	__type(value, __u32);
} pins SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
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

volatile struct steer_control control SEC(".data.control");

#define IPV4_SOURCE 12 /* offset of the source address in the IPv4 header */
#define IPV6_SOURCE 8

static __always_inline struct steer_slot_stats *stats_of(__u32 slot)
{
	return bpf_map_lookup_elem(&slot_stats, &slot);
}

static __always_inline int refuse(bool pinned)
{
	__u32 zero = 0;
	struct steer_stats *s = bpf_map_lookup_elem(&stats, &zero);

	if (s && pinned)
		s->pinned_failed++;
	else if (s)
		s->refused++;
	return SK_DROP;
}

/* The slot that this connection is pinned to, or NULL. */
static __always_inline __u32 *pinned_slot(struct sk_reuseport_md *ctx)
{
	struct steer_pin_key key = {};
	void *transport = ctx->data;

	/* The source port is the first field of the TCP header, which is at data. */
	if (transport + sizeof(key.port) > ctx->data_end)
		return NULL;
	key.port = *(__u16 *)transport;
	if (ctx->eth_protocol == bpf_htons(ETH_P_IP)) {
		key.address[10] = 0xff;
		key.address[11] = 0xff;
		if (bpf_skb_load_bytes_relative(ctx, IPV4_SOURCE, key.address + 12, 4,
						BPF_HDR_START_NET))
			return NULL;
	} else if (bpf_skb_load_bytes_relative(ctx, IPV6_SOURCE, key.address, 16,
					       BPF_HDR_START_NET)) {
		return NULL;
	}
	return bpf_map_lookup_elem(&pins, &key);
}

SEC("sk_reuseport/migrate")
int steer(struct sk_reuseport_md *ctx)
{
	bool migrating = ctx->migrating_sk != NULL;
	struct steer_slot_stats *s;
	struct steer_bucket bucket;
	struct steer_table *table;
	__u32 slot, current;

	/* A pin says where a connection is born; where it survives, the table says. */
	if (!migrating && control.pins) {
		__u32 *pin = pinned_slot(ctx);

		if (pin) {
			slot = *pin;
			if (bpf_sk_select_reuseport(ctx, &slots, &slot, 0))
				return refuse(true);
			s = stats_of(slot);
			if (s)
				s->pinned++;
			return SK_PASS;
		}
	}

	current = control.table & 1;
	table = bpf_map_lookup_elem(&tables, &current);
	if (!table)
		return refuse(false);
	bucket = table->buckets[ctx->hash & (STEER_BUCKETS - 1)];

	slot = bucket.primary;
	if (slot != STEER_NO_SLOT && !bpf_sk_select_reuseport(ctx, &slots, &slot, 0)) {
		s = stats_of(slot);
		if (s) {
			s->primary++;
			s->migrated += migrating;
		}
		return SK_PASS;
	}
	slot = bucket.backup;
	if (slot != STEER_NO_SLOT && !bpf_sk_select_reuseport(ctx, &slots, &slot, 0)) {
		s = stats_of(slot);
		if (s) {
			s->backup++;
			s->migrated += migrating;
		}
		return SK_PASS;
	}
	return refuse(false);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
