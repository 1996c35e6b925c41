/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * inspect: finds out which program a listening socket's reuseport group has.
 *
 * The kernel has no getsockopt for that, so this iterator ("iter/tcp", Linux 5.9) reads it from the
 * socket. User space sets the listener that it wants, or that it wants those that it watches, and
 * reads the answer from global variables: an iterator that ends early may lose what it has written
 * to its file.
 *
 * It must end early. The kernel walks the listeners first and then every connection. In the second
 * walk it takes references to half-open connections that another CPU is just making
 * (bpf_iter_tcp_established_batch() against reqsk_queue_hash_req(); seen on 6.18: "refcount_t:
 * addition on 0; use-after-free"). To return 1 means "show this one again later", and ends the
 * read.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "ebpf/inspect.h"

#define TCP_LISTEN 10

enum { GO_ON, STOP };

__u64 wanted;                /* SO_COOKIE of the listener; 0: all that are watched */
struct inspect_record found; /* .cookie 0: the listener was not found */

/*
 * If those that are watched are wanted: the number of this walk, and how many it has yet to find.
 * Once it has all it ends.
 */
__u64 walk;
__u32 missing;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, INSPECT_WATCHED_MAX);
	__type(key, __u64); /* SO_COOKIE */
	__type(value, struct inspect_watched);
} watched SEC(".maps");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct bpf_prog_aux {
	__u32 id;
	char name[16];
};
struct bpf_prog {
	struct bpf_prog_aux *aux;
};
struct sock_reuseport {
	__u16 num_socks;
	struct bpf_prog *prog;
};
typedef struct {
	__s64 counter;
} atomic64_t;
struct sock_common {
	unsigned char skc_state;
	__u16 skc_num;
	atomic64_t skc_cookie;
};
struct sock {
	struct sock_common __sk_common;
	struct sock_reuseport *sk_reuseport_cb;
};
struct bpf_iter__tcp {
	struct sock_common *sk_common;
};
#pragma clang attribute pop

/* False: the socket is in no group. */
static __always_inline bool look(struct sock_common *common, struct inspect_record *ret)
{
	/* A listener is a full socket, and struct sock begins with a sock_common. */
	struct sock_reuseport *group = BPF_CORE_READ((struct sock *)common, sk_reuseport_cb);

	if (!group)
		return false;
	ret->program_id = BPF_CORE_READ(group, prog, aux, id);
	if (ret->program_id == 0 && BPF_CORE_READ(group, prog))
		ret->program_id = INSPECT_CLASSIC;
	ret->name[0] = '\0';
	BPF_CORE_READ_STR_INTO(&ret->name, group, prog, aux, name);
	ret->members = BPF_CORE_READ(group, num_socks);
	return true;
}

static __always_inline int look_at_watched(struct sock_common *common, __u64 cookie)
{
	struct inspect_watched *is = bpf_map_lookup_elem(&watched, &cookie);

	if (!is)
		return GO_ON;
	is->record.cookie = look(common, &is->record) ? cookie : 0;
	is->walk = walk;
	return missing-- <= 1 ? STOP : GO_ON;
}

SEC("iter/tcp")
int inspect(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	__u64 cookie;

	if (!common)
		return GO_ON;
	if (common->skc_state != TCP_LISTEN)
		return STOP;
	cookie = (__u64)BPF_CORE_READ(common, skc_cookie.counter);
	if (!wanted)
		return look_at_watched(common, cookie);
	if (cookie != wanted)
		return GO_ON;
	if (look(common, &found))
		found.cookie = wanted;
	return STOP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
