/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/clean.h"

/* The length of the control sequence "ESC [ parameters final" at @s; 0 if there is none. */
static size_t escape_length(const char *s, size_t n)
{
	size_t i = 2;

	if (n < 3 || s[0] != 0x1b || s[1] != '[')
		return 0;
	while (i < n && s[i] >= 0x20 && s[i] <= 0x3f)
		i++;
	return i < n && s[i] >= 0x40 && s[i] <= 0x7e ? i + 1 : 0;
}

size_t clean_text(char *text, size_t n)
{
	size_t from = 0, to = 0, length;

	while (from < n) {
		unsigned char c = (unsigned char)text[from];

		if ((length = escape_length(text + from, n - from)) > 0) {
			from += length;
			continue;
		}
		if (c == 0xc2 && from + 1 < n && ((unsigned char)text[from + 1] & 0xe0) == 0x80) {
			/* U+0080 to U+009F, in UTF-8 */
			text[to++] = '?';
			from++;
		} else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
			text[to++] = '?';
		} else {
			text[to++] = (char)c;
		}
		if (c == '\r')
			to--;
		from++;
	}
	return to;
}
