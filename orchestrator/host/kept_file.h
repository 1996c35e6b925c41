/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kept_file: a file that is to hold a text of ours, also if it cannot be written just now: the disk
 * is full or read-only, a quota is used up, there is no descriptor.
 *
 * What could not be written is kept in memory, and in a second file, the spare, on another file
 * system. Each write tries the file itself first. In between it is tried again, after a second and
 * then less and less often, every minute at last; nothing wakes up while nothing is unwritten. The
 * log tells once that the file cannot be written, with the reason, and once that it can be again.
 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"

struct kept_file;

/*
 * @path, and @spare (NULL: none) for what cannot be written to it. Folders of @path are made, with
 * mode 0700, when it is written. @event (NULL: none) is for trying again; it outlives the file.
 * NULL without memory.
 */
struct kept_file *kept_file_new(sd_event *event, const char *path, const char *spare);

/* What is not written is tried once more. What the spare has stays there if that fails. */
void kept_file_free(struct kept_file *file);
DEFINE_CLEANUP(struct kept_file *, kept_file_free);

/*
 * Write @text (file_replace(), mode 0600); once that has been done the spare is removed. Returns 0
 * if the file has it, 1 if the spare has it, and a negative errno if it is in memory only, or not
 * even there. In both cases @err says why, with the file's path, and it is tried again. The caller
 * need not log that.
 */
int kept_file_write(struct kept_file *file, const char *text, struct error *err);

const char *kept_file_path(const struct kept_file *file);

/* Does the file have what was written last? */
bool kept_file_is_written(const struct kept_file *file);
