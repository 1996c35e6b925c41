/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * line_file: a file to which lines are added, of bounded size, with one older file beside it.
 *
 * The first line is the head. It always has the same length, so that it can be changed in place,
 * which needs no room on the disk. If a further line would make the file larger than it may be, the
 * file is renamed to "PATH.1", in the place of the one before, and a new one begins.
 *
 * Nothing is waited for: there is no fsync(2), and the end of the file may be missing after a crash
 * of the host. A line that could not be written whole is not there at all; the next one is tried
 * again. One writer at a time only.
 */
#pragma once

#include <stddef.h>

#include "common/cleanup.h"

struct line_file;

/*
 * Open @path, whose first @keep bytes are a head and whole lines: what follows is cut off, and
 * @head takes the place of the old one. If it is shorter, or gone, it begins anew. @keep 0: make it
 * (mode 0600); what is there must be empty.
 * -EEXIST: it is not; -FILE_IS_NO_FILE (file.h): it is no regular file; or what open(2) and
 * write(2) say.
 */
int line_file_open(const char *path, size_t keep, const char *head, size_t size_max,
		   struct line_file **ret);

/* Closes it. */
void line_file_free(struct line_file *file);
DEFINE_CLEANUP(struct line_file *, line_file_free);

/*
 * Add @line, which contains no newline. If somebody has removed the file, a new one begins. -EFBIG:
 * it does not fit into an empty file; or what open(2), rename(2) and write(2) say: nothing of it
 * was written.
 */
int line_file_add(struct line_file *file, const char *line);

/* How many bytes are whole: a later line_file_open()'s @keep. 0: there is no file. */
size_t line_file_size(const struct line_file *file);

/* Replace the head, also for files that begin later. */
int line_file_set_head(struct line_file *file, const char *head);

/* "PATH.1" */
void line_file_older(const char *path, char *ret, size_t size);
