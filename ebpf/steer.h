/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * steer: what steer.bpf.c and user space share. Fixed-width types only, sizes asserted.
 */
#pragma once

#include <linux/types.h>

#include "ebpf/pin.h"

#define STEER_BUCKETS 1024 /* of a table; a power of two */
#define STEER_SLOTS   1024 /* listening sockets of an endpoint at a time, at most */
#define STEER_PINS    1024 /* pins of an endpoint at a time: health checks under way */
#define STEER_NO_SLOT 0xffff

/*
 * Layout of the pinned maps: its version, which is pinned beside them (earlier.h). A daemon takes
 * over those that fit, map by map, and "slots" whatever the version is: a socket fits into one
 * socket array only. How many slots there are it reads from that map: its entries but one, or all
 * that tables can name. Behind them is the anchor's slot. Earlier versions had 256, and
 * "slot_stats" in an array.
 *
 * A number in a map that means something else than before, or is at another place, is another
 * layout, also if no size has changed.
 */
#define STEER_LAYOUT 1

/* Where the connections of one bucket go. */
struct steer_bucket {
	__u16 primary;
	__u16 backup; /* if the primary's socket is gone */
};

struct steer_table {
	struct steer_bucket buckets[STEER_BUCKETS];
};

/* Per slot. Each connection is counted once, in the slot that it was sent to. */
struct steer_slot_stats {
	__u64 primary;  /* as the current table says */
	__u64 backup;   /* because the primary's socket was gone */
	__u64 pinned;   /* as a pin says: health checks */
	__u64 migrated; /* from a listener that closed; also counted as primary or backup */
};

/* Per endpoint. */
struct steer_stats {
	__u64 refused;       /* nothing could take it */
	__u64 pinned_failed; /* health checks refused: no socket in the slot, or it closed */
	__u64 held;          /* nothing could take it: it waits at the anchor */
};

/* In the program's .data, memory-mapped by user space. */
struct steer_control {
	__u32 table;  /* which of the two tables is current; one store flips it */
	__u32 pins;   /* entries in the pins map; 0 saves the lookup */
	__u32 sticky; /* not 0: the source address alone chooses the bucket */
	__u32 hold;   /* not 0: a connection that no slot can take waits at the anchor */
};

_Static_assert(sizeof(struct steer_bucket) == 4, "steer_bucket");
_Static_assert(sizeof(struct steer_table) == 4 * STEER_BUCKETS, "steer_table");
_Static_assert(sizeof(struct steer_slot_stats) == 32, "steer_slot_stats");
_Static_assert(sizeof(struct steer_stats) == 24, "steer_stats");
_Static_assert(sizeof(struct steer_control) == 16, "steer_control");
