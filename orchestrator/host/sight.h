/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sight: what a helper has seen of the host, so that the daemon need not look itself.
 *
 * Whatever may hang (a file on another host, a broken disk, the name service) is asked by functions
 * that use this module: sight_stat(), file_read(), account_by_name() and others. A helper
 * (errand.h), which is a copy of the daemon, calls them for real, and each question is recorded
 * with its answer. Then the daemon calls the same functions, and is given these answers: it
 * touches nothing. A question that the helper did not ask is asked for real; so is every question
 * while nothing is recalled, as in the command line and at the start.
 *
 * A function that asks:
 *
 *	sight_ask(question, "stat %s", path);
 *	if (sight_recall(question, &answer, &n))	the daemon, afterwards
 *		return answer;
 *	sight_at(path);					in a helper that does not answer: where
 *	answer = stat(path);
 *	sight_note(question, &answer, sizeof(answer));	in the helper
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#define SIGHT_QUESTION_MAX (PATH_MAX + 128)

/* ---- questions ------------------------------------------------------------------------------ */

/* As stat(2) and lstat(2), but that they return 0 or a negative errno. */
int sight_stat(const char *path, struct stat *ret);
int sight_lstat(const char *path, struct stat *ret);

/* faccessat(2) by the effective ids. 0 or a negative errno. */
int sight_access(const char *path, int mode);

/* As realpath(3): malloc'ed. 0 or a negative errno. */
int sight_realpath(const char *path, char **ret);

/* As readlink(2), NUL-terminated; -ENAMETOOLONG if it does not fit. */
int sight_readlink(const char *path, char ret[static PATH_MAX]);

/* ---- for those who ask ---------------------------------------------------------------------- */

/* Is anything recorded or recalled? If not, the functions below do nothing, and nothing is asked.
 */
bool sight_is_on(void);

/* Put the question into words. */
void sight_ask(char question[static SIGHT_QUESTION_MAX], const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Is there an answer? It is valid until sight_forget(). */
bool sight_recall(const char *question, const void **ret, size_t *ret_n);

/* The answer, if it is recorded. */
void sight_note(const char *question, const void *answer, size_t n);

/* What is looked at now, for people. */
void sight_at(const char *what);

/* ---- for errands ---------------------------------------------------------------------------- */

/* From now on questions are recorded. What is looked at is written to @place (NULL: nowhere). */
void sight_record(char *place, size_t size);

/* What was recorded. NULL: there was no memory. Valid until sight_forget(). */
const char *sight_recorded(size_t *ret_n);

/* From now on what was recorded is recalled; @bytes stay the caller's, until sight_forget(). */
void sight_use(const char *bytes, size_t n);

/*
 * Nobody has seen anything, for the reason @why: until sight_forget() stat(2) and its like answer
 * -ETIMEDOUT, and nothing is asked for real.
 */
void sight_use_nothing(const char *why);

/* That reason; NULL: something can be seen. */
const char *sight_why_nothing(void);

/* None of these any more. */
void sight_forget(void);
