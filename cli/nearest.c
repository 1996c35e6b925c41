/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/nearest.h"

#include <string.h>

#define WORD_MAX  32
#define EDITS_MAX 2

static size_t min(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Edit distance with swaps of neighbours (optimal string alignment). */
static size_t distance(const char *a, size_t n_a, const char *b, size_t n_b)
{
	size_t d[WORD_MAX + 1][WORD_MAX + 1];

	for (size_t i = 0; i <= n_a; i++)
		d[i][0] = i;
	for (size_t j = 0; j <= n_b; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= n_a; i++) {
		for (size_t j = 1; j <= n_b; j++) {
			d[i][j] = min(d[i - 1][j], d[i][j - 1]) + 1;
			d[i][j] = min(d[i][j], d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = min(d[i][j], d[i - 2][j - 2] + 1);
		}
	}
	return d[n_a][n_b];
}

const char *cli_nearest(const char *word, const char *const *known, size_t n_known)
{
	size_t n = strlen(word), best = EDITS_MAX + 1;
	const char *nearest = NULL;

	if (n > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < n_known; i++) {
		size_t length = strlen(known[i]), d;

		if (length > WORD_MAX)
			continue;
		d = distance(word, n, known[i], length);
		/* Most of the word must be right: "xn" is two edits away from "run", but nobody
		 * meant that. */
		if (d < best && d < length - d) {
			best = d;
			nearest = known[i];
		}
	}
	return nearest;
}
