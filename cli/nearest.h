/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nearest: which known word did the user mean? Pure.
 */
#pragma once

#include <stddef.h>

/*
 * The word of @known that is the fewest edits away from @word (insert, delete, replace, swap of
 * neighbours), the first of several; NULL where none is close enough to be worth suggesting.
 */
const char *cli_nearest(const char *word, const char *const *known, size_t n_known);
