/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/label.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/clean.h"

#define CHARACTER_MAX 4 /* bytes */

_Static_assert(LABEL_MAX <= PIPE_BUF, "pipe(7): writes of up to PIPE_BUF bytes are atomic");

void label_init(struct label *label, const char *name)
{
	label->n = 0;
	snprintf(label->name, sizeof(label->name), "%s", name);
}

/* So many bytes at the end of the line are the beginning of a character whose end is to come. */
static size_t begun(const struct label *label)
{
	for (size_t k = 1; k < CHARACTER_MAX && k <= label->n; k++) {
		const char *at = label->line + label->n - k;

		if (((unsigned char)*at & 0xc0) == 0xc0)
			return clean_character(at, k) ? 0 : k;
	}
	return 0;
}

/* The first @n bytes of .line; the others stay. */
static size_t make_line(struct label *label, size_t n, char ret[static LABEL_MAX])
{
	int head = snprintf(ret, LABEL_MAX, "[%s] ", label->name);
	size_t length = (size_t)head;

	memcpy(ret + length, label->line, n);
	length += clean_text(ret + length, n);
	ret[length++] = '\n';
	label->n -= n;
	memmove(label->line, label->line + n, label->n);
	return length;
}

size_t label_take(struct label *label, const char *data, size_t n, char ret[static LABEL_MAX],
		  size_t *ret_length)
{
	size_t room = sizeof(label->line) - label->n;
	const char *newline = memchr(data, '\n', n < room ? n : room);
	size_t taken = newline ? (size_t)(newline - data) : n < room ? n : room;

	memcpy(label->line + label->n, data, taken);
	label->n += taken;
	*ret_length = 0;
	if (newline)
		*ret_length = make_line(label, label->n, ret);
	else if (label->n == sizeof(label->line))
		*ret_length = make_line(label, label->n - begun(label), ret);
	return taken + (newline != NULL);
}

size_t label_rest(struct label *label, char ret[static LABEL_MAX])
{
	return label->n > 0 ? make_line(label, label->n, ret) : 0;
}
