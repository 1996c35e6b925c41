/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * adopt_maps: the maps that adopt.bpf.c and steer.bpf.c share. User space gives both programs the
 * same ones (bpf_map__reuse_fd()), so they must be declared alike.
 */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "ebpf/adopt.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ADOPT_INSTANCES_MAX);
	__type(key, adopt_owner);
	__type(value, struct adopt_counts);
} counts SEC(".maps");

/*
 * Connections, by cookie, that have gone to another owner than that of their listener. 0: nobody's,
 * it waits at an anchor that is not counted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, ADOPT_MOVED_MAX);
	__type(key, __u64);
	__type(value, adopt_owner);
} moved SEC(".maps");
