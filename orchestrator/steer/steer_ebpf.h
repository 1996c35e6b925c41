/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * steer_ebpf: what the files of the ebpf tier share. Nobody else includes this. Each file uses
 * those above it in this list:
 *
 *	steer_ebpf_cross.c	endpoints that compete for connections
 *	steer_ebpf_maps.c	what is in the program's maps
 *	steer_ebpf_earlier.c	what an earlier daemon has left: its program, its maps
 *	steer_ebpf_load.c	the program: loading, pins in bpffs, trying
 *	steer_ebpf_group.c	the anchor, and which program is on its group
 *	steer_ebpf_hold.c	the connections that wait at the anchor
 *	steer_ebpf.c		the endpoint's life, who joins and leaves
 */
#pragma once

#include <stddef.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "ebpf/steer.skel.h"
#include "orchestrator/steer/bpf_kept.h"
#include "orchestrator/steer/bpffs.h"
#include "orchestrator/steer/earlier.h"
#include "orchestrator/steer/steer_internal.h"

struct ebpf_anchor {
	int fd; /* -1: not open */
	uint64_t cookie;
	tap_owner owner;         /* of its cgroup's counters; 0: nobody's */
	uint64_t held_before;    /* steer_stats.held when it took its place */
	uint64_t dropped_before; /* by those whose place it took */
};

/* An earlier daemon leaves at most two programs: one that is attached, and its successor. */
#define EBPF_PINNED       2
#define EBPF_PROGRAM      "program"                 /* the last that one of ours has attached */
#define EBPF_NEXT_PROGRAM EBPF_PROGRAM EARLIER_NEXT /* about to be attached */

struct crossing;

enum ebpf_map {
	EBPF_SLOTS,
	EBPF_TABLES,
	EBPF_PINS,
	EBPF_SLOT_STATS,
	EBPF_STATS,
	EBPF_SLOT_OWNER,
	EBPF_LISTENER_OWNER,
	_EBPF_MAP_COUNT,
};

/*
 * What is used of the program and its maps once they are loaded. libbpf's object, which keeps ten
 * times as much memory, and a mapping of each of its sections, goes then. The program has the maps.
 */
struct ebpf_loaded {
	int program; /* -1: nothing is loaded, and the rest is not set either */
	struct bpf_kept maps[_EBPF_MAP_COUNT];
	struct steer_control *control; /* mapped: the words that we and the program share */
};

struct ebpf {
	struct steer steer;
	uid_t uid;
	struct ebpf_anchor anchor;
	char *cgroup;               /* of the anchor; NULL: the own one */
	struct steer_bpf *skeleton; /* while the program is loaded */
	struct ebpf_loaded loaded;
	struct inspect *inspect;
	struct tap *tap;      /* may be NULL */
	struct tap *lent_tap; /* of the service that it is lent to; or NULL */
	uint32_t program_id;
	uint32_t earlier_ids[EBPF_PINNED]; /* of programs that were pinned here before; 0: none */
	uint32_t unpinned_id;   /* of an earlier daemon's program that nothing pins; 0: none */
	struct earlier earlier; /* while the program is loaded */
	unsigned kept;          /* which maps are an earlier daemon's: steer_ebpf_earlier.c */
	bool taken_over;        /* the slots are */
	bool attached;
	unsigned busy_tries; /* so often ebpf_put() may wait until it is attached again */
	bool hold;
	int n_cpus;
	struct crossing *crossings[STEER_BESIDE_MAX]; /* with each endpoint that competes */
	size_t n_crossings;
	int beacon;                   /* by which cross.bpf.c finds the group; -1: none */
	struct slots slots;           /* .max: as many as the maps have room for */
	char pin_dir[BPFFS_PATH_MAX]; /* "": not pinned */
};

static inline struct ebpf *to_ebpf(const struct steer *steer)
{
	return (struct ebpf *)((char *)steer - offsetof(struct ebpf, steer));
}

/* The anchor's slot, behind those that tables name. It only takes connections that are held. */
static inline uint32_t ebpf_anchor_slot(const struct ebpf *ebpf)
{
	return ebpf->slots.max;
}

/* As bpf_kept_fd(). */
static inline int ebpf_map(const struct ebpf *ebpf, enum ebpf_map k)
{
	return bpf_kept_fd(&ebpf->loaded.maps[k]);
}

static inline volatile struct steer_control *ebpf_control(const struct ebpf *ebpf)
{
	return ebpf->loaded.control;
}

/* ---- steer_ebpf_cross.c --------------------------------------------------------------------- */

/*
 * From now on what @ebpf, whose anchor is not open yet, and each of options->beside compete for
 * goes where an earlier daemon's shares say, else to the latter.
 */
int ebpf_cross(struct ebpf *ebpf, const struct steer_options *options, struct error *err);

/* Its anchor is closed: what it competed for goes where the kernel's lookup says. */
void ebpf_uncross(struct ebpf *ebpf);

/*
 * The beacon is a listening socket in the group and in no slot. A socket that is in a slot cannot
 * be in the map of cross.bpf.c (both use sk_user_data). Light it if there is need of one.
 */
int ebpf_light_beacon(struct ebpf *ebpf, struct error *err);

/* It leaves the group, whoever has a duplicate of it. */
void ebpf_quench_beacon(struct ebpf *ebpf);

bool ebpf_competes(const struct steer *steer);
int ebpf_beacon(const struct steer *steer);

void ebpf_cross_pin(struct ebpf *ebpf, const struct steer_pin_key *source);
void ebpf_cross_unpin(struct ebpf *ebpf, const struct steer_pin_key *source);

/* The next daemon is to find nothing of it; or of what no earlier one has left. */
void ebpf_cross_unpin_all(struct ebpf *ebpf);
void ebpf_cross_unpin_new(struct ebpf *ebpf);

int ebpf_try_crossing(struct error *err);
int ebpf_share(struct steer *first, struct steer *second, uint32_t share);
void ebpf_tidy(struct steer *steer);

/* ---- steer_ebpf_maps.c ---------------------------------------------------------------------- */

int ebpf_table(struct steer *steer, struct steer_table *ret);
int ebpf_publish(struct steer *steer, const struct steer_table *table, struct error *err);

/*
 * Put a socket that listens in the anchor's group into a slot, also into one that is taken. -EBUSY:
 * it is in another map. After a program was attached, those of the one before are waited for: up to
 * 1 s, for all sockets together.
 */
#define EBPF_BUSY_TRIES 200
int ebpf_put(struct ebpf *ebpf, uint32_t slot, int fd, struct error *err);
void ebpf_empty_slot(struct ebpf *ebpf, uint32_t slot);

/* The cookie of the socket in a slot. -ENOENT: it is empty. */
int ebpf_read_slot(const struct ebpf *ebpf, uint32_t slot, uint64_t *ret_cookie);

/* Fill .slots with those of the sockets that an earlier daemon has put into the slots. */
int ebpf_read_slots(struct ebpf *ebpf, struct error *err);

/* Whose the socket in a slot is; 0: nobody's. The program counts what moves between owners. */
void ebpf_set_owner(struct ebpf *ebpf, uint32_t slot, uint64_t cookie, tap_owner owner);
void ebpf_forget_owner(struct ebpf *ebpf, uint64_t cookie);

int ebpf_pin(struct steer *steer, const struct sockaddr *source, uint16_t slot);
void ebpf_unpin(struct steer *steer, const struct sockaddr *source);
void ebpf_clear_pins(struct ebpf *ebpf);

int ebpf_slot_stats(struct steer *steer, uint16_t slot, struct steer_slot_stats *ret);
int ebpf_stats(struct steer *steer, struct steer_stats *ret);
/* From 0 on; and without counters, which makes room. */
void ebpf_reset_slot_stats(struct ebpf *ebpf, uint32_t slot);
void ebpf_drop_slot_stats(struct ebpf *ebpf, uint32_t slot);
int ebpf_reset_stats(struct ebpf *ebpf);

/* ---- steer_ebpf_earlier.c ------------------------------------------------------------------- */

/*
 * Fill .earlier_ids, .unpinned_id and .earlier: the program of an earlier daemon on the anchor's
 * group, and its maps.
 */
int ebpf_find_earlier(struct ebpf *ebpf, const struct steer_options *options, struct error *err);

/* Give .skeleton, which is not loaded yet, those that go on. Sets .kept and .taken_over. */
int ebpf_keep_maps(struct ebpf *ebpf);

/* Once it is loaded; says what was not as an earlier daemon had left it. */
int ebpf_pin_maps(struct ebpf *ebpf, const struct steer_options *options, struct error *err);
void ebpf_remove_pins(const struct ebpf *ebpf);

/* ---- steer_ebpf_load.c ---------------------------------------------------------------------- */

/*
 * Load the program, with those of an earlier daemon's maps that fit, and pin its maps. Sets .loaded
 * and .slots.max; on failure .loaded stays as it was.
 */
int ebpf_load(struct ebpf *ebpf, const struct steer_options *options, struct error *err);

/* Pins stay, and so does the program on its group. */
void ebpf_unload(struct ebpf_loaded *loaded);

/*
 * By the pin of its program the next daemon knows which program on a group is its predecessor's. So
 * ours is pinned beside the earlier one before it is attached, and replaces that pin afterwards.
 */
int ebpf_pin_program(struct ebpf *ebpf, struct error *err);
int ebpf_replace_program_pin(struct ebpf *ebpf, struct error *err);

/* Put @program on the group of the listening socket @fd. */
int ebpf_attach_to(int fd, int program, struct error *err);

int ebpf_try(struct error *err);
void ebpf_unpin_all(struct steer *steer);

/* ---- steer_ebpf_group.c --------------------------------------------------------------------- */

/* A socket in the group, not in its slot yet. */
int ebpf_open_anchor(struct ebpf *ebpf, struct ebpf_anchor *ret, struct error *err);
int ebpf_put_anchor(struct ebpf *ebpf, const struct ebpf_anchor *anchor, struct error *err);
void ebpf_close_anchor(struct ebpf *ebpf, struct ebpf_anchor *anchor);

/* Put our program on the group, and the anchor back into it if it was withdrawn. */
int ebpf_attach_program(struct ebpf *ebpf, struct error *err);

/*
 * Is the group without a program, or is its program ours or that of the earlier daemon which we
 * succeed? Else -EADDRINUSE; another negative errno if that cannot be told. 0 without inspection.
 */
int ebpf_check_succession(struct ebpf *ebpf, struct error *err);

/*
 * Is our program on the group of the listening socket with @cookie? If not put it there, and say so
 * in @ret_drift. Does nothing before steer_attach(), or without inspection.
 */
int ebpf_check_group(struct ebpf *ebpf, uint64_t cookie, bool *ret_drift, struct error *err);

enum steer_program ebpf_check(struct steer *steer, char *ret_who, size_t size);
int ebpf_repair(struct steer *steer, struct error *err);
void ebpf_withdraw(struct steer *steer);
uint32_t ebpf_program_id(const struct steer *steer);

/* ---- steer_ebpf_hold.c ---------------------------------------------------------------------- */

/*
 * Put a new anchor in the place of the one there is, and close that: the kernel migrates what is
 * queued or half open at it to where the program sends it, the new anchor among other places.
 */
int ebpf_renew_anchor(struct ebpf *ebpf, struct error *err);

int ebpf_hold(struct steer *steer, bool on);
int ebpf_anchor(const struct steer *steer, uint64_t *ret_cookie);
bool ebpf_is_own(const struct steer *steer, uint64_t cookie);
int ebpf_held(struct steer *steer, uint32_t *ret);
int ebpf_held_dropped(struct steer *steer, uint64_t *ret);
int ebpf_unhold(struct steer *steer, struct error *err);
unsigned ebpf_expire(struct steer *steer, unsigned n);
