/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * file: small files read whole, and replaced so that a reader or a crash sees the old content or
 * the new one, never a part.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/*
 * Read all of @path, at most @max bytes. @ret_text is malloc'ed and NUL-terminated; a NUL inside
 * shows by *ret_length, which may be NULL. Anything that can be read will do (a memfd, a pipe, a
 * file of /proc). -EFBIG: it is longer; -EISDIR, or what open(2) and read(2) say.
 */
int file_read(const char *path, size_t max, char **ret_text, size_t *ret_length);

/*
 * Replace @path: written to "PATH.new", fsync'ed, renamed, the folder fsync'ed. One writer at a
 * time only. After a failure the old content is there. (If only the last fsync failed it is the new
 * content, which a power failure may still undo.)
 */
int file_replace(const char *path, const char *text, size_t length, mode_t mode);

/* Make the folder of @path, and those above it, with @mode; what exists is left as it is. */
int file_make_folder(const char *path, mode_t mode);
