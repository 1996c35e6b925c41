/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tail: keeps the last 4 KiB of a stream in a ring buffer, for reports: why a server ended is
 * nearly always in the last lines that it wrote. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/protocol.h"

#define TAIL_SIZE (PROTOCOL_TAIL_MAX - 1)

/* Plain data; all zero is empty. */
struct tail {
	char ring[TAIL_SIZE];
	uint64_t total; /* bytes added since tail_reset() */
};

/* Forget everything. */
void tail_reset(struct tail *tail);
/* Append @n bytes. */
void tail_add(struct tail *tail, const char *data, size_t n);

/*
 * Write the end of the stream into @ret: whole lines, cleaned (common/clean.h), NUL-terminated. A
 * first line that may have lost its beginning is left out, unless it is the only one; so is the
 * newline at the end. Returns the length.
 */
size_t tail_text(const struct tail *tail, char ret[static PROTOCOL_TAIL_MAX]);
