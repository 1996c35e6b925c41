/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * signals: resets the signal settings that a program must not inherit from whoever starts it.
 */
#pragma once

/*
 * Give every signal its default disposition, and unblock all. To be called in a child between
 * fork(2) and execve(2): async-signal-safe.
 *
 * This includes the two signals that glibc keeps for itself. glibc's posix_spawn(3) leaves them
 * ignored in the program that it starts, for example in everything that make(1) starts.
 */
void signals_reset(void);
