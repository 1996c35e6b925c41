/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clean: makes text from outside fit for a person's terminal, and for JSON.
 *
 * What a server prints, what a process is called, what a peer or a library says ends up in reports,
 * in events, in logs and on screens. It may contain anything: NULs, bytes that are not UTF-8, or
 * escape sequences that move the cursor or set the window's title. It is cleaned once, where it
 * enters. Whoever cuts it later may cut within a character: see fields_make_utf8().
 *
 * Cleaned text has no control characters but newlines and tabs, is UTF-8, and stays as it is if it
 * is cleaned again. Pieces of it may be joined. Pure.
 */
#pragma once

#include <stddef.h>

/*
 * Clean @n bytes in place. Returns how many are left, at most @n; no NUL is added.
 *
 *	stay		newlines and tabs
 *	are removed	carriage returns, and control sequences (ECMA-48: "ESC [ ...", for example
 *			colours)
 *	become "?"	all other control characters, also U+0080 to U+009F; those that reorder what
 *			follows, or end a line (U+2028 to U+202E, U+2066 to U+2069); each byte that
 *			is not part of a character
 */
size_t clean_text(char *text, size_t n);

/* The same for one line: newlines and tabs become blanks. NUL-terminated. */
void clean_line(char *text);

/*
 * The same for a name that messages put into quotes, of a process or a file. It has none itself,
 * and is ASCII, so that it can be cut anywhere and looks like no other: each other character
 * becomes "?".
 */
void clean_name(char *name);

/*
 * The length of the UTF-8 character that begins at @text, of which there are @n bytes; 0: there is
 * none (RFC 3629, section 4: no overlong forms, no surrogates, nothing above U+10FFFF). It never
 * reads beyond a NUL.
 */
size_t clean_character(const char *text, size_t n);
