/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * tap: what tap.bpf.c, steer.bpf.c and user space share: how many connections each instance has,
 * also after migrations. Fixed-width types only, sizes asserted.
 */
#pragma once

#include <linux/types.h>

#define TAP_LISTEN_MAX    16    /* declared endpoints of a service */
#define TAP_INSTANCES_MAX 1024  /* of a service, in all generations that are alive */
#define TAP_MOVED_MAX     65536 /* migrated connections that have not ended yet */
#define TAP_FORCED_MAX    1024  /* sockets that were made to share their port */
#define TAP_EVENTS_SIZE   16384 /* bytes of the ring buffer; pages, and a power of two */

/* An instance: generation << 32 | index. 0 is nobody: generations count from 1. */
typedef __u64 tap_owner;

/*
 * The connections of one instance. A connection counts as accepted at the instance where it was
 * established. If its listener closes before accept(2), it migrates: it counts as moved out there,
 * and as moved in at the instance that it goes to. accepted + moved_in - moved_out - closed are
 * alive.
 */
struct tap_counts {
	__u64 accepted;
	__u64 closed;
	__u64 reset; /* of closed: ended without an orderly end, by either side */
	__u64 moved_in;
	__u64 moved_out;
};

/* A declared endpoint, for the programs at bind(2). IPv4 addresses are IPv4-mapped. */
struct tap_endpoint {
	__u8 address[16];
	__u16 port;   /* network byte order */
	__u16 family; /* AF_INET or AF_INET6 */
};

enum tap_event_type {
	TAP_ZERO,    /* a watched instance has no connection left */
	TAP_PROGRAM, /* a process of the instance changes a group's program, or tries to */
};

/* In the ring buffer. */
struct tap_event {
	tap_owner owner;
	__u32 type;    /* enum tap_event_type */
	__u32 pid;     /* TAP_PROGRAM: who */
	char comm[16]; /* TAP_PROGRAM: its name */
};

/* The last bind(2) of a stream socket to a port by a process of an instance, as it was asked for.
 */
struct tap_bind {
	struct tap_endpoint to;
	__u32 uid; /* real user id, of the initial user namespace */
	__u32 pid; /* of the initial PID namespace */
	char comm[16];
};

_Static_assert(sizeof(struct tap_counts) == 40, "tap_counts");
_Static_assert(sizeof(struct tap_endpoint) == 20, "tap_endpoint");
_Static_assert(sizeof(struct tap_event) == 32, "tap_event");
_Static_assert(sizeof(struct tap_bind) == 44, "tap_bind");
