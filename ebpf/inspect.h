/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * inspect: what inspect.bpf.c tells user space about a listener in a reuseport group. Fixed-width
 * types only, sizes asserted.
 */
#pragma once

#include <linux/types.h>

#define INSPECT_CLASSIC 0xffffffffu /* a classic BPF program, which has no id */

struct inspect_record {
	__u64 cookie;     /* SO_COOKIE */
	__u32 program_id; /* 0: the group has no program; or INSPECT_CLASSIC */
	__u32 members;    /* how many sockets the group has */
	char name[16];    /* of the program, as the kernel cuts it */
};

_Static_assert(sizeof(struct inspect_record) == 32, "inspect_record");

#define INSPECT_WATCHED_MAX 16384

/* A listener that is looked at again and again. */
struct inspect_watched {
	struct inspect_record record;
	__u64 walk; /* the number of the walk that has seen it last; 0: none has */
};

_Static_assert(sizeof(struct inspect_watched) == 40, "inspect_watched");
