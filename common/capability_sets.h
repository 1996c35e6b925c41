/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * capability_sets: the capabilities of the calling thread (capabilities(7)), as sets of bits: bit N
 * is the capability N of <linux/capability.h>. Async-signal-safe.
 */
#pragma once

#include <stdint.h>

/* The kernel may know fewer. */
#define CAPABILITIES_MAX 64

/* As a set of capabilities: PRIVILEGE(CAP_BPF) | PRIVILEGE(CAP_NET_ADMIN) */
#define PRIVILEGE(capability) (UINT64_C(1) << (capability))

struct capability_sets {
	uint64_t effective, permitted, inheritable;
};

/* Both return 0 or a negative errno. */
int capability_sets_get(struct capability_sets *ret);
int capability_sets_set(const struct capability_sets *sets);

/*
 * What a program has that this process executes as its own user: of root, whatever the bounding set
 * lets through; of others, the ambient set. All, if the kernel does not tell.
 */
uint64_t capability_sets_of_children(void);

/*
 * Put a capability that is permitted into the effective set, for one call. Returns the set that was
 * there, for capability_put_back(); UINT64_MAX: the kernel tells nothing, nothing is changed. If it
 * is not permitted nothing happens: the call will fail.
 */
uint64_t capability_raise(int capability);
void capability_put_back(uint64_t effective);
