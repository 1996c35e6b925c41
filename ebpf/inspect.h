/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * inspect: the record that inspect.bpf.c writes for each listener in a reuseport group.
 */
#pragma once

#include <linux/types.h>

struct inspect_record {
	__u64 cookie;     /* SO_COOKIE; 0 where nobody has asked for it yet */
	__u32 program_id; /* 0: the group has no program */
	__u16 members;
	__u16 port;
};

_Static_assert(sizeof(struct inspect_record) == 16, "inspect_record");
