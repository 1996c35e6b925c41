/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/vector.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void vector_free(char **vector)
{
	if (!vector)
		return;
	for (char **text = vector; *text; text++)
		free(*text);
	free(vector);
}

size_t vector_length(char *const *vector)
{
	size_t n = 0;

	while (vector && vector[n])
		n++;
	return n;
}

int vector_append(char ***vector, char *text)
{
	size_t n = vector_length(*vector);
	char **longer;

	assert(text);
	longer = realloc(*vector, (n + 2) * sizeof(*longer));
	if (!longer) {
		free(text);
		return -ENOMEM;
	}
	longer[n] = text;
	longer[n + 1] = NULL;
	*vector = longer;
	return 0;
}

int vector_copy(char *const *vector, char ***ret)
{
	size_t n = vector_length(vector);
	cleanup(vector_free) char **copy = calloc(n + 1, sizeof(*copy));

	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		copy[i] = strdup(vector[i]);
		if (!copy[i])
			return -ENOMEM;
	}
	*ret = TAKE_PTR(copy);
	return 0;
}

bool vector_equal(char *const *a, char *const *b)
{
	size_t n = vector_length(a);

	if (n != vector_length(b))
		return false;
	for (size_t i = 0; i < n; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return true;
}
