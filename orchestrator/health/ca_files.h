/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ca_files: certificates of authorities ("tls": {"ca": FILE}), read by a helper (errand.h), so that
 * no check waits for a file system in the loop.
 *
 * What is known of a file is used for CA_FILES_FRESH_MS; then it is read again beside the checks
 * that use it. Whoever must have something newer says since when. While a file does not answer,
 * what was known of it stays.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "common/cleanup.h"
#include "common/error.h"

#define CA_FILES_MAX      256
#define CA_FILES_FRESH_MS 30000

struct ca_files;

/* @on_read with @userdata is called when one has been read, or could not be. NULL without memory.
 */
struct ca_files *ca_files_new(sd_event *event, void (*on_read)(void *userdata), void *userdata);

/* Takes NULL. */
void ca_files_free(struct ca_files *files);
DEFINE_CLEANUP(struct ca_files *, ca_files_free);

/*
 * What is in the file at @path, read no earlier than @since_ms (0: whenever). 1: *ret has it, until
 * the next call. 0: it is being read; ask again after on_read(). Negative: it cannot be read, and
 * @err says why; a failure from before @asked_ms, when the caller began to ask, is tried anew.
 * -ETIMEDOUT, -EAGAIN, -ENOMEM, -EIO: that is this host's trouble.
 */
int ca_files_get(struct ca_files *files, const char *path, uint64_t asked_ms, uint64_t since_ms,
		 const char **ret, size_t *ret_n, struct error *err);
