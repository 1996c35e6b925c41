/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * steer: sends the new connections of one endpoint where they should go. This is the one header of
 * the folder that others include; the manual has these parts:
 *
 *	steer.h		one endpoint: its group, its slots, its table, its pins
 *	table.h		which slot gets which share of the connections, as a table
 *	crossing.h	which endpoint gets which share of those that two compete for
 *	tiers.h		which of the three ways to steer work here
 *	tap.h		the programs on the cgroups of instances: counters, shared ports
 *	inspect.h	which program is on a group
 *	bpffs.h		the folders of the pins
 *
 * A struct steer is one endpoint. The life of a listening socket here: steer_join() gives it a
 * slot, where it gets nothing but what is pinned to it; steer_publish() with a table that names the
 * slot sends it connections; a table without the slot ends that; steer_release() frees the slot,
 * once the socket has left the group.
 *
 * There are three tiers. Callers see the same slots and tables on each, and ask steer_can() what is
 * not possible on all:
 *
 *	ebpf	a BPF program (ebpf/steer.bpf.c) with a table of 1,024 buckets: pins, backups that
 *		take over inside the kernel, migration, hold, counters. CAP_BPF and CAP_NET_ADMIN.
 *		When the daemon dies steering goes on: the group holds the program, the program its
 *		maps, and the last publish stands. Program and maps are pinned, so that the next
 *		daemon finds them: a socket fits into one socket array only, so it must take over
 *		that very map.
 *	cbpf	a classic BPF program that returns a position in the group (steer_cbpf.c): pins and
 *		shares, no backups, no counters. No privilege. Sockets that are passed to servers
 *		are made by steer_listen(), so that their positions are known.
 *	hash	no program: a socket gets its share of the connections as soon as it listens.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "common/address.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "ebpf/steer.h"
#include "orchestrator/steer/bpffs.h"
#include "orchestrator/steer/crossing.h"
#include "orchestrator/steer/inspect.h"
#include "orchestrator/steer/socket.h"
#include "orchestrator/steer/table.h"
#include "orchestrator/steer/tap.h"
#include "orchestrator/steer/tiers.h"

struct steer;

const char *steer_tier_name(enum steer_tier tier); /* "ebpf" */

/* Try whether a tier works here, on sockets of its own. 0, or why not. */
int steer_try(enum steer_tier tier, struct error *err);

enum steer_ability {
	STEER_CAN_PIN,       /* ebpf, cbpf */
	STEER_CAN_SHIFT,     /* ebpf, cbpf: a socket that no table names gets no connections */
	STEER_CAN_BACKUP,    /* ebpf */
	STEER_CAN_HOLD,      /* ebpf */
	STEER_CAN_COUNT,     /* ebpf: steer_slot_stats(), steer_stats() */
	STEER_CAN_CHECK,     /* ebpf: steer_check() */
	STEER_CAN_CROSS,     /* ebpf: steer_share() */
	STEER_CAN_MIGRATE,   /* ebpf, if the kernel wakes who gets a moved connection (kernel.h) */
	STEER_MAKES_SOCKETS, /* cbpf: what is passed to servers comes from steer_listen() */
};
bool steer_can(enum steer_tier tier, enum steer_ability ability);

struct steer_options {
	enum steer_tier tier;
	uid_t uid;                 /* owns the service's sockets (see anchor.h) */
	const char *pin_dir;       /* ebpf; see bpffs.h. NULL: nothing is pinned */
	struct inspect *inspect;   /* ebpf; NULL: steer_check() says STEER_PROGRAM_UNKNOWN */
	struct tap *tap;           /* ebpf; NULL: migrations are not told to the counters */
	bool sticky;               /* bucket by the source address alone, not by address and port */
	const char *anchor_cgroup; /* ebpf; see below. NULL: the anchor is of the own cgroup */
	/*
	 * A server of ours listens there already, and joins next. On the cbpf tier the group is
	 * entered by way of it: steer_attach() takes effect with that steer_join().
	 */
	bool has_member;
	/*
	 * ebpf: sockets of an earlier daemon's servers that listen there, by their cookies. By them
	 * its program is known whose pins are gone. Only needed until steer_open() returns.
	 */
	const uint64_t *members;
	size_t n_members;
	/*
	 * STEER_CAN_CROSS: endpoints that compete with this one for some connections (see
	 * steer_share()), which they have until then. At most STEER_BESIDE_MAX, all of this tier.
	 */
	struct steer *const *beside;
	size_t n_beside;
};

#define STEER_BESIDE_MAX 32

/*
 * A connection that waits at the anchor was established there, and belongs to the anchor's cgroup
 * for ever. If held connections are to be counted where they went (tap.h), the anchor needs a
 * cgroup of its own, with a tap on it: tap_attach(tap, anchor_cgroup, STEER_ANCHOR_GENERATION, 0,
 * false), before steer_open(). Otherwise they are counted nowhere.
 */
#define STEER_ANCHOR_GENERATION UINT32_MAX

/*
 * Open the endpoint. On the ebpf tier it takes over maps as an earlier daemon has left them: slots,
 * table and counters. It finds them by that daemon's program, and by the pins in pin_dir. Pins of
 * health checks are dropped: these died with that daemon. Each map that does not fit this version
 * is replaced. What is there but cannot be read is an error, and stays as it is.
 *
 * The program is not on the group yet: steer_attach() puts it there. In between, sockets can be
 * joined and a table published, while the earlier program goes on undisturbed. What the options
 * point to must outlive the object.
 */
int steer_open(const struct address *address, const struct steer_options *options,
	       struct steer **ret, struct error *err);

/*
 * The endpoint is another service's from now on, of the same tier and user: its pins are in
 * options->pin_dir, its connections are counted by options->tap, its anchor is of
 * options->anchor_cgroup. Slots, table and pins of health checks go on. On failure it is as it was.
 */
int steer_rehome(struct steer *steer, const struct steer_options *options, struct error *err);

/*
 * Servers of another service join, too, whose connections @tap counts: it is told of their health
 * checks as well. NULL: none any more.
 */
void steer_lend(struct steer *steer, struct tap *tap);

/* Closes the anchor; the pins stay. Takes NULL. */
void steer_free(struct steer *steer);
DEFINE_CLEANUP(struct steer *, steer_free);

/* What its sockets are bound to: they are of this family, and no others can join. */
const struct address *steer_address(const struct steer *steer);

/* Forget what was taken over: every slot empty, no bucket names any, hold off, all counters 0. */
int steer_reset(struct steer *steer, struct error *err);

/*
 * Were the slots of an earlier daemon taken over? Else slots and tables are empty, and its servers'
 * sockets may still be in a map of its program's: they can join once steer_attach() has put ours in
 * its place. What comes until a table names them can wait: steer_hold(), steer_unhold().
 */
bool steer_is_taken_over(const struct steer *steer);

/*
 * Put the program on the group, in place of an earlier daemon's (which was pinned in pin_dir). If
 * somebody else's program steers the group already, another batond's for instance, it is left
 * alone: -EADDRINUSE. Connections may have reached the anchor before, when there was no program to
 * refuse them: they are held if hold is on, and reset if it is off.
 */
int steer_attach(struct steer *steer, struct error *err);

/*
 * Remove the pins: nothing of this endpoint is alive any more that another daemon could take over.
 */
void steer_unpin_all(struct steer *steer);

/*
 * STEER_MAKES_SOCKETS: a new listening socket in the group, for an agent to pass on. The caller
 * owns the descriptor; steer_join() then gives it its slot. -EOPNOTSUPP on other tiers.
 */
int steer_listen(struct steer *steer, int backlog, bool nonblocking, int *ret_fd,
		 struct error *err);

/*
 * Give a listening socket of this endpoint a free slot, or find the slot with which it was taken
 * over. The descriptor stays the caller's; a map keeps no reference to it. @owner: whose it is
 * (ebpf/tap.h), 0: nobody's. -ENOSPC: no slot is free. -EINVAL: not listening, or not in the
 * anchor's group.
 *
 * On the ebpf tier, once attached, the group's program is then checked: a later member of the group
 * can replace the program silently (kernel-facts, rule 11 of the group). A foreign program is
 * replaced by ours, and *ret_drift is set.
 */
int steer_join(struct steer *steer, int listen_fd, tap_owner owner, uint16_t *ret_slot,
	       bool *ret_drift, struct error *err);

/*
 * The socket in @slot, of which @listen_fd is a duplicate, may have stopped listening meanwhile
 * and begun again: the kernel has emptied its slot then, or moved it to the end of the group. Put
 * it back.
 */
int steer_rejoin(struct steer *steer, uint16_t slot, int listen_fd, struct error *err);

/*
 * Is the socket in @slot where connections can be sent to it? False: it has left the group, or
 * somebody has emptied its slot. True, too, if that cannot be told, and always on the hash tier.
 */
bool steer_has(struct steer *steer, uint16_t slot);

void steer_release(struct steer *steer, uint16_t slot);

/*
 * So many listening sockets have a slot, and so many can: STEER_SLOTS, or fewer if the maps were
 * taken over from an earlier version of baton.
 */
void steer_room(const struct steer *steer, uint32_t *ret_used, uint32_t *ret_max);

/* Free the slots that were taken over and that no steer_join() has asked for since. */
void steer_release_unclaimed(struct steer *steer);

/*
 * Does the current table name @slot, as primary or as backup? True, too, if the table cannot be
 * read: a slot is freed only when it is known that no table names it.
 */
bool steer_names(struct steer *steer, uint16_t slot);

/* Make @table the current one, by one store (ebpf) or one system call (cbpf). */
int steer_publish(struct steer *steer, const struct steer_table *table, struct error *err);

/* The current table. */
int steer_table(struct steer *steer, struct steer_table *ret);

/* Send connections from @source to @slot, whatever the table says; until unpinned. */
int steer_pin(struct steer *steer, const struct sockaddr *source, uint16_t slot);
void steer_unpin(struct steer *steer, const struct sockaddr *source);

/* ---- endpoints that compete: STEER_CAN_CROSS --------------------------------------------------
 *
 * "127.0.0.1:80" and "0.0.0.0:80" are two groups, and the kernel moves no connection from one to
 * the other: it gives the more specific one all that both could take. So while both are open
 * another program (ebpf/cross.bpf.c) chooses the group of each new connection. It is attached to
 * the network namespace when the second of them is opened, and detached when the first of them is
 * freed; it goes on without a daemon, as the rest does. What is pinned reaches the endpoint where
 * it was pinned. What is queued or half open at one of them stays there.
 */

/* Can that be done here? 0, or why not. */
int steer_try_crossing(struct error *err);

/*
 * Of CROSS_ALL new connections that either could take, send @share to @second, and the rest to
 * @first: from the next SYN on, by one store. -ENOENT: they do not compete.
 */
int steer_share(struct steer *first, struct steer *second, uint32_t share);

/* Does it compete with another one just now? */
bool steer_competes(const struct steer *steer);

/*
 * A socket that leads to the endpoint's group. It is the daemon's; whoever has a duplicate of it
 * keeps the way to the group open when the daemon dies. -1: there is none, or none is needed: the
 * kernel's own lookup finds the more specific endpoint. @ret_cookie: its SO_COOKIE.
 */
int steer_beacon(const struct steer *steer, uint64_t *ret_cookie);

/*
 * The socket in whose queue connections wait: the daemon's. Whoever has a duplicate of it lets them
 * wait on when the daemon dies. @ret_cookie: its SO_COOKIE. -1: nothing waits here, as hold is off.
 */
int steer_anchor(const struct steer *steer, uint64_t *ret_cookie);

/* Is the listening socket with @cookie one that the daemon itself has in the endpoint's group? */
bool steer_is_own(const struct steer *steer, uint64_t cookie);

/*
 * After a takeover, when all that is there is open: remove what chooses between @steer and
 * endpoints that are not open any more.
 */
void steer_tidy(struct steer *steer);

/* ---- hold: STEER_CAN_HOLD; elsewhere nothing is ever held, and these are -EOPNOTSUPP --------- */

/*
 * On: from now on connections that no slot can take wait in the anchor's queue. Off: they are
 * refused; what waits already stays until steer_unhold() or steer_expire().
 *
 * What an earlier daemon has set stands until this or steer_attach() is called; then it is off,
 * unless it was switched on. What waits outlives the daemon only if somebody keeps the anchor
 * (steer_anchor()): when the next daemon has an anchor of its own, and the last duplicate of the
 * old one is closed, it moves there. Off is 0 on every tier.
 */
int steer_hold(struct steer *steer, bool on);

/* How many wait there. Those that are still half open wait too, but are not counted. */
int steer_held(struct steer *steer, uint32_t *ret);

/*
 * Attempts that the kernel has dropped since the endpoint was opened, because as many waited as can
 * (anchor.h). Nobody is refused: their clients try again.
 */
int steer_held_dropped(struct steer *steer, uint64_t *ret);

/*
 * Send what waits to where the current table says: another anchor takes this one's place, and the
 * kernel migrates the queue of the anchor that closes. What can still go nowhere waits on; with
 * hold off it is reset. Nothing happens if nothing was held, or if the table names no socket that
 * listens. On failure everything waits on. Returns how many there were.
 */
int steer_unhold(struct steer *steer, struct error *err);

/* Reset the @n that wait longest. Returns how many that were. */
unsigned steer_expire(struct steer *steer, unsigned n);

/* ---- looking -------------------------------------------------------------------------------- */

enum steer_program {
	STEER_PROGRAM_ATTACHED, /* ours is on the group */
	STEER_PROGRAM_MISSING,  /* the group has none */
	STEER_PROGRAM_FOREIGN,  /* somebody replaced it */
	STEER_PROGRAM_UNKNOWN,  /* cannot be told on this kernel, or tier */
	STEER_PROGRAM_NONE,     /* the tier has none: hash */
};

/*
 * Look at the group's program now. If it is FOREIGN, @ret_who (may be NULL, with @size 0) says
 * which: "program 123 \"other_prog\" (loaded by uid 0)", or "a classic BPF program".
 */
enum steer_program steer_check(struct steer *steer, char *ret_who, size_t size);
const char *steer_program_name(enum steer_program program);

/*
 * To be called every half second or so: on the cbpf tier, take notice of sockets that have died
 * without telling, and reset connections that went where they had been.
 */
void steer_tend(struct steer *steer);

/* Put ours back on the group, whatever is there. */
int steer_repair(struct steer *steer, struct error *err);

/*
 * Another program is to be left on the group: take the anchor out of the group, because that
 * program, or the kernel's hash, would send connections to it, and nobody accepts there.
 * steer_repair() and the next steer_join() bring it back.
 */
void steer_withdraw(struct steer *steer);

/* The kernel's id of our program, as bpftool shows it; 0: there is none. */
uint32_t steer_program_id(const struct steer *steer);

enum steer_tier steer_tier(const struct steer *steer);

/*
 * Sums over all CPUs, since the slot was joined (or the endpoint opened). Zeros if the tier cannot
 * count.
 */
int steer_slot_stats(struct steer *steer, uint16_t slot, struct steer_slot_stats *ret);
int steer_stats(struct steer *steer, struct steer_stats *ret);

/* Send libbpf's messages to the log: warnings always, the rest at debug level. Call once. */
void steer_log_init(void);
