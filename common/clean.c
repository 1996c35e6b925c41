/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/clean.h"

#include <stdbool.h>
#include <string.h>

#define CHARACTER_MAX 4 /* bytes */

size_t clean_character(const char *text, size_t n)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned char low = 0x80, high = 0xbf;
	size_t length;

	if (n > 0 && s[0] < 0x80)
		return 1;
	if (n == 0 || s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	length = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (n < 2 || s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if (i >= n || (s[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

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

static bool is_between(const char *s, const char *first, const char *last)
{
	return memcmp(s, first, 3) >= 0 && memcmp(s, last, 3) <= 0;
}

/* Is the character of @length bytes one that does something to what stands around it? */
static bool is_control(const char *s, size_t length)
{
	unsigned char c = (unsigned char)s[0];

	if (length == 1)
		return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
	if (length == 2)
		return c == 0xc2 && (unsigned char)s[1] < 0xa0; /* U+0080 to U+009F */
	/* U+2028 to U+202E, U+2066 to U+2069. */
	return length == 3 && (is_between(s, "\xe2\x80\xa8", "\xe2\x80\xae") ||
			       is_between(s, "\xe2\x81\xa6", "\xe2\x81\xa9"));
}

/*
 * Only whole characters and sequences go, and what is no character has become "?" before its
 * neighbours meet: so nothing new can come into being where something was.
 */
size_t clean_text(char *text, size_t n)
{
	size_t from = 0, to = 0, length;

	while (from < n) {
		length = escape_length(text + from, n - from);
		if (length > 0 || text[from] == '\r') {
			from += length > 0 ? length : 1;
			continue;
		}
		length = clean_character(text + from, n - from);
		if (length == 0 || is_control(text + from, length)) {
			text[to++] = '?';
		} else {
			memmove(text + to, text + from, length);
			to += length;
		}
		from += length > 0 ? length : 1;
	}
	return to;
}

void clean_line(char *text)
{
	text[clean_text(text, strlen(text))] = '\0';
	for (char *c = text; *c; c++)
		if (*c == '\n' || *c == '\t')
			*c = ' ';
}

void clean_name(char *name)
{
	char *to = name;
	size_t length;

	clean_line(name);
	for (const char *from = name; *from; from += length) {
		length = clean_character(from, CHARACTER_MAX);
		*to++ = length == 1 && *from != '"' ? *from : '?';
	}
	*to = '\0';
}
