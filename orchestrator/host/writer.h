/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * writer: replaces files (file_replace()) without waiting for the disk.
 *
 * A helper (errand.h) writes, one at a time for each file. What is to be written meanwhile waits,
 * and the newest text takes the place of those before it. While the daemon runs no helper is
 * killed: half a write must not come back later, beside another one.
 *
 * What is written counts for a next daemon. So a helper holds the lock of the daemon's name until
 * it has written, whatever becomes of this daemon.
 *
 * The log tells nothing of files whose outcome somebody hears (kept_file.h).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"

#define WRITER_TIMEOUT_MS 5000

struct writer;

/* @keep_fd: a descriptor that helpers keep open (the lock); -1: none. */
int writer_new(sd_event *event, int keep_fd, struct writer **ret, struct error *err);

/* Takes NULL. Helpers that write still are killed: see writer_finish(). */
void writer_free(struct writer *writer);
DEFINE_CLEANUP(struct writer *, writer_free);

/*
 * Called from the loop, and from writer_finish(). @r is 0 once the file has what was put last.
 * Negative: it has not, and @why says why, with the path in front; -EINPROGRESS: it is still being
 * written, and more is told later; else it is tried again when it is put again, and at the end.
 */
typedef void (*writer_told)(void *userdata, int r, const struct error *why);

/*
 * Replace the file at @path (mode 0600; its folders are made, with mode 0700) by @text, which is
 * copied, as soon as the loop is back on top. -ENOMEM. @on_told with @userdata hears the outcome,
 * in place of whoever heard it before.
 */
int writer_put(struct writer *writer, const char *path, const char *text, writer_told on_told,
	       void *userdata);

/* @userdata hears nothing more of @path. What is not written is tried once more. */
void writer_forget(struct writer *writer, const char *path, const void *userdata);

/*
 * At the end, when no loop runs any more: wait for what is on its way and write what has waited for
 * it, or has failed, up to @timeout_ms in all.
 */
void writer_finish(struct writer *writer, uint64_t timeout_ms);
