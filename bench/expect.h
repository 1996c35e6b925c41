/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * expect: is an answer the right one?
 *
 * A list of statuses, and optionally a POSIX extended regular expression that must match the whole
 * body without the white space around it. Bodies repeat, and regexec(3) is slow: verdicts on short
 * bodies are remembered.
 */
#pragma once

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define EXPECT_STATUSES_MAX 8
#define EXPECT_CACHE        16   /* a power of two */
#define EXPECT_CACHED_MAX   256  /* bytes of a body that is remembered */
#define EXPECT_BODY_MAX     4096 /* longer ones never match */

struct expect {
	int statuses[EXPECT_STATUSES_MAX];
	size_t n_statuses;
	bool has_body;
	regex_t body;
	struct {
		size_t length;
		bool known, matches;
		char text[EXPECT_CACHED_MAX];
	} cache[EXPECT_CACHE];
};

/* "200" or "200,201,204"; @body may be NULL. -EINVAL with the reason in @err. */
int expect_init(struct expect *expect, const char *statuses, const char *body, struct error *err);

/* Free the contents, not the struct itself; also for one that is all zeroes. */
void expect_done(struct expect *expect);

bool expect_status(const struct expect *expect, int status);

/* @whole false: @body is only the beginning, which never matches. */
bool expect_body(struct expect *expect, const char *body, size_t length, bool whole);
