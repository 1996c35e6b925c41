/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * cross: what cross.bpf.c and user space share. Fixed-width types only, sizes asserted.
 */
#pragma once

#include <linux/types.h>

#include "ebpf/pin.h"

#define CROSS_LAYOUT 1 /* of the maps that are pinned, as in ebpf/steer.h */

#define CROSS_ALL  1024 /* of so many connections .share goes to the second side */
#define CROSS_PINS 2048 /* all that two endpoints can have */

/* What both endpoints have: connections to this address and port. */
struct cross_destination {
	__u32 family; /* AF_INET or AF_INET6, as the client's packets have it */
	__u32 port;   /* host byte order */
	__u32 any;    /* not 0: every address of the family */
	__u32 ip[4];  /* network byte order; an IPv4 address is ip[0] */
};

/* In the program's .data, memory-mapped by user space. Pinned: see steer.h. */
struct cross_control {
	__u32 share;  /* of CROSS_ALL, those that go to the second side */
	__u32 pins;   /* entries in the pins map; 0 saves the lookup */
	__u32 sticky; /* not 0: the source address alone chooses the side */
	__u32 zero;
};

_Static_assert(sizeof(struct cross_destination) == 28, "cross_destination");
_Static_assert(sizeof(struct cross_control) == 16, "cross_control");
