/* SPDX-License-Identifier: BSD-2-Clause */
/* write_all: write(2) until all is written. */
#pragma once

#include <stddef.h>

/*
 * Writes @size bytes to @fd, which must be blocking, or a file. Returns 0, or the negative errno of
 * the write that failed: what came before it is written.
 */
int write_all(int fd, const void *bytes, size_t size);
