/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * label: makes lines of a server's output fit for a stream that others write to, too: batond's own.
 *
 * There each line says whose it is, "[web] listening on :8080", and is cleaned (clean.h). So none
 * can pass for one of batond's, and none begins with what a journal takes for its priority, "<3>".
 * A line of more than LABEL_LINE_MAX bytes becomes several. Each fits into one write(2) to a pipe,
 * and is torn by no other writer. Pure.
 */
#pragma once

#include <stddef.h>

#include "common/protocol.h"

#define LABEL_LINE_MAX 2048 /* bytes of the server's */
#define LABEL_MAX      (LABEL_LINE_MAX + PROTOCOL_NAME_MAX + 4)

struct label {
	char name[PROTOCOL_NAME_MAX];
	char line[LABEL_LINE_MAX]; /* what has no newline yet, as it came */
	size_t n;
};

void label_init(struct label *label, const char *name);

/*
 * Take as many of the @n bytes at @data as make one line; returns how many. *ret_length: so many
 * bytes of @ret are that line, with its newline; 0: it goes on.
 */
size_t label_take(struct label *label, const char *data, size_t n, char ret[static LABEL_MAX],
		  size_t *ret_length);

/* What has no newline yet becomes a line; returns its length, 0: there is nothing. */
size_t label_rest(struct label *label, char ret[static LABEL_MAX]);
