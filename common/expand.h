/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * expand: replaces the placeholders in what a service's configuration says: the command and the
 * environment of a server, its directory, the files of its output, hooks and gates, the command of
 * a check. This is their only home.
 *
 *	{fd}		the number of the first listening socket
 *	{fds:SEP}	the numbers of all of them with SEP between: "{fds:;};" gives "3;4;", which
 *			is how nginx inherits sockets. SEP is any text without "}" of at most 15
 *			bytes, and may be empty
 *	{generation}	the generation's number
 *	{instance}	the instance's index, from 0
 *
 * Anything else in braces stays as it is: JSON arguments and shell functions pass unharmed. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum expand_kind {
	EXPAND_FDS = 1, /* {fd} and {fds:SEP} */
	EXPAND_GENERATION = 2,
	EXPAND_INSTANCE = 4,
};

struct expand_values {
	const int *fds; /* of the listening sockets, as the server has them */
	size_t n_fds;
	uint32_t generation;
	uint32_t instance;
	unsigned stay; /* kinds that are no placeholders here: they stay as they are */
};

/*
 * *ret is a copy of @text with its placeholders replaced, malloc'ed. Returns 0, or
 *	-EINVAL		@text has {fd} or {fds:SEP}, but there is no socket
 *	-E2BIG		the result exceeds 128 KiB (MAX_ARG_STRLEN of execve(2))
 *	-ENOMEM
 */
int expand(const char *text, const struct expand_values *values, char **ret);

/* The same for a vector (common/vector.h): *ret is a new one. */
int expand_vector(char *const *texts, const struct expand_values *values, char ***ret);

/* Where the first placeholder of @kinds in @text begins; NULL: there is none. */
const char *expand_find(const char *text, unsigned kinds);

/* Does one of @texts (NULL-terminated; NULL: none) contain {fd} or {fds:SEP}? */
bool expand_uses_fds(char *const *texts);

/*
 * The folder in front of the first {generation} or {instance} of @path, which begins with "/": the
 * part that all instances have in common. "/srv/web" of
 * "/srv/web/{generation}". *ret is malloc'ed; it is @path if that has no placeholder. -ENOMEM.
 */
int expand_common_folder(const char *path, char **ret);
