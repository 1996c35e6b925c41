/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lock: one daemon of a name at a time. The lock is flock(2) on a file in the run directory, so
 * that it ends with its process, however that ends. The file has the holder's pid in it.
 */
#pragma once

#include "common/error.h"

/*
 * Take the lock on the file @path, which is made if need be; while another process has it, wait for
 * @wait_ms, and say so in the log. *ret_fd, close-on-exec, is the lock. Returns 0, or
 *	-EBUSY	somebody still has it: @err names the process
 *	-ESTALE	the file, or its folder, was removed meanwhile by who had it: begin anew
 *	...	or what open(2) and flock(2) say
 */
int lock_take(const char *path, unsigned wait_ms, int *ret_fd, struct error *err);

/* Remove the file. The lock itself lasts until its descriptor is closed. */
void lock_remove(const char *path);
