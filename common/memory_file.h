/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memory_file: a text that a child process gets as a file without a name.
 *
 * It is a sealed file in memory (memfd_create(2)). Where a sandbox hides that call it is an unnamed
 * file (O_TMPFILE) in the first folder that can have one: there is no seal then, but nobody else
 * can open it either.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

/*
 * @name is shown in /proc, and names the file in errors. @keep: the descriptor survives execve(2).
 * @folder is tried before /dev/shm and /tmp; NULL: none is. The place in the file is its beginning.
 */
int memory_file_make(const char *name, const char *text, size_t length, bool keep,
		     const char *folder, int *ret_fd, struct error *err);
