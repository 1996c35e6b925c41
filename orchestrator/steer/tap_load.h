/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tap_load: maps and programs of the tap: into the kernel, onto cgroups, and whether that works
 * here. For tap.c alone, which has the object, its counters and its events.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "ebpf/tap.h"
#include "orchestrator/steer/bpf_kept.h"

/* The programs of ebpf/tap.bpf.c. */
enum tap_part { TAP_PART_COUNT, TAP_PART_BIND4, TAP_PART_BIND6, TAP_PART_PROGRAM, _TAP_PART_COUNT };

#define TAP_PART_MASK(part) (1u << (part))
#define TAP_PART_ALL        (TAP_PART_MASK(_TAP_PART_COUNT) - 1)
#define TAP_PART_BINDS      (TAP_PART_MASK(TAP_PART_BIND4) | TAP_PART_MASK(TAP_PART_BIND6))

enum tap_map {
	TAP_MAP_COUNTS,
	TAP_MAP_MOVED,
	TAP_MAP_PROBES,
	TAP_MAP_WATCHED,
	TAP_MAP_FORCED,
	TAP_MAP_BINDS,
	TAP_MAP_BIRTHS,
	TAP_MAP_EVENTS,
	_TAP_MAP_COUNT,
};

/* A service's maps, without libbpf's object. */
struct tap_maps {
	int holder; /* has them all; -1: nothing needs to */
	struct bpf_kept list[_TAP_MAP_COUNT];
};

void tap_maps_done(struct tap_maps *maps);

static inline int tap_map_fd(const struct tap_maps *maps, enum tap_map k)
{
	return bpf_kept_fd(&maps->list[k]);
}

/* What to load. */
struct tap_set {
	unsigned parts; /* TAP_PART_MASK() of each program */
	bool births;    /* TAP_PART_COUNT also notes when a connection was established */
	struct tap_offsets offsets; /* ... and who has ended it */
	bool sharing;               /* TAP_PART_BINDS can make servers share their port */
	bool must_share;            /* ... or are of no use */
	bool tracing; /* helpers that take CAP_PERFMON are called: for .offsets, and for names */
	const struct tap_maps *maps; /* use these; NULL: maps of its own */
};

/* Programs that are loaded, and their map "instances". All -1: none are. */
struct tap_programs {
	unsigned parts;
	bool sharing;
	int fds[_TAP_PART_COUNT], instances;
};

#define TAP_PROGRAMS_NONE ((struct tap_programs){.fds = {-1, -1, -1, -1}, .instances = -1})

void tap_programs_done(struct tap_programs *programs);

static inline void tap_programs_done_ptr(struct tap_programs *programs)
{
	tap_programs_done(programs);
}

/* The same, without descriptors; all zero: none. They stay for as long as they are on any cgroup.
 */
struct tap_programs_kept {
	unsigned parts;
	bool sharing;
	struct bpf_kept list[_TAP_PART_COUNT], instances;
};

void tap_programs_forget(struct tap_programs_kept *kept);
int tap_programs_keep(const struct tap_programs *programs, struct tap_programs_kept *ret);

/* -ENOENT: they have gone. */
int tap_programs_open(const struct tap_programs_kept *kept, struct tap_programs *ret);

/*
 * A service's maps without programs, pinned in @pin_dir ("": they are not). Those of an earlier
 * daemon go on that fit: the programs on @cgroup (NULL: none) tell which they are, else the pins.
 */
int tap_load_maps(const char *pin_dir, const char *cgroup, struct tap_maps *ret, struct error *err);
void tap_remove_pins(const char *pin_dir);

/*
 * Load the programs of @set. What this kernel refuses, and is not needed, is taken out of @set and
 * logged: births, offsets, tracing, TAP_PART_PROGRAM, and sharing and then TAP_PART_BINDS unless
 * they must share.
 */
int tap_load_programs(struct tap_set *set, struct tap_programs *ret, struct error *err);

/*
 * Put them on the cgroup of @instance, in place of any of the same kind there. All or none.
 */
int tap_put(const struct tap_programs *programs, const struct tap_instance *instance, int cgroup_fd,
	    struct error *err);

/*
 * Can the programs at bind(2) set SO_REUSEPORT? -EOPNOTSUPP: they cannot; another error: why that
 * cannot be told.
 */
int tap_try_share(struct error *err);
