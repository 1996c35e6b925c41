/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * mix: one hash of addresses for all programs, so that they agree on where a source belongs. For
 * the programs in ebpf/ only.
 */
#pragma once

#include <linux/types.h>

#include <bpf/bpf_helpers.h>

/* MurmurHash3's finalizer: every bit of the result depends on every bit of x. */
static __always_inline __u32 mix(__u32 x)
{
	x ^= x >> 16;
	x *= 0x85ebca6b;
	x ^= x >> 13;
	x *= 0xc2b2ae35;
	return x ^ x >> 16;
}

/* Of the 16 bytes of an address; an IPv4 address is IPv4-mapped. */
static __always_inline __u32 mix_address(const __u32 *address)
{
	return mix(mix(mix(mix(address[0]) ^ address[1]) ^ address[2]) ^ address[3]);
}
