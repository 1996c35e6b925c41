/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * tap_maps: the maps that tap.bpf.c and steer.bpf.c share. User space gives both programs the same
 * maps (bpf_map__reuse_fd()), so both must declare them alike.
 */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "ebpf/tap.h"

/* What each instance has counted. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TAP_INSTANCES_MAX);
	__type(key, tap_owner);
	__type(value, struct tap_counts);
} counts SEC(".maps");

/*
 * Connections, by cookie, that are not counted at the instance of their cgroup, and the instance
 * that they migrated to. 0: none, the connection waits at an anchor. TAP_PROBE: it is a health
 * check's.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TAP_MOVED_MAX);
	__type(key, __u64);
	__type(value, tap_owner);
} moved SEC(".maps");
