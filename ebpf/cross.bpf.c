/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * cross: chooses between two endpoints that compete for the same connections, "127.0.0.1:80" and
 * "0.0.0.0:80", while a service goes from one to the other.
 *
 * They are two reuseport groups. Left alone, the kernel gives the connection to the group of the
 * more specific address as soon as anything listens there (compute_score() in
 * net/ipv4/inet_hashtables.c). This program runs before that lookup, for each SYN of the network
 * namespace, and for the ACK that completes a handshake by SYN cookie. It assigns a socket of the
 * group that is to have the connection; the group's own program (steer.bpf.c) then chooses among
 * the group, since BPF_SK_LOOKUP_F_NO_REUSEPORT is not set (inet_lookup_run_sk_lookup()).
 *
 * It is attached only as long as both endpoints are open.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "ebpf/cross.h"
#include "ebpf/mix.h"

#define AF_INET  2
#define AF_INET6 10

const volatile struct cross_destination destination = {};

/*
 * A listening socket of each side's group, which is in no slot. It is the daemon's, and those have
 * duplicates of it who outlive the daemon. The kernel empties the place of one that is closed.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} beacons SEC(".maps");

/* Health checks: which side they ask. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CROSS_PINS);
	__type(key, struct steer_pin_key);
	__type(value, __u32);
} pins SEC(".maps");

volatile struct cross_control control SEC(".data.control");

static __always_inline bool is_for_both(const struct bpf_sk_lookup *ctx)
{
	if (ctx->protocol != IPPROTO_TCP || ctx->local_port != destination.port ||
	    ctx->family != destination.family)
		return false;
	if (destination.any)
		return true;
	if (ctx->family == AF_INET) {
		__u32 local = ctx->local_ip4;

		barrier(); /* as in load_source() */
		return local == destination.ip[0];
	}
	return ctx->local_ip6[0] == destination.ip[0] && ctx->local_ip6[1] == destination.ip[1] &&
	       ctx->local_ip6[2] == destination.ip[2] && ctx->local_ip6[3] == destination.ip[3];
}

static __always_inline void load_source(const struct bpf_sk_lookup *ctx, struct steer_pin_key *ret)
{
	__u32 *address = (__u32 *)ret->address;

	if (ctx->family == AF_INET) {
		address[2] = bpf_htonl(0xffff);
		address[3] = ctx->remote_ip4;
		/* Otherwise the compiler joins this load with the last one by a computed offset. */
		barrier();
	} else {
		address[0] = ctx->remote_ip6[0];
		address[1] = ctx->remote_ip6[1];
		address[2] = ctx->remote_ip6[2];
		address[3] = ctx->remote_ip6[3];
	}
	ret->port = ctx->remote_port;
}

/*
 * The same for each packet of a connection. These are the upper bits: by the lower ones a sticky
 * endpoint chooses its bucket, so each side still fills all of its buckets.
 */
static __always_inline __u32 hash_source(const struct steer_pin_key *source)
{
	__u32 hash = mix_address((const __u32 *)source->address);

	if (!control.sticky)
		hash = mix(hash ^ source->port);
	return hash >> 22;
}

static __always_inline __u32 choose_side(const struct bpf_sk_lookup *ctx)
{
	struct steer_pin_key source = {};
	__u32 share = control.share, *pinned;

	load_source(ctx, &source);
	if (control.pins) {
		pinned = bpf_map_lookup_elem(&pins, &source);
		if (pinned)
			return *pinned;
	}
	if (share == 0 || share >= CROSS_ALL)
		return share != 0;
	return hash_source(&source) < share;
}

/* If the group cannot be found, the kernel looks as ever. */
SEC("sk_lookup")
int cross(struct bpf_sk_lookup *ctx)
{
	struct bpf_sock *sk;
	__u32 side;

	if (!is_for_both(ctx))
		return SK_PASS;
	side = choose_side(ctx);
	sk = bpf_map_lookup_elem(&beacons, &side);
	if (!sk)
		return SK_PASS;
	bpf_sk_assign(ctx, sk, BPF_SK_LOOKUP_F_REPLACE);
	bpf_sk_release(sk);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
