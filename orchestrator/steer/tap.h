/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tap: the BPF programs on the cgroups of one service's instances (ebpf/tap.bpf.c).
 *
 *	sockops          counts the connections of each instance. Reading how many there are costs
 *	                 the same for ten as for a million, and a draining instance that has none
 *	                 left is told of.
 *	cgroup/bind4, 6  make a server that never asked for it share its port (SO_REUSEPORT), on the
 *	                 declared addresses of its generation only (Linux 6.0), IPv4-mapped ones
 *	                 included; and refuse IPv4 sockets where tap_guard() says so; note what is
 *bound cgroup/setsockopt  notices who replaces the program of a reuseport group
 *
 * One of each is loaded per service, and attached to the cgroup of each instance (bpf_prog_attach
 * with BPF_F_ALLOW_MULTI, no link), to which belongs what the programs must know of the instance
 * (struct tap_instance). There they stay until the cgroup goes, and go on counting while no daemon
 * runs. The maps are pinned in @pin_dir for the next daemon: the counts
 * of what it takes over go on, too.
 *
 * A connection belongs for ever to the cgroup of the listener it was established on, even if it
 * migrates to another instance before accept(2). So the steering program notes each such move
 * (tap_moved_fd()), and the counters follow.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "common/address.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "ebpf/tap.h"

struct tap;

/* Only instances that are attached are spoken of. Each may free the object. */
struct tap_callbacks {
	/* A watched instance has no connection left; may be said more than once. */
	void (*on_zero)(void *userdata, uint32_t generation, uint32_t instance);
	/*
	 * A process of an instance changes the program of some reuseport group, or has tried to:
	 * the tap is asked before it is done. @pid is 0 if it cannot be told (in a
	 * PID namespace), @comm "" if it cannot.
	 */
	void (*on_program)(void *userdata, uint32_t generation, uint32_t instance, pid_t pid,
			   const char *comm);
	/*
	 * A process of an instance was kept from binding an IPv4 socket to its address @k: see
	 * tap_guard(). Told before anything that happens to the instance for it.
	 */
	void (*on_ipv4)(void *userdata, uint32_t generation, uint32_t instance, size_t k, pid_t pid,
			const char *comm);
	/*
	 * A socket of an instance begins to listen on a declared port, perhaps only a moment after
	 * this. Nothing is said if the ring of events is full.
	 */
	void (*on_listen)(void *userdata, uint32_t generation, uint32_t instance);
};

/*
 * @pin_dir (see bpffs.h; it exists) may be NULL: then nothing is pinned. @cgroup: one that an
 * earlier daemon has tapped for this service, by which its maps are found if their pins are gone;
 * NULL: there is none. @callbacks and @userdata must outlive the object; they are called from the
 * loop.
 */
int tap_open(sd_event *event, const char *pin_dir, const char *cgroup,
	     const struct tap_callbacks *callbacks, void *userdata, struct tap **ret,
	     struct error *err);

/* The pins stay, and so do the programs on cgroups that exist. Takes NULL. */
void tap_free(struct tap *tap);
DEFINE_CLEANUP(struct tap *, tap_free);

/* Remove the pins: nothing is alive any more that another daemon could take over. */
void tap_unpin_all(struct tap *tap);

/*
 * From now on instances are tapped for these addresses, which are copied: on these they share their
 * port, and connections to their ports are counted; without any, connections to all ports are.
 * Instances that are tapped already keep theirs. -E2BIG: more than TAP_LISTEN_MAX.
 */
int tap_declare(struct tap *tap, const struct address *listen, size_t n_listen, struct error *err);

/*
 * From now on instances are tapped so that they cannot bind IPv4 sockets to address @k (EPERM).
 * For endpoints whose instances serve on IPv4-mapped sockets: the kernel would give an IPv4 socket
 * all their connections.
 */
void tap_guard(struct tap *tap, size_t k, bool on);

/*
 * Tap the cgroup at @cgroup_path for an instance, before anything runs in it. @share: make its
 * servers share their port. Its counters begin at 0. Programs that an earlier attempt has left
 * there are replaced. If the kernel cannot share ports the text says so, and nothing is attached.
 * -E2BIG: there are TAP_INSTANCES_MAX already.
 */
int tap_attach(struct tap *tap, const char *cgroup_path, uint32_t generation, uint32_t instance,
	       bool share, struct error *err);

/*
 * Can the kernel share the ports of servers (tap_attach() with @share)? Tries it in the own cgroup.
 * -EOPNOTSUPP: it cannot; another error: why that cannot be told.
 */
int tap_can_share(struct error *err);

/* The instance's cgroup is gone: forget its counters. */
void tap_forget(struct tap *tap, uint32_t generation, uint32_t instance);

struct tap_count {
	uint64_t accepted; /* ever; migrated ones count where they went */
	uint64_t live;
	uint64_t closed;
	uint64_t reset; /* of closed */
	uint64_t moved_out;
	/* Who began to end a connection, at that moment: see struct tap_counts. */
	uint64_t by_client, by_server, cut, at_exit;
};

/* -ENOENT: the instance was never attached. */
int tap_count(struct tap *tap, uint32_t generation, uint32_t instance, struct tap_count *ret);

/*
 * Does the tap know of at_exit, and of every connection that was cut? Else it knows only of those
 * that never got an answer. Known after the first tap_attach().
 */
bool tap_tells_ends(const struct tap *tap);

/*
 * A health check is about to connect from @source, to an instance of this service: its connection
 * is not to be counted. To be called before it connects, and tap_unprobe() once it is closed.
 */
void tap_probe(struct tap *tap, const struct sockaddr *source);
void tap_unprobe(struct tap *tap, const struct sockaddr *source);

/*
 * From now on call on_zero when the last connection ends; at once (but by the loop) if there is
 * none. Nothing is said if the last one migrates away instead of ending, or if the ring of events
 * is full: whoever waits must look at tap_count() from time to time. -ENOENT as above.
 */
int tap_watch(struct tap *tap, uint32_t generation, uint32_t instance);

/* Was the listening socket with this cookie made to share its port by the tap? */
bool tap_forced(struct tap *tap, uint64_t cookie);

/* The last bind(2) of the instance to a port, whether it succeeded or not. */
struct tap_bound {
	struct address address; /* ":80" stands for "[::]:80", too: nobody sees IPV6_V6ONLY */
	uid_t uid;              /* real user id of who did it */
	pid_t pid;              /* of the initial PID namespace */
};

/* -ENOENT: it has bound nothing, or the kernel does not tell. */
int tap_bound(struct tap *tap, uint32_t generation, uint32_t instance, struct tap_bound *ret);

/*
 * For steer: descriptors of the maps "counts" and "moved" of ebpf/tap.h, which its program fills
 * when connections migrate. Borrowed, for the next call with them: see bpf_kept.h.
 */
int tap_counts_fd(const struct tap *tap);
int tap_moved_fd(const struct tap *tap);

/*
 * For diag_set_births(): the time when each connection was established; borrowed, as above. -1 if
 * the kernel refuses that, which is known after the first tap_attach().
 */
int tap_births_fd(const struct tap *tap);
