/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tail: the last few KiB of a stream, for reports: why a server ended is nearly always in the last
 * lines that it wrote. A ring buffer of fixed size. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/protocol.h"

#define TAIL_SIZE (PROTOCOL_TAIL_MAX - 1)

/* Plain data; all zero is empty. */
struct tail {
	char ring[TAIL_SIZE];
	uint64_t total; /* bytes added since it was empty */
};

void tail_reset(struct tail *tail);
void tail_add(struct tail *tail, const char *data, size_t n);

/*
 * The end of the stream as text: cleaned (clean_text()), NUL-terminated, whole lines. A first line
 * that may have lost its beginning is left out, unless it is the only one. The newline at the end
 * is left out. Returns the length.
 */
size_t tail_text(const struct tail *tail, char ret[static PROTOCOL_TAIL_MAX]);
