/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * signals: what a program that is about to be started must not inherit.
 */
#pragma once

/*
 * Default dispositions and an empty mask, as a program expects them that execve(2) starts. For a
 * child after fork(2): async-signal-safe. Also of the two signals that glibc keeps for itself: its
 * posix_spawn(3) leaves them ignored, and whoever is started from a make(1) has that from it.
 */
void signals_reset(void);
