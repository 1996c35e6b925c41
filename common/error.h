/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * error: the one way in which baton says why something failed.
 *
 * Functions return 0 (or a count) on success and a negative errno otherwise. If a person must learn
 * the reason, the function also takes a trailing "struct error *err", which may be NULL. The
 * innermost function sets the text; each caller that knows more puts its own words in front:
 *
 *	return error_set(err, -errno, "bind");           ->  "bind: Address already in use"
 *	return error_prefix(err, r, "anchor %s", text);  ->  "anchor 0.0.0.0:80: bind: Address ..."
 *
 * A text that does not fit its buffer is cut. An error is logged once, by the level that decides
 * what to do about it.
 *
 * What comes from outside (files, the network, agents, the kernel) is checked, and refused with an
 * error. What a caller promises is asserted with assert(3). A broken promise ends the process with
 * one line on stderr, where the log goes, that names the file, the line and the expression. Every
 * build has the assertions.
 */
#pragma once

#ifdef NDEBUG
#error "baton's assertions belong to the product: build it without NDEBUG"
#endif

struct error {
	char text[1024];
};

/*
 * Set the text and return @code, a negative errno. Its description is appended after ": "; if the
 * text already says everything, use error_text().
 */
int error_set(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Set the text and return @code. Nothing is appended, and @code may be any number. */
int error_text(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "<formatted>: " in front of the text that is there, and return @code. */
int error_prefix(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
