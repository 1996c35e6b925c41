/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * expect: decides whether an answer is right.
 *
 * An expectation is a list of statuses, and perhaps a POSIX extended regular expression. That must
 * match the whole body, without the white space around it. Bodies repeat, and regexec(3) is slow:
 * each thread remembers its verdicts on short bodies.
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
};

/* One thread's verdicts on bodies, of one expectation. All zero: none yet. */
struct expect_verdicts {
	struct {
		size_t length;
		bool known, matches;
		char text[EXPECT_CACHED_MAX];
	} cache[EXPECT_CACHE];
};

/* @statuses is "200" or "200,201,204"; @body may be NULL. Returns 0, or -EINVAL with the reason. */
int expect_init(struct expect *expect, const char *statuses, const char *body, struct error *err);

/* Free the contents, not the struct itself, which may be all zero. */
void expect_done(struct expect *expect);

/* Is the status right? */
bool expect_status(const struct expect *expect, int status);

/* Is the body right? @whole false: @body is only its beginning, which never is. */
bool expect_body(const struct expect *expect, struct expect_verdicts *verdicts, const char *body,
		 size_t length, bool whole);
