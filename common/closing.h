/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * closing: closes many descriptors at once, also where close_range(2) is forbidden (the seccomp
 * filters of older containers) or missing (before Linux 5.9). Async-signal-safe: for children
 * between fork(2) and exec(2).
 */
#pragma once

/* Close all descriptors from @first to @last, both included. Returns 0 or a negative errno. */
int closing_range(unsigned first, unsigned last);

/* The way without close_range(2). */
int closing_one_by_one(unsigned first, unsigned last);
