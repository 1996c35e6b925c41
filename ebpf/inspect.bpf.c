/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * inspect: finds out which program a listening socket's reuseport group has.
 *
 * The kernel has no getsockopt for that, so this iterator ("iter/tcp", Linux 5.9) reads it from the
 * socket. User space sets the listener that it wants, and reads the answer from a global variable:
 * an iterator that ends early may lose what it has written to its file.
 *
 * It must end early. The kernel walks the listeners first and then every connection. In the second
 * walk it takes references to half-open connections that another CPU is just making
 * (bpf_iter_tcp_established_batch() against reqsk_queue_hash_req(); seen on 6.18: "refcount_t:
 * addition on 0; use-after-free"). To return 1 means "show this one again later", and ends the
 * read.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "ebpf/inspect.h"

#define TCP_LISTEN 10

enum { GO_ON, STOP };

__u64 wanted;                /* SO_COOKIE of the listener; never 0 */
struct inspect_record found; /* .cookie 0: the listener was not found */

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

SEC("iter/tcp")
int inspect(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct sock_reuseport *group;

	if (!common)
		return GO_ON;
	if (common->skc_state != TCP_LISTEN)
		return STOP;
	if ((__u64)BPF_CORE_READ(common, skc_cookie.counter) != wanted)
		return GO_ON;
	/* A listener is a full socket, and struct sock begins with a sock_common. */
	group = BPF_CORE_READ((struct sock *)common, sk_reuseport_cb);
	if (!group)
		return STOP;
	found.program_id = BPF_CORE_READ(group, prog, aux, id);
	if (found.program_id == 0 && BPF_CORE_READ(group, prog))
		found.program_id = INSPECT_CLASSIC;
	found.name[0] = '\0';
	BPF_CORE_READ_STR_INTO(&found.name, group, prog, aux, name);
	found.members = BPF_CORE_READ(group, num_socks);
	found.cookie = wanted;
	return STOP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
