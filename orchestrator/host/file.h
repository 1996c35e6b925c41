/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * file: small files read whole, and replaced so that a reader or a crash sees the old content or
 * the new one, never a part. Reading and checking are questions that a helper can answer (sight.h).
 */
#pragma once

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/path_open.h"

/*
 * Read all of @path, at most @max bytes. @ret_text is malloc'ed and NUL-terminated; a NUL inside
 * shows by *ret_length, which may be NULL. Never waits: a FIFO, a socket or a device is refused
 * unopened, with -FILE_IS_NO_FILE. /dev/null will do; a memfd and a file of /proc are regular
 * files. -EFBIG: it is longer; or what path_open() returns, by whose rule it is opened.
 */
#define FILE_IS_NO_FILE PATH_IS_NO_FILE
int file_read(const char *path, size_t max, char **ret_text, size_t *ret_length);

/*
 * The same for a file that a service or a person names: @user and @use are those of path_open().
 * With PATH_READ_OR_PIPE a pipe without a name ("<(...)" of a shell, /dev/stdin) is read to its
 * end, too. Whoever has passed it is waited for. @err says why, without the path in front.
 */
int file_read_for(const struct as_user *user, const char *path, enum path_use use, size_t max,
		  char **ret_text, size_t *ret_length, struct error *err);

/* path_check(), by the same rule. */
int file_check_for(const struct as_user *user, const char *path, enum path_use use,
		   struct error *err);

/*
 * The names in @folder that @wanted takes, as a vector, in the order of strcmp(3). Returns how many
 * there are, or a negative errno.
 */
int file_list(const char *folder, bool (*wanted)(const char *name), char ***ret);

/*
 * Where the text begins: behind a byte order mark (RFC 3629, section 6), which some editors write
 * and nobody means.
 */
const char *file_text(const char *text);

/* Why reading has failed with @r, for people, if there is no struct error. */
const char *file_why(int r);

/*
 * Replace @path: written to "PATH.new", fsync'ed, renamed, the folder fsync'ed. One writer at a
 * time only; what is in the way of "PATH.new" is removed. After a failure the old content is there.
 * (If only the last fsync failed it is the new content, which a power failure may still undo.)
 */
int file_replace(const char *path, const char *text, size_t length, mode_t mode);

/*
 * The same without fsync(2), for what is of no use after a power failure (files below /run): the
 * disk is not waited for. A process that is killed leaves the old content or the new one.
 */
int file_replace_volatile(const char *path, const char *text, size_t length, mode_t mode);

/*
 * Rename @path to "PATH.bad", or "PATH.bad.2" and so on, if there is one already; the new name in
 * @ret. The last of FILE_ASIDE_MAX names is used again.
 */
#define FILE_ASIDE_MAX 16
int file_move_aside(const char *path, char ret[static PATH_MAX]);

/*
 * Remove the folder at @path with all that is in it, on its own file system; no link is followed.
 * What cannot be removed stays; the rest is removed all the same.
 */
void file_remove_tree(const char *path);

/* Make the folder of @path, and those above it, with @mode; what exists is left as it is. */
int file_make_folder(const char *path, mode_t mode);
