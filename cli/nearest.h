/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nearest: guesses which known word the user meant. Pure.
 */
#pragma once

#include <stddef.h>

/*
 * The word of the @n_known that is the fewest edits away from @word: insert, delete, replace, swap
 * two neighbours. The first one of several; NULL if none is close enough to be suggested.
 */
const char *cli_nearest(const char *word, const char *const *known, size_t n_known);
