/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vector: NULL-terminated lists of strings, as execve(2) takes them.
 *
 * A vector owns its strings. NULL is an empty vector everywhere.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"

void vector_free(char **vector);
DEFINE_CLEANUP(char **, vector_free);

size_t vector_length(char *const *vector);

/* Append @text, which is the vector's afterwards. -ENOMEM: @text is freed, the rest is unchanged.
 */
int vector_append(char ***vector, char *text);

/* A deep copy; of NULL it is an empty vector that is not NULL. -ENOMEM. */
int vector_copy(char *const *vector, char ***ret);

/* The same strings in the same order? */
bool vector_equal(char *const *a, char *const *b);
