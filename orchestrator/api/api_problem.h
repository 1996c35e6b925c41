/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_problem: an error answer, as a problem document (RFC 9457). Part of api.h.
 */
#pragma once

#include <jansson.h>

#include "common/error.h"

/*
 * An error answer. .detail says which part of the request was wrong, and what was expected. Fields
 * that are zero get a default.
 *
 * .mistakes belongs to the problem, which api_problem_done() lets go of. The API does so for the
 * problems that it passes to its backend.
 */
struct api_problem {
	unsigned status;   /* HTTP; 500 */
	int code;          /* exit status of the command line: 1 error (default), 2 usage, 6 busy */
	const char *title; /* a constant; the status in words */
	struct error detail;
	int retry_after_s; /* if not 0: the same request may do better after that */
	json_t *mistakes;  /* an array, taken over; NULL: none */
};

/* Let go of what the problem holds. It may be one that was never filled in. */
static inline void api_problem_done(struct api_problem *problem)
{
	json_decref(problem->mistakes);
	problem->mistakes = NULL;
}
