/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hooks_internal: what hooks.c (the object, its counters, its events) and hooks_load.c (maps and
 * programs into the kernel) share. Nobody else includes this.
 */
#pragma once

#include "ebpf/adopt.skel.h"
#include "orchestrator/hooks.h"

DEFINE_CLEANUP(struct adopt_bpf *, adopt_bpf__destroy);

/* The programs of ebpf/adopt.bpf.c. */
enum hooks_part { HOOKS_COUNT, HOOKS_BIND4, HOOKS_BIND6, HOOKS_PROGRAM, _HOOKS_PART_COUNT };

#define HOOKS_MASK(part) (1u << (part))
#define HOOKS_SHARE      (HOOKS_MASK(HOOKS_BIND4) | HOOKS_MASK(HOOKS_BIND6))

/* What to load. */
struct hooks_set {
	unsigned parts; /* HOOKS_MASK() of each program */
	bool births;    /* HOOKS_COUNT also notes when a connection was established */
	adopt_owner owner;
	const struct adopt_endpoint *endpoints;
	uint32_t n_endpoints;
	const struct adopt_bpf *maps; /* use these; NULL: maps of its own */
};

/* A service's maps, without programs; pinned in @pin_dir, or taken over from there ("": neither).
 */
int hooks_load_maps(const char *pin_dir, struct adopt_bpf **ret, struct error *err);
void hooks_remove_pins(const char *pin_dir);

/*
 * Load the programs of @set. What this kernel refuses and is not needed is taken out of @set and
 * logged: births, HOOKS_PROGRAM.
 */
int hooks_load_programs(struct hooks_set *set, struct adopt_bpf **ret, struct error *err);

/* Put the programs @parts on the cgroup, in place of any of the same kind there. All or none. */
int hooks_put(const struct adopt_bpf *programs, unsigned parts, int cgroup_fd, struct error *err);

/* Can a bind hook set SO_REUSEPORT? -EOPNOTSUPP where it cannot; else why that cannot be told. */
int hooks_try_share(struct error *err);
