/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clean: makes a server's output fit for a person's terminal.
 *
 * What a server prints ends up in reports, in events and on screens. It may contain anything: NULs,
 * or escape sequences that move the cursor or set the window's title. Bytes that are not UTF-8 stay
 * here; fields_make_utf8() replaces them. Pure.
 */
#pragma once

#include <stddef.h>

/*
 * Clean @n bytes in place. Returns how many are left, at most @n; no NUL is added.
 *
 *	stay		newlines and tabs
 *	are removed	carriage returns, and control sequences (ECMA-48: "ESC [ ...", for example
 *			colours)
 *	become "?"	all other control characters, also U+0080 to U+009F
 */
size_t clean_text(char *text, size_t n);
