/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * classic: builds the classic BPF program of the cbpf tier (SO_ATTACH_REUSEPORT_CBPF). Pure.
 *
 * The program gets the packet that opens a connection, and returns the position in the group of the
 * socket that shall have it:
 *
 *	1. if source address and source port are those of a pin, the pin's position;
 *	2. else the position that the table has for the bucket of the source, 0 to 1,023.
 *
 * A classic program has no maps: pins are comparisons, and the table is a tree of comparisons with
 * a few bits of each bucket in its leaves. The table is kept exactly, not merely the shares in it:
 * with sticky sources a change of weights then moves only the clients it must. Each change means a
 * new program, and one system call.
 *
 * A position beyond the group makes the kernel fall back to its own hash over all members, whoever
 * they are (sock_reuseport.c: reuseport_select_sock()), so every bucket must name one that exists.
 */
#pragma once

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ebpf/steer.h"

#define CLASSIC_MAX         4096 /* instructions: BPF_MAXINSNS */
#define CLASSIC_PINS_MAX    256
#define CLASSIC_TARGETS_MAX 256 /* different positions in a table */

struct classic_pin {
	struct steer_pin_key source;
	uint16_t position;
};

struct classic {
	uint16_t positions[STEER_BUCKETS]; /* of each bucket */
	const struct classic_pin *pins;
	size_t n_pins;
	bool sticky; /* the bucket is that of the source address, not of address and port */
};

/*
 * Write the program to @ret. -ENOSPC: it has more pins or targets than it may, or more than @max
 * instructions. (256 pins fit if they have a few source addresses in common, as those of health
 * checks do.)
 */
int classic_build(const struct classic *classic, struct sock_filter *ret, size_t max,
		  size_t *ret_n);
