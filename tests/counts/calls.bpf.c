/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * calls: counts the system calls of one network namespace, by the name of the thread that makes
 * them and by their number. tests/integration/counts.py loads it and reads what it has counted.
 *
 * Whoever is counted is not slowed down and not stopped, as by a tracer: so what waits for a time
 * waits as often as it does for users.
 */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define TASKS_MAX 16384
#define CALLS_MAX 16384

/* The kernel's, as far as they are needed: libbpf finds out where each field is. */
struct ns_common {
	unsigned int inum;
} __attribute__((preserve_access_index));
struct net {
	struct ns_common ns;
} __attribute__((preserve_access_index));
struct nsproxy {
	struct net *net_ns;
} __attribute__((preserve_access_index));
struct task_struct {
	struct nsproxy *nsproxy;
} __attribute__((preserve_access_index));

struct call {
	char thread[16];
	__u64 number;
};

struct count {
	__u64 calls;
	__u64 returned; /* the sum of what they have returned, but for errors: bytes, of write(2) */
};

/* The inode of the network namespace, in its first element. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} chosen SEC(".maps");

/* Thread -> the call that it is in. One that never returns is forgotten sooner or later. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, TASKS_MAX);
	__type(key, __u64);
	__type(value, __u64);
} inside SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CALLS_MAX);
	__type(key, struct call);
	__type(value, struct count);
} counts SEC(".maps");

static _Bool is_chosen(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 zero = 0;
	__u64 *wanted = bpf_map_lookup_elem(&chosen, &zero);

	return wanted && BPF_CORE_READ(task, nsproxy, net_ns, ns.inum) == *wanted;
}

static struct count *count_of(__u64 number)
{
	static const struct count none;
	struct call call = {.number = number};
	struct count *found;

	bpf_get_current_comm(call.thread, sizeof(call.thread));
	found = bpf_map_lookup_elem(&counts, &call);
	if (found)
		return found;
	bpf_map_update_elem(&counts, &call, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&counts, &call);
}

SEC("raw_tp/sys_enter")
int enter(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid(), number = ctx->args[1];
	struct count *count;

	if (!is_chosen())
		return 0;
	bpf_map_update_elem(&inside, &thread, &number, BPF_ANY);
	count = count_of(number);
	if (count)
		__sync_fetch_and_add(&count->calls, 1);
	return 0;
}

SEC("raw_tp/sys_exit")
int leave(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__s64 result = (__s64)ctx->args[1];
	struct count *count;
	__u64 *number;

	if (result <= 0 || !is_chosen())
		return 0;
	number = bpf_map_lookup_elem(&inside, &thread);
	count = number ? count_of(*number) : NULL;
	if (count)
		__sync_fetch_and_add(&count->returned, (__u64)result);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
