/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * adopt: what adopt.bpf.c, steer.bpf.c and user space share: the connections of each instance, and
 * whose they are after a migration. Fixed-width types only, sizes asserted.
 */
#pragma once

#include <linux/types.h>

#define ADOPT_LISTEN_MAX    16    /* declared endpoints of a service */
#define ADOPT_INSTANCES_MAX 1024  /* of all generations that are alive */
#define ADOPT_MOVED_MAX     65536 /* migrated connections that have not ended yet */
#define ADOPT_FORCED_MAX    1024  /* sockets that were made to share their port */
#define ADOPT_EVENTS_SIZE   16384 /* bytes of the ring buffer; pages, and a power of two */

/* An instance: generation << 32 | index. 0 is nobody: generations count from 1. */
typedef __u64 adopt_owner;

/*
 * The connections of one instance. A connection is counted as accepted where it was established;
 * where its listener closes before accept(2) it migrates, and is counted as moved out there and
 * moved in where it went. accepted + moved_in - moved_out - closed are alive.
 */
struct adopt_counts {
	__u64 accepted;
	__u64 closed;
	__u64 reset; /* of closed: ended without an orderly end, by either side */
	__u64 moved_in;
	__u64 moved_out;
};

/* A declared endpoint, for the bind hook. IPv4 addresses are IPv4-mapped. */
struct adopt_endpoint {
	__u8 address[16];
	__u16 port;   /* network byte order */
	__u16 family; /* AF_INET or AF_INET6 */
};

enum adopt_event_type {
	ADOPT_ZERO,    /* a watched instance has no connection left */
	ADOPT_PROGRAM, /* a process of the instance changes a group's program, or tries to */
};

/* In the ring buffer. */
struct adopt_event {
	adopt_owner owner;
	__u32 type;    /* enum adopt_event_type */
	__u32 pid;     /* ADOPT_PROGRAM: who */
	char comm[16]; /* ADOPT_PROGRAM: its name */
};

_Static_assert(sizeof(struct adopt_counts) == 40, "adopt_counts");
_Static_assert(sizeof(struct adopt_endpoint) == 20, "adopt_endpoint");
_Static_assert(sizeof(struct adopt_event) == 32, "adopt_event");
