/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kept_file: a file that is to hold a text of ours, also if it cannot be written just now: the disk
 * is full or read-only, a quota is used up, there is no descriptor, a file server does not answer.
 *
 * With a writer (writer.h) nobody waits for the disk: until the file has it, what is to be written
 * is kept in memory, and in a second file, the spare, on another file system, where it is at once.
 * So a daemon that is killed at any moment leaves the newest text in one of the two.
 *
 * Each write tries the file itself. In between it is tried again, after a second and then less and
 * less often, every minute at last; nothing wakes up while nothing is unwritten. The log tells once
 * that the file cannot be written, or is not within the writer's time, with the reason, and once
 * that it can be again.
 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"

struct kept_file;
struct writer;

/*
 * @path, and @spare (NULL: none) for what is not, or cannot be, written to it. Folders of @path are
 * made, with mode 0700, when it is written. @event (NULL: none) is for trying again. @writer
 * writes; NULL: whoever calls does, and waits for it. Both outlive the file. NULL without memory.
 */
struct kept_file *kept_file_new(sd_event *event, struct writer *writer, const char *path,
				const char *spare);

/* What is not written is tried once more. What the spare has stays there if that fails. */
void kept_file_free(struct kept_file *file);
DEFINE_CLEANUP(struct kept_file *, kept_file_free);

/*
 * Write @text (file_replace(), mode 0600); once that has been done the spare is removed. Returns 0
 * if the file has it, or is about to get it from the writer; 1 if it cannot be written and the
 * spare has it, and a negative errno if it is in memory only, or not even there. In both cases @err
 * says why, with the file's path, and it is tried again. The caller need not log that.
 */
int kept_file_write(struct kept_file *file, const char *text, struct error *err);

const char *kept_file_path(const struct kept_file *file);
