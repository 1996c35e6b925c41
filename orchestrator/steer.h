/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * steer: sends the new connections of one endpoint where they should go (ebpf/steer.bpf.c).
 *
 * A struct steer is one endpoint: its anchor, its program on the anchor's reuseport group, its
 * slots, its two tables, its pins. When the daemon dies steering goes on: the
 * group holds the program, the program its maps, and the last publish stands. Program and maps are
 * pinned under @pin_dir, so that they can be looked at (bpftool) and so that the next daemon finds
 * them: a socket fits into one socket array only, so it must take over that very map.
 *
 * The life of a listening socket here: steer_join() puts it into a free slot, where it gets
 * nothing but what is pinned to it; steer_publish() with a table that names the slot sends it
 * connections; a table without it ends that; steer_release() frees the slot, once the socket has
 * left the group (the kernel empties the slot by itself when a socket stops listening).
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
#include "orchestrator/inspect.h"

struct steer;

/*
 * Open the endpoint: program, maps, anchor. Maps that are pinned in @pin_dir are taken over as an
 * earlier daemon has left them, slots, table and counters (but for its pins, whose health checks
 * died with it); where they do not fit this version they are replaced. The program is not on the
 * group yet: steer_attach() puts it there. In between, sockets can be joined and a table published,
 * while the earlier program goes on undisturbed.
 *
 * @uid owns the service's sockets (see anchor.h). @inspect may be NULL: then steer_check() says
 * STEER_PROGRAM_UNKNOWN; it must outlive the object. @pin_dir (see bpffs.h) may be NULL:
 * then nothing is pinned.
 */
int steer_open(const struct address *address, uid_t uid, const char *pin_dir,
	       struct inspect *inspect, struct steer **ret, struct error *err);

/* Forget what was taken over: every slot empty, no bucket names any, all counters 0. */
int steer_reset(struct steer *steer, struct error *err);

/* Were maps of an earlier daemon taken over? Else the slots and tables are empty. */
bool steer_is_taken_over(const struct steer *steer);

/*
 * Put the program on the group, in place of an earlier daemon's (the one that was pinned in
 * @pin_dir). Where somebody else's program steers the group already, another batond's for instance,
 * it is left alone: -EADDRINUSE. Connections that reached the anchor before, when there was no
 * program to refuse them, are reset.
 */
int steer_attach(struct steer *steer, struct error *err);

/*
 * Remove the pins: nothing of this endpoint is alive any more that another daemon could take over.
 */
void steer_unpin_all(struct steer *steer);

/* Closes the anchor; the pins stay. Takes NULL. */
void steer_free(struct steer *steer);
DEFINE_CLEANUP(struct steer *, steer_free);

/*
 * Put a listening socket of this endpoint into a free slot, or, where it was taken over with one,
 * find that. Once attached, the group's program is
 * then checked; a foreign one is replaced by ours and *ret_drift is set (a later member of the
 * group can replace the program silently: kernel-facts, rule 11 of the group). -ENOSPC: no slot is
 * free. -EINVAL: not listening, or not in the anchor's group. The descriptor stays the caller's;
 * the map keeps no reference to it.
 */
int steer_join(struct steer *steer, int listen_fd, uint16_t *ret_slot, bool *ret_drift,
	       struct error *err);

void steer_release(struct steer *steer, uint16_t slot);

/* Free the slots that were taken over and that no steer_join() has asked for since. */
void steer_release_unclaimed(struct steer *steer);

/* Does the current table name @slot, as primary or as backup? */
bool steer_names(struct steer *steer, uint16_t slot);

/* Write the idle table, then make it the current one with one store. */
int steer_publish(struct steer *steer, const struct steer_table *table, struct error *err);

/* Send connections from @source to @slot, whatever the table says; until unpinned. */
int steer_pin(struct steer *steer, const struct sockaddr *source, uint16_t slot);
void steer_unpin(struct steer *steer, const struct sockaddr *source);

enum steer_program {
	STEER_PROGRAM_ATTACHED, /* ours is on the group */
	STEER_PROGRAM_MISSING,  /* the group has none */
	STEER_PROGRAM_FOREIGN,  /* somebody replaced it */
	STEER_PROGRAM_UNKNOWN,  /* cannot be told on this kernel */
};

/* Look at the group's program now. */
enum steer_program steer_check(struct steer *steer);
const char *steer_program_name(enum steer_program program);

/* The kernel's id of our program, as bpftool shows it. */
uint32_t steer_program_id(const struct steer *steer);

const struct address *steer_address(const struct steer *steer);

/* Sums over all CPUs, since the slot was joined (or the endpoint opened). */
int steer_slot_stats(struct steer *steer, uint16_t slot, struct steer_slot_stats *ret);
int steer_stats(struct steer *steer, struct steer_stats *ret);

/* Send libbpf's messages to the log: warnings always, the rest at debug level. Call once. */
void steer_log_init(void);
