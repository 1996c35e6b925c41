/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/tail.h"

#include <stdbool.h>
#include <string.h>

#include "common/clean.h"

void tail_reset(struct tail *tail)
{
	tail->total = 0;
}

void tail_add(struct tail *tail, const char *data, size_t n)
{
	size_t at, first;

	if (n > TAIL_SIZE) {
		tail->total += n - TAIL_SIZE;
		data += n - TAIL_SIZE;
		n = TAIL_SIZE;
	}
	at = tail->total % TAIL_SIZE;
	first = n < TAIL_SIZE - at ? n : TAIL_SIZE - at;
	memcpy(tail->ring + at, data, first);
	memcpy(tail->ring, data + first, n - first);
	tail->total += n;
}

size_t tail_text(const struct tail *tail, char ret[static PROTOCOL_TAIL_MAX])
{
	bool cut = tail->total > TAIL_SIZE;
	size_t n = cut ? TAIL_SIZE : (size_t)tail->total;
	size_t at = cut ? tail->total % TAIL_SIZE : 0;
	const char *newline;

	memcpy(ret, tail->ring + at, n - at);
	memcpy(ret + n - at, tail->ring, at);
	while (n > 0 && ret[n - 1] == '\n')
		n--;
	newline = cut ? memchr(ret, '\n', n) : NULL;
	if (newline) {
		n -= (size_t)(newline + 1 - ret);
		memmove(ret, newline + 1, n);
	}
	n = clean_text(ret, n);
	ret[n] = '\0';
	return n;
}
