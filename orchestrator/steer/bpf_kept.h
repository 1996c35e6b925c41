/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bpf_kept: programs and maps of ours that are used now and then, without a descriptor of each.
 *
 * A service has some twenty of them, and many services have many. Each lives as long as anything
 * has it: a program that is loaded has its maps, a cgroup the programs on it. So only the number is
 * kept of what something else holds, and it is opened by that when it is used. The descriptors of
 * the last few maps stay open: who uses the same again and again does not open it each time.
 *
 * Opening by number takes CAP_SYS_ADMIN. Without it the descriptor is kept.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* So many stay open: what one service uses, or some that are checked at the same time. */
#define BPF_KEPT_OPEN_MAX 32

/* All zero: nothing. */
struct bpf_kept {
	uint32_t id; /* 0: it is .fd alone */
	int fd;
	bool open; /* .fd is */
	bool program;
};

/*
 * Keep the map or the program @fd, which stays the caller's. @held: something else has it for as
 * long as it is kept. Returns 0 or a negative errno, with nothing in *ret.
 */
int bpf_kept_map(int fd, bool held, struct bpf_kept *ret);
int bpf_kept_program(int fd, bool held, struct bpf_kept *ret);

/*
 * The map's descriptor, until the next call of any function of this module; or a negative errno.
 * -ENOENT: nothing has held it.
 */
int bpf_kept_fd(const struct bpf_kept *kept);

/*
 * As bpf_kept_fd(), but a descriptor that the caller closes, of a map or a program that is used
 * seldom: it is not among the last few afterwards.
 */
int bpf_kept_open(const struct bpf_kept *kept);

/* Forget it. Nothing is left in *kept. */
void bpf_kept_done(struct bpf_kept *kept);

/*
 * A program that does nothing and has these maps, so that they stay while it is open. Returns its
 * descriptor or a negative errno.
 */
int bpf_kept_holder(const int *maps, unsigned n_maps);
