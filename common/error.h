/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * error: the one way in which baton says why something failed.
 *
 * Functions return 0 (or a count) on success and a negative errno otherwise. Where a person must
 * learn the reason, the function also takes a trailing "struct error *err", which may be NULL.
 * The innermost function sets the text; each caller that knows more puts its own words in front:
 *
 *	return error_set(err, -errno, "bind");           ->  "bind: Address already in use"
 *	return error_prefix(err, r, "anchor %s", text);  ->  "anchor 0.0.0.0:80: bind: Address ..."
 *
 * Texts are cut at the size of the buffer, never overrun. An error is logged once, by the level
 * that decides what to do about it.
 */
#pragma once

struct error {
	char text[1024];
};

/*
 * Set the text and return @code. Where @code is a negative errno its description is appended
 * after ": "; pass the code through error_text() instead when the text already says it all.
 */
int error_set(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Set the text alone and return @code; nothing is appended. */
int error_text(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "<formatted>: " in front of the text and return @code. */
int error_prefix(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
