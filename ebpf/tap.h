/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * tap: what tap.bpf.c, steer.bpf.c and user space share: how many connections each instance has,
 * also after migrations. Fixed-width types only, sizes asserted.
 */
#pragma once

#include <linux/types.h>

#define TAP_LISTEN_MAX    16    /* declared endpoints of a service */
#define TAP_INSTANCES_MAX 4097  /* of a service, in all generations that are alive; an anchor */
#define TAP_MOVED_MAX     65536 /* migrated connections that have not ended yet */
#define TAP_FORCED_MAX    1024  /* sockets that were made to share their port */
#define TAP_EVENTS_SIZE   16384 /* bytes of the ring buffer; pages, and a power of two */

/*
 * The layout of the maps that are pinned, as in ebpf/steer.h. Those that have room for fewer
 * entries are of the same layout.
 */
#define TAP_LAYOUT 1

/* An instance: generation << 32 | index. 0 is nobody: generations count from 1. */
typedef __u64 tap_owner;

/* Whose a connection is that a health check has made: it is in nobody's counts. */
#define TAP_PROBE ((tap_owner)-1)

/* Health checks of a service that are under way at a time; more are counted like clients. */
#define TAP_PROBES_MAX 4096

/*
 * The connections of one instance. A connection counts as accepted at the instance where it was
 * established. If its listener closes before accept(2), it migrates: it counts as moved out there,
 * and as moved in at the instance that it goes to. accepted + moved_in - moved_out - closed are
 * alive.
 *
 * The last four tell who began to end a connection, at that moment; each counts in one of them at
 * most, and in none if the client has reset it. It is closed later, when the kernel is done with
 * both sides. See tap_offsets for what is counted if the kernel lets less be read.
 */
struct tap_counts {
	__u64 accepted;
	__u64 closed;
	__u64 reset; /* of closed: ended without an orderly end, by either side */
	__u64 moved_in;
	__u64 moved_out;
	__u64 by_client; /* the client closed first */
	__u64 by_server; /* the server did, and had answered all that it was asked */
	__u64 cut;       /* the server did, and owed an answer, or more of one */
	__u64 at_exit;   /* as by_server, but a process that ended has not closed it before */
};

/*
 * Where the kernel keeps what the program reads to tell who has ended a connection. Offsets in
 * bytes, of the running kernel (its BTF). With .known 0, or without CAP_PERFMON, the program reads
 * none of them: then at_exit stays 0, and cut counts only connections that never got an answer.
 */
struct tap_offsets {
	__u32 known;
	__u32 task_flags;   /* struct task_struct */
	__u32 sk_err;       /* these are of struct tcp_sock, which begins with a struct sock */
	__u32 received;     /* icsk_ack.lrcvtime: when the last data came, in jiffies */
	__u32 sent;         /* lsndtime: when the last data was sent, in jiffies */
	__u32 heard;        /* snd_wl1: where the last segment with news began, by sequence */
	__u32 read;         /* copied_seq: how far the server has read, by sequence */
	__u32 sk_socket;    /* the struct socket that a process has open */
	__u32 socket_flags; /* struct socket */
};

/*
 * A declared endpoint, for the programs at bind(2). IPv4 addresses are IPv4-mapped, whatever the
 * family of the sockets: which of the two a server makes is known only when it binds.
 */
struct tap_endpoint {
	__u8 address[16];
	__u16 port;    /* network byte order */
	__u16 no_ipv4; /* not 0: IPv4 sockets are refused, see tap.bpf.c; its number, from 1 on */
};

/*
 * What the programs on a cgroup are to know of it: whose it is, and its declared endpoints. It is
 * the cgroup's own (BPF_MAP_TYPE_CGROUP_STORAGE): so a service's programs are loaded once, whatever
 * its instances are. All zero until user space has filled it, which it does before anything runs.
 */
struct tap_instance {
	tap_owner owner;
	__u32 n_endpoints;
	__u32 sharing; /* not 0: its servers are made to share their port */
	struct tap_endpoint endpoints[TAP_LISTEN_MAX];
};

enum tap_event_type {
	TAP_ZERO,    /* a watched instance has no connection left */
	TAP_PROGRAM, /* a process of the instance changes a group's program, or tries to */
	TAP_IPV4,    /* an IPv4 socket of the instance was refused: tap_endpoint.no_ipv4 */
	TAP_LISTEN,  /* a socket of the instance begins to listen on a declared port */
};

/* In the ring buffer. */
struct tap_event {
	tap_owner owner;
	__u16 type;     /* enum tap_event_type */
	__u16 endpoint; /* TAP_IPV4: which */
	__u32 pid;      /* TAP_PROGRAM, TAP_IPV4: who */
	char comm[16];  /* ... and its name */
};

/*
 * The last bind(2) of a stream socket to a port by a process of an instance, as it was asked for.
 * IPv4 addresses are IPv4-mapped.
 */
struct tap_bind {
	__u8 address[16];
	__u16 port;   /* network byte order */
	__u16 family; /* AF_INET or AF_INET6 */
	__u32 uid;    /* real user id, of the initial user namespace */
	__u32 pid;    /* of the initial PID namespace */
	char comm[16];
};

_Static_assert(sizeof(struct tap_counts) == 72, "tap_counts");
_Static_assert(sizeof(struct tap_offsets) == 36, "tap_offsets");
_Static_assert(sizeof(struct tap_endpoint) == 20, "tap_endpoint");
_Static_assert(sizeof(struct tap_instance) == 16 + 20 * TAP_LISTEN_MAX, "tap_instance");
_Static_assert(sizeof(struct tap_event) == 32, "tap_event");
_Static_assert(sizeof(struct tap_bind) == 44, "tap_bind");
