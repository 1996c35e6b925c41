/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * tap: the programs on the cgroup of one instance. They count its connections, make it share its
 * port, and notice when it changes the program of a reuseport group. They are loaded once per
 * service, whose maps they have. Which instance it is they know from what belongs to the cgroup.
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

#include "ebpf/pin.h"
#include "ebpf/tap_maps.h"

/* <sys/socket.h> cannot be included in a BPF program. */
#define AF_INET     2
#define AF_INET6    10
#define SOCK_STREAM 1

/* <linux/sched.h> of the kernel: the task is on its way through do_exit(). */
#define PF_EXITING 0x00000004

/* <linux/net.h> of the kernel, SOCK_NOSPACE. */
#define SOCKET_NOSPACE (1ULL << 2)

/*
 * Of a longer option the kernel shows programs only one page. A program must then set optlen to 0
 * ("use the option as the process gave it"), or setsockopt(2) fails. A page may be larger than
 * this; but 0 is right for any option that the program does not change.
 */
#define OPTION_MAX 4096

/* What this kernel lets be done. */
const volatile bool note_births;
const volatile struct tap_offsets offsets;
const volatile bool sharing; /* the programs at bind(2) can set SO_REUSEPORT */

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
	__type(key, __u64); /* the cgroup: one entry for all programs on it */
	__type(value, struct tap_instance);
} instances SEC(".maps");

/*
 * The instances whose last connection user space waits for. This is not a member of "counts": user
 * space can write an entry of that only as a whole, and would overwrite what is being counted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
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
	__uint(map_flags, BPF_F_NO_PREALLOC);
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

/* The client's ends of the connections that health checks are making. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TAP_PROBES_MAX);
	__type(key, struct steer_pin_key);
	__type(value, __u32);
} probes SEC(".maps");

static __always_inline const struct tap_instance *self(void)
{
	return bpf_get_local_storage(&instances, 0);
}

/* ---- health checks -------------------------------------------------------------------------- */

/*
 * Is it a health check's? Those connect from the very address that they connect to, so that other
 * connections need no look-up. A command of the operator's that connects to an address of
 * 127.0.0.0/8 does so from 127.0.0.1.
 */
static __always_inline bool is_probe(struct bpf_sock_ops *ctx)
{
	struct steer_pin_key key = {};
	__u32 *address = (__u32 *)key.address;

	if (ctx->family == AF_INET) {
		if (ctx->remote_ip4 != ctx->local_ip4 && ctx->remote_ip4 != bpf_htonl(0x7f000001))
			return false;
		address[2] = bpf_htonl(0xffff);
		address[3] = ctx->remote_ip4;
	} else {
		if (ctx->remote_ip6[3] != ctx->local_ip6[3] ||
		    ctx->remote_ip6[2] != ctx->local_ip6[2] ||
		    ctx->remote_ip6[1] != ctx->local_ip6[1] ||
		    ctx->remote_ip6[0] != ctx->local_ip6[0])
			return false;
		address[0] = ctx->remote_ip6[0];
		address[1] = ctx->remote_ip6[1];
		address[2] = ctx->remote_ip6[2];
		address[3] = ctx->remote_ip6[3];
	}
	key.port = bpf_htons((__u16)bpf_ntohl(ctx->remote_port));
	return bpf_map_lookup_elem(&probes, &key);
}

/* Remember that until its end. False: there is no room, so it counts like a client's. */
static __always_inline bool note_probe(struct bpf_sock_ops *ctx)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	tap_owner nobody = TAP_PROBE;

	return bpf_map_update_elem(&moved, &cookie, &nobody, BPF_ANY) == 0;
}

/* ---- counting ------------------------------------------------------------------------------- */

/* Without any, all are: an anchor's cgroup has no other sockets, and more come later. */
static __always_inline bool is_declared(const struct tap_instance *me, __u32 port)
{
	__u16 wanted = bpf_htons((__u16)port);
	__u32 n = me->n_endpoints;

	for (__u32 k = 0; k < TAP_LISTEN_MAX && k < n; k++)
		if (me->endpoints[k].port == wanted)
			return true;
	return n == 0;
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

static __always_inline void begin(struct bpf_sock_ops *ctx, tap_owner key)
{
	__u32 flags = ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG;
	struct tap_counts *c;

	/* Without this its end would not be seen: then do not count it at all. */
	if (bpf_sock_ops_cb_flags_set(ctx, (int)flags) < 0)
		return;
	if (is_probe(ctx) && note_probe(ctx))
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

/* Whose counters have the connection; NULL: nobody's. */
static __always_inline struct tap_counts *counts_of(struct bpf_sock_ops *ctx, tap_owner owner)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	tap_owner *new_owner = bpf_map_lookup_elem(&moved, &cookie);
	tap_owner whose = new_owner ? *new_owner : owner;

	return bpf_map_lookup_elem(&counts, &whose);
}

static __always_inline void end(struct bpf_sock_ops *ctx, tap_owner owner, __u32 from)
{
	__u32 flags = ctx->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_STATE_CB_FLAG;
	__u64 cookie = bpf_get_socket_cookie(ctx), closed;
	tap_owner *new_owner = bpf_map_lookup_elem(&moved, &cookie);
	tap_owner whose = new_owner ? *new_owner : owner;
	struct tap_counts *c = bpf_map_lookup_elem(&counts, &whose);

	/* The socket may be used again: connect(2) to AF_UNSPEC, and then to any address. */
	bpf_sock_ops_cb_flags_set(ctx, (int)flags);
	/* Few have an entry, and to delete one takes a lock, whether it is there or not. */
	if (new_owner)
		bpf_map_delete_elem(&moved, &cookie);
	if (!c)
		return;
	if (is_abort(from))
		__sync_fetch_and_add(&c->reset, 1);
	closed = __sync_fetch_and_add(&c->closed, 1) + 1;
	tell_zero(c, whose, closed);
}

/* ---- who ends it ---------------------------------------------------------------------------- */

static __always_inline __u64 read_wide(const void *object, __u32 offset)
{
	__u64 wide = 0;

	bpf_probe_read_kernel(&wide, sizeof(wide), object + offset);
	return wide;
}

static __always_inline __u32 read_word(const void *object, __u32 offset)
{
	__u32 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), object + offset);
	return word;
}

/*
 * Was the last word the client's? Both times are as coarse as the kernel's tick. If they are equal,
 * the client's acknowledgements tell: for what was sent after its data there is a later one, in a
 * segment that begins behind that data. Not if its FIN is there, which is behind the data, too.
 */
static __always_inline bool is_unanswered(struct bpf_sock_ops *ctx, const void *sk, __u32 from)
{
	__s32 later;

	if (ctx->data_segs_in == 0)
		return false;
	if (ctx->data_segs_out == 0)
		return true;
	if (!sk)
		return false;
	later = (__s32)(read_word(sk, offsets.received) - read_word(sk, offsets.sent));
	if (later != 0 || from != BPF_TCP_ESTABLISHED)
		return later > 0;
	return ctx->snd_una == ctx->snd_nxt && read_word(sk, offsets.heard) != ctx->rcv_nxt;
}

/*
 * Whoever closes an idle connection may meet the next request, unread or just read. Its client
 * repeats it (RFC 9112, 9.3.1). If a server closes a connection by itself, a request that it has
 * read in the last tick is taken for such a one. With a request unread close(2) goes to CLOSE, but
 * shutdown(2) does not.
 */
static __always_inline bool is_race(struct bpf_sock_ops *ctx, const void *sk, __u32 to,
				    bool exiting)
{
	if (ctx->data_segs_out == 0)
		return false;
	if (to == BPF_TCP_CLOSE)
		return true;
	if (exiting || !sk)
		return false;
	return read_word(sk, offsets.read) != ctx->rcv_nxt ||
	       (__u32)bpf_jiffies64() - read_word(sk, offsets.received) <= 1;
}

/*
 * Has the server tried to send more than the kernel had room for? poll(2) alone sets that bit, too,
 * for an answer that the kernel has in full. So this is asked only about a process that ends: a
 * server that closes by itself is believed.
 */
static __always_inline bool is_unsent(const void *sk)
{
	const void *socket = sk ? (const void *)read_wide(sk, offsets.sk_socket) : NULL;

	return socket && (read_wide(socket, offsets.socket_flags) & SOCKET_NOSPACE);
}

/*
 * The connection goes from @from to @to. Does one of the two sides begin to end it, and which? A
 * server that closes goes to FIN_WAIT1, or to LAST_ACK after its client: it is then the running
 * task that closes. CLOSE without an error of the socket is a server that closes with data unread.
 * With one the client has reset the connection, or no longer answers (tcp_reset(),
 * tcp_write_err()).
 *
 * A client that had closed its side may wait for an answer, or not; that is not known. Only if the
 * server's process ends is that taken for a connection that was cut.
 */
static __always_inline void note_end(struct bpf_sock_ops *ctx, tap_owner owner, __u32 from,
				     __u32 to)
{
	const void *sk = NULL, *task = NULL;
	struct tap_counts *c;
	bool exiting, cut;

	if (from != BPF_TCP_ESTABLISHED && from != BPF_TCP_CLOSE_WAIT)
		return;
	if (to != BPF_TCP_FIN_WAIT1 && to != BPF_TCP_LAST_ACK && to != BPF_TCP_CLOSE_WAIT &&
	    to != BPF_TCP_CLOSE)
		return;
	if (offsets.known && to != BPF_TCP_CLOSE_WAIT)
		task = (const void *)bpf_get_current_task();
	exiting = task && (read_word(task, offsets.task_flags) & PF_EXITING);
	/* The client has closed before, which was counted then: as a rule that is all. */
	if (from == BPF_TCP_CLOSE_WAIT && !exiting)
		return;
	c = counts_of(ctx, owner);
	if (!c)
		return;
	if (to == BPF_TCP_CLOSE_WAIT) {
		__sync_fetch_and_add(&c->by_client, 1);
		return;
	}
	if (offsets.known)
		sk = ctx->sk ? bpf_skc_to_tcp_sock(ctx->sk) : NULL;
	if (to == BPF_TCP_CLOSE && (!sk || read_word(sk, offsets.sk_err)))
		return;
	cut = (is_unanswered(ctx, sk, from) && !is_race(ctx, sk, to, exiting)) ||
	      (exiting && is_unsent(sk));
	if (from == BPF_TCP_CLOSE_WAIT) {
		if (!cut)
			return;
		__sync_fetch_and_add(&c->by_client, -1);
	}
	/*
	 * One of them. Without CAP_PERFMON the verifier takes no sum of a pointer and a variable:
	 * of an if and two elses the compiler would make one addition at a chosen offset.
	 */
	__sync_fetch_and_add(&c->cut, cut);
	__sync_fetch_and_add(&c->at_exit, !cut && exiting);
	__sync_fetch_and_add(&c->by_server, !cut && !exiting && to != BPF_TCP_CLOSE);
}

/* It does not listen yet: inet_listen() asks first. */
static __always_inline void tell_listen(struct bpf_sock_ops *ctx)
{
	const struct tap_instance *me = self();
	struct tap_event event = {.owner = me->owner, .type = TAP_LISTEN};

	if (me->n_endpoints > 0 && is_declared(me, ctx->local_port))
		bpf_ringbuf_output(&events, &event, sizeof(event), 0);
}

SEC("sockops")
int tap_sockops(struct bpf_sock_ops *ctx)
{
	const struct tap_instance *me;
	__u32 from;

	switch (ctx->op) {
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		me = self();
		if (is_declared(me, ctx->local_port))
			begin(ctx, me->owner);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		from = ctx->args[0];
		/*
		 * What has just been established is counted already. The others are no accepted
		 * connections: another program may have asked for their states.
		 */
		if (from == BPF_TCP_CLOSE || from == BPF_TCP_LISTEN || from == BPF_TCP_SYN_SENT ||
		    (from == BPF_TCP_SYN_RECV && ctx->args[1] == BPF_TCP_ESTABLISHED))
			break;
		/* On its way from its end's beginning to its end. */
		if (from != BPF_TCP_ESTABLISHED && from != BPF_TCP_CLOSE_WAIT &&
		    ctx->args[1] != BPF_TCP_CLOSE)
			break;
		me = self();
		if (!is_declared(me, ctx->local_port))
			break;
		note_end(ctx, me->owner, from, ctx->args[1]);
		if (ctx->args[1] == BPF_TCP_CLOSE)
			end(ctx, me->owner, from);
		break;
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		tell_listen(ctx);
		break;
	default:
		break;
	}
	return 1;
}

/* ---- telling who ---------------------------------------------------------------------------- */

static __always_inline void tell_who(enum tap_event_type type, __u32 endpoint)
{
	struct tap_event event = {
		.owner = self()->owner, .type = type, .endpoint = (__u16)endpoint};

	event.pid = (__u32)(bpf_get_current_pid_tgid() >> 32);
	bpf_get_current_comm(event.comm, sizeof(event.comm));
	bpf_ringbuf_output(&events, &event, sizeof(event), 0);
}

/* ---- sharing the port ----------------------------------------------------------------------- */

static __always_inline void share(struct bpf_sock_addr *ctx, const struct tap_instance *me)
{
	__u64 cookie;
	__u32 set = 1;
	int on = 0;

	if (!sharing || !me->sharing)
		return;
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

/* @to: what is bound. A port that the kernel is to choose is never in use. */
static __always_inline void note_bind(tap_owner owner, const __u32 to[4], __u16 port, __u16 family)
{
	struct tap_bind bind = {.port = port, .family = family};

	if (port == 0)
		return;
	__builtin_memcpy(bind.address, to, sizeof(bind.address));
	bind.uid = (__u32)bpf_get_current_uid_gid();
	bind.pid = (__u32)(bpf_get_current_pid_tgid() >> 32);
	bpf_get_current_comm(bind.comm, sizeof(bind.comm));
	bpf_map_update_elem(&binds, &owner, &bind, BPF_ANY);
}

/* Is there a declared endpoint with this address and port? *ret_no_ipv4: as it says. */
static __always_inline bool find_endpoint(const struct tap_instance *me, const __u32 address[4],
					  __u32 port, __u32 *ret_no_ipv4)
{
	__u32 n = me->n_endpoints;

	for (__u32 k = 0; k < TAP_LISTEN_MAX && k < n; k++) {
		const __u32 *a = (const __u32 *)me->endpoints[k].address;
		/* The verifier would follow each of five branches, in each turn. */
		__u32 differs = (me->endpoints[k].port ^ (__u16)port) | (a[0] ^ address[0]) |
				(a[1] ^ address[1]) | (a[2] ^ address[2]) | (a[3] ^ address[3]);

		if (!differs) {
			*ret_no_ipv4 = me->endpoints[k].no_ipv4;
			return true;
		}
	}
	return false;
}

/*
 * Of two listeners on an IPv4 address the kernel prefers the IPv4 socket to the IPv6 one
 * (inet_hashtables.c: compute_score()), whatever group and program they have. So an IPv4 socket
 * would take every connection away from instances that serve on IPv4-mapped ones, from its
 * listen(2) on, and nothing could steer that.
 */
SEC("cgroup/bind4")
int tap_bind4(struct bpf_sock_addr *ctx)
{
	const __u32 address[4] = {0, 0, bpf_htonl(0xffff), ctx->user_ip4};
	const struct tap_instance *me = self();
	__u32 no_ipv4;

	if (ctx->type != SOCK_STREAM)
		return 1;
	note_bind(me->owner, address, (__u16)ctx->user_port, AF_INET);
	if (!find_endpoint(me, address, ctx->user_port, &no_ipv4))
		return 1;
	if (no_ipv4) {
		tell_who(TAP_IPV4, no_ipv4 - 1);
		return 0;
	}
	share(ctx, me);
	return 1;
}

SEC("cgroup/bind6")
int tap_bind6(struct bpf_sock_addr *ctx)
{
	const __u32 address[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
				  ctx->user_ip6[3]};
	const struct tap_instance *me = self();
	__u32 no_ipv4;

	if (ctx->type != SOCK_STREAM)
		return 1;
	note_bind(me->owner, address, (__u16)ctx->user_port, AF_INET6);
	if (find_endpoint(me, address, ctx->user_port, &no_ipv4))
		share(ctx, me);
	return 1;
}

/* ---- who changes the program ---------------------------------------------------------------- */

SEC("cgroup/setsockopt")
int tap_setsockopt(struct bpf_sockopt *ctx)
{
	if (ctx->optlen > OPTION_MAX)
		ctx->optlen = 0;
	if (ctx->level != SOL_SOCKET)
		return 1;
	switch (ctx->optname) {
	case SO_ATTACH_REUSEPORT_CBPF:
	case SO_ATTACH_REUSEPORT_EBPF:
	case SO_DETACH_REUSEPORT_BPF:
		tell_who(TAP_PROGRAM, 0);
		break;
	default:
		break;
	}
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
