/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * file_hash: what is in a file, as one short text. A file that was hashed lately and has not
 * changed since (by device, inode, size and times) is not read again. Blocks while it reads.
 */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

#define FILE_HASH_TEXT_MAX 80                 /* "sha256:", 64 digits, and room */
#define FILE_HASH_SIZE_MAX (64 * 1024 * 1024) /* a larger file is not hashed */

/*
 * Open the regular file @path for reading, and fstat(2) it. What is none (a FIFO, a device, a
 * folder) is not opened; -1.
 */
int file_hash_open(const char *path, struct stat *ret_st);

/*
 * "sha256:..." of all that is in @fd, of which fstat(2) said @st; "" above FILE_HASH_SIZE_MAX, or
 * if it cannot be read. Its place in the file stays where it is.
 */
void file_hash(int fd, const struct stat *st, char ret[static FILE_HASH_TEXT_MAX]);

/*
 * Has nothing been done to it between the two? The time of the last change (ctime) cannot be set
 * back by its owner, that of the last write can.
 */
bool file_hash_same_stat(const struct stat *a, const struct stat *b);
