/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * open_files: how many descriptors this process may have open (RLIMIT_NOFILE).
 */
#pragma once

/*
 * Raise the soft limit to the hard one. Processes that are forked from now on get the limit that
 * was there before: a program that uses select(2) breaks above 1,024. Call it once. If it fails,
 * that is logged, and the limit stays.
 */
void open_files_raise(void);

/*
 * Set the limit that was there before open_files_raise(). Children of fork(3) do so by themselves;
 * those of clone3(2) have to call it. Async-signal-safe.
 */
void open_files_restore(void);
