/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * writer: replaces files (file_replace()) without waiting for the disk.
 *
 * A helper (errand.h) writes, one at a time for each file. What is to be written meanwhile waits,
 * and the newest text takes the place of those before it. While the daemon runs no helper is
 * killed: half a write must not come back later, beside another one. One that takes long is told of
 * in the log, and so is what cannot be written.
 *
 * What is written counts for a next daemon. So a helper holds the lock of the daemon's name until
 * it has written, whatever becomes of this daemon.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"

#define WRITER_TIMEOUT_MS 5000

struct writer;

/* @keep_fd: a descriptor that helpers keep open (the lock); -1: none. */
int writer_new(sd_event *event, int keep_fd, struct writer **ret, struct error *err);

/*
 * Replace the file at @path (mode 0600) by @text, which is copied, as soon as the loop is back on
 * top. -ENOMEM.
 */
int writer_put(struct writer *writer, const char *path, const char *text, size_t length);

/* How many files are not on the disk as they were put last. */
size_t writer_behind(const struct writer *writer);

/*
 * Waits for what is on its way and writes what has waited for it, up to @timeout_ms in all; what is
 * left then is told. No loop need run. Takes NULL.
 */
void writer_finish(struct writer *writer, uint64_t timeout_ms);
