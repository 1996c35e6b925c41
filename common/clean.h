/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clean: make what a server wrote fit for a person's terminal.
 *
 * What a server prints ends up in reports, events and on screens, and may be anything: NULs, or
 * escape sequences that move the cursor or set the window's title. (Bytes that are not UTF-8 are
 * the protocol's business.) Pure.
 */
#pragma once

#include <stddef.h>

/*
 * Clean @n bytes in place and return how many are left (never more than @n; no NUL is added).
 * Newlines and tabs stay; carriage returns and control sequences (ECMA-48, "ESC [ ...", colours
 * for instance) go; other control characters, those of U+0080 to U+009F too, become "?".
 */
size_t clean_text(char *text, size_t n);
