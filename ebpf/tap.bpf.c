/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * tap: the programs on the cgroup of one instance. They count its connections, make it share its
 * port, and notice when it changes the program of a reuseport group. They are loaded once per
 * instance, with its number in .rodata; the maps are those of its service.
 *
 * A cgroup's programs run for the sockets that its processes have made, and for the connections
 * that are established on these, whoever has them open later.
 */
#include <asm/socket.h>
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "ebpf/tap_maps.h"

/* <sys/socket.h> cannot be included in a BPF program. */
#define AF_INET     2
#define AF_INET6    10
#define SOCK_STREAM 1

/*
 * Of a longer option the kernel shows programs only one page. A program must then set optlen to 0
 * ("use the option as the process gave it"), or setsockopt(2) fails. A page may be larger than
 * this; but 0 is right for any option that the program does not change.
 */
#define OPTION_MAX 4096

const volatile tap_owner owner;
const volatile struct tap_endpoint endpoints[TAP_LISTEN_MAX];
const volatile __u32 n_endpoints;
const volatile bool note_births;
const volatile bool shares; /* the programs at bind(2) also set SO_REUSEPORT */

/*
 * The instances whose last connection user space waits for. This is not a member of "counts": user
 * space can write an entry of that only as a whole, and would overwrite what is being counted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TAP_INSTANCES_MAX);
	__type(key, tap_owner);
	__type(value, __u32);
} watched SEC(".maps");

/* The sockets, by cookie, for which share() has set SO_REUSEPORT. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, TAP_FORCED_MAX);
	__type(key, __u64);
	__type(value, __u32);
} forced SEC(".maps");

/*
 * What each instance has bound last. If that is refused, nobody else can tell what it was: the
 * server knows, and says "Address already in use".
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TAP_INSTANCES_MAX);
	__type(key, tap_owner);
	__type(value, struct tap_bind);
} binds SEC(".maps");

/* When a connection was established: bpf_ktime_get_ns(). The entry goes with the connection. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} births SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, TAP_EVENTS_SIZE);
} events SEC(".maps");

/* ---- counting ------------------------------------------------------------------------------- */

static __always_inline bool is_declared(__u32 port)
{
	__u16 wanted = bpf_htons((__u16)port);

	for (__u32 k = 0; k < TAP_LISTEN_MAX && k < n_endpoints; k++)
		if (endpoints[k].port == wanted)
			return true;
	return false;
}

static __always_inline void note_birth(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	__u64 *born;

	if (!sk)
		return;
	born = bpf_sk_storage_get(&births, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (born)
		*born = bpf_ktime_get_ns();
}

static __always_inline void begin(struct bpf_sock_ops *ctx)
{
	__u32 flags = ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG;
	tap_owner key = owner;
	struct tap_counts *c;

	/* Without this its end would not be seen: then do not count it at all. */
	if (bpf_sock_ops_cb_flags_set(ctx, (int)flags) < 0)
		return;
	c = bpf_map_lookup_elem(&counts, &key);
	if (c)
		__sync_fetch_and_add(&c->accepted, 1);
	if (note_births)
		note_birth(ctx);
}

/*
 * Was the end of a connection not orderly? The state before CLOSE tells. A connection that either
 * side resets, or whose peer no longer answers, goes to CLOSE from wherever it is. FIN_WAIT2,
 * CLOSING and LAST_ACK tell nothing: an orderly end goes to CLOSE from these, too (tcp_time_wait()
 * and tcp_rcv_state_process() call tcp_done()).
 */
static __always_inline bool is_abort(__u32 from)
{
	return from != BPF_TCP_FIN_WAIT2 && from != BPF_TCP_CLOSING && from != BPF_TCP_LAST_ACK &&
	       from != BPF_TCP_TIME_WAIT;
}

/*
 * If no connection of @whose is left and user space waits for that, tell it. Three things make sure
 * that it is told:
 *
 *	Connections end on several CPUs at once. The CPU that counts the last end sees all earlier
 *	ends, because the addition that returned @closed is fully ordered.
 *
 *	Ends are read before beginnings. So a connection that moves meanwhile is seen as one too
 *	many, never as one too few.
 *
 *	User space first sets "watched" and then looks at the counts. Here the counts are written
 *	first and "watched" is read then. So at least one of the two sees that none is left.
 */
static __always_inline void tell_zero(struct tap_counts *c, tap_owner whose, __u64 closed)
{
	volatile struct tap_counts *now = c;
	__u64 gone = closed + now->moved_out;
	__u64 came = now->moved_in + now->accepted;
	struct tap_event event = {.owner = whose, .type = TAP_ZERO};

	if (gone >= came && bpf_map_lookup_elem(&watched, &whose))
		bpf_ringbuf_output(&events, &event, sizeof(event), 0);
}

static __always_inline void end(struct bpf_sock_ops *ctx, __u32 from)
{
	__u32 flags = ctx->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_STATE_CB_FLAG;
	__u64 cookie = bpf_get_socket_cookie(ctx), closed;
	tap_owner whose = owner, *new_owner;
	struct tap_counts *c;

	/* The socket may be used again: connect(2) to AF_UNSPEC, and then to any address. */
	bpf_sock_ops_cb_flags_set(ctx, (int)flags);
	new_owner = bpf_map_lookup_elem(&moved, &cookie);
	if (new_owner) {
		whose = *new_owner;
		bpf_map_delete_elem(&moved, &cookie);
	}
	c = bpf_map_lookup_elem(&counts, &whose);
	if (!c)
		return;
	if (is_abort(from))
		__sync_fetch_and_add(&c->reset, 1);
	closed = __sync_fetch_and_add(&c->closed, 1) + 1;
	tell_zero(c, whose, closed);
}

SEC("sockops")
int tap_sockops(struct bpf_sock_ops *ctx)
{
	__u32 from;

	switch (ctx->op) {
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		if (is_declared(ctx->local_port))
			begin(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] != BPF_TCP_CLOSE)
			break;
		/* It was no accepted connection: another program may have asked for its states. */
		from = ctx->args[0];
		if (from == BPF_TCP_CLOSE || from == BPF_TCP_LISTEN || from == BPF_TCP_SYN_SENT)
			break;
		if (is_declared(ctx->local_port))
			end(ctx, from);
		break;
	default:
		break;
	}
	return 1;
}

/* ---- sharing the port ----------------------------------------------------------------------- */

static __always_inline void share(struct bpf_sock_addr *ctx)
{
	__u64 cookie;
	__u32 set = 1;
	int on = 0;

	bpf_getsockopt(ctx, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (on)
		return;
	on = 1;
	/* If this fails, bind(2) will: the port is in use. */
	if (bpf_setsockopt(ctx, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)))
		return;
	cookie = bpf_get_socket_cookie(ctx);
	bpf_map_update_elem(&forced, &cookie, &set, BPF_ANY);
}

/* @bind: with its address. A port that the kernel is to choose is never in use. */
static __always_inline void note_bind(struct tap_bind *bind)
{
	tap_owner key = owner;

	if (bind->to.port == 0)
		return;
	bind->uid = (__u32)bpf_get_current_uid_gid();
	bind->pid = (__u32)(bpf_get_current_pid_tgid() >> 32);
	bpf_get_current_comm(bind->comm, sizeof(bind->comm));
	bpf_map_update_elem(&binds, &key, bind, BPF_ANY);
}

SEC("cgroup/bind4")
int tap_bind4(struct bpf_sock_addr *ctx)
{
	__u32 address = ctx->user_ip4;
	__u16 port = (__u16)ctx->user_port;
	struct tap_bind bind = {.to = {.port = port, .family = AF_INET}};

	if (ctx->type != SOCK_STREAM)
		return 1;
	bind.to.address[10] = bind.to.address[11] = 0xff;
	__builtin_memcpy(bind.to.address + 12, &address, sizeof(address));
	note_bind(&bind);
	if (!shares)
		return 1;
	for (__u32 k = 0; k < TAP_LISTEN_MAX && k < n_endpoints; k++) {
		const volatile struct tap_endpoint *e = &endpoints[k];

		if (e->family == AF_INET && e->port == port &&
		    *(const volatile __u32 *)(e->address + 12) == address) {
			share(ctx);
			break;
		}
	}
	return 1;
}

SEC("cgroup/bind6")
int tap_bind6(struct bpf_sock_addr *ctx)
{
	__u32 a0 = ctx->user_ip6[0], a1 = ctx->user_ip6[1];
	__u32 a2 = ctx->user_ip6[2], a3 = ctx->user_ip6[3];
	__u16 port = (__u16)ctx->user_port;
	struct tap_bind bind = {.to = {.port = port, .family = AF_INET6}};

	if (ctx->type != SOCK_STREAM)
		return 1;
	__builtin_memcpy(bind.to.address, &a0, sizeof(a0));
	__builtin_memcpy(bind.to.address + 4, &a1, sizeof(a1));
	__builtin_memcpy(bind.to.address + 8, &a2, sizeof(a2));
	__builtin_memcpy(bind.to.address + 12, &a3, sizeof(a3));
	note_bind(&bind);
	if (!shares)
		return 1;
	for (__u32 k = 0; k < TAP_LISTEN_MAX && k < n_endpoints; k++) {
		const volatile __u32 *a = (const volatile __u32 *)endpoints[k].address;

		if (endpoints[k].family == AF_INET6 && endpoints[k].port == port && a[0] == a0 &&
		    a[1] == a1 && a[2] == a2 && a[3] == a3) {
			share(ctx);
			break;
		}
	}
	return 1;
}

/* ---- who changes the program ---------------------------------------------------------------- */

SEC("cgroup/setsockopt")
int tap_setsockopt(struct bpf_sockopt *ctx)
{
	struct tap_event event = {.owner = owner, .type = TAP_PROGRAM};

	if (ctx->optlen > OPTION_MAX)
		ctx->optlen = 0;
	if (ctx->level != SOL_SOCKET)
		return 1;
	switch (ctx->optname) {
	case SO_ATTACH_REUSEPORT_CBPF:
	case SO_ATTACH_REUSEPORT_EBPF:
	case SO_DETACH_REUSEPORT_BPF:
		event.pid = (__u32)(bpf_get_current_pid_tgid() >> 32);
		bpf_get_current_comm(event.comm, sizeof(event.comm));
		bpf_ringbuf_output(&events, &event, sizeof(event), 0);
		break;
	default:
		break;
	}
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
