/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * inspect: which reuseport program stands on which listening socket.
 *
 * The kernel has no getsockopt for the program of a reuseport group, so this iterator ("iter/tcp",
 * Linux 5.9) reads it from the socket: for each listener that is in a group it writes one struct
 * inspect_record. It only reads, and is run only when user space asks.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "ebpf/inspect.h"

#define TCP_LISTEN 10

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct bpf_prog_aux {
	__u32 id;
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
struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
};
struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
};
#pragma clang attribute pop

SEC("iter/tcp")
int inspect(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct sock_reuseport *group;
	struct inspect_record record = {};

	if (!common || common->skc_state != TCP_LISTEN)
		return 0;
	/* A listener is a full socket, and struct sock begins with its sock_common. */
	group = BPF_CORE_READ((struct sock *)common, sk_reuseport_cb);
	if (!group)
		return 0;
	record.cookie = (__u64)BPF_CORE_READ(common, skc_cookie.counter);
	record.program_id = BPF_CORE_READ(group, prog, aux, id);
	record.members = BPF_CORE_READ(group, num_socks);
	record.port = BPF_CORE_READ(common, skc_num);
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
