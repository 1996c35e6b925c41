/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vector: NULL-terminated lists of strings, as execve(2) takes them. Pure but for memory.
 *
 * A vector and its strings are malloc'ed, and the vector owns the strings. Everywhere NULL stands
 * for an empty vector.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"

/* Free the vector and its strings. */
void vector_free(char **vector);
DEFINE_CLEANUP(char **, vector_free);

/* How many strings there are. */
size_t vector_length(char *const *vector);

/*
 * Append @text, which belongs to the vector afterwards. Returns 0, or -ENOMEM: then @text is freed
 * and the vector is as before.
 */
int vector_append(char ***vector, char *text);

/* A deep copy. The copy of NULL is an empty vector that is not NULL. Returns 0 or -ENOMEM. */
int vector_copy(char *const *vector, char ***ret);

/* Have both the same strings in the same order? */
bool vector_equal(char *const *a, char *const *b);
