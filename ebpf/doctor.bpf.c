/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * doctor: for each kind of BPF program that baton needs, the smallest one. "baton doctor" loads
 * them one at a time: if the kernel refuses one, it lacks that kind.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

/* As in asm-generic/socket.h; <sys/socket.h> cannot be included in a BPF program. */
#define SOL_SOCKET   1
#define SO_REUSEPORT 15

#define TCP_CLOSE 7

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");

volatile __u32 choice; /* the slot that gets everything */

/* How often the sockops program has seen each. */
volatile __u32 listened, accepted, closed;

static __always_inline int select(struct sk_reuseport_md *ctx)
{
	__u32 slot = choice;

	return bpf_sk_select_reuseport(ctx, &sockets, &slot, 0) ? SK_DROP : SK_PASS;
}

SEC("sk_reuseport")
int doctor_select(struct sk_reuseport_md *ctx)
{
	return select(ctx);
}

SEC("sk_reuseport/migrate")
int doctor_migrate(struct sk_reuseport_md *ctx)
{
	return select(ctx);
}

static __always_inline int share(struct bpf_sock_addr *ctx)
{
	int one = 1;

	/* If this fails, bind(2) will: the port is in use. */
	bpf_setsockopt(ctx, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	return 1;
}

SEC("cgroup/bind4")
int doctor_bind4(struct bpf_sock_addr *ctx)
{
	return share(ctx);
}

SEC("cgroup/bind6")
int doctor_bind6(struct bpf_sock_addr *ctx)
{
	return share(ctx);
}

SEC("sockops")
int doctor_count(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		__sync_fetch_and_add(&listened, 1);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		__sync_fetch_and_add(&accepted, 1);
		bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] == TCP_CLOSE)
			__sync_fetch_and_add(&closed, 1);
		break;
	default:
		break;
	}
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
