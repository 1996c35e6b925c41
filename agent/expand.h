/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * expand: placeholders in a server's command and environment.
 *
 *	{fd}		number of the first listening socket
 *	{fds:SEP}	numbers of all of them with SEP between ("{fds:;};" gives "3;4;", the form
 *			in which nginx inherits sockets); SEP is any text without "}", at most 15
 *			bytes, and may be empty
 *	{generation}	the generation's number
 *	{instance}	the instance's index, from 0
 *
 * Anything else in braces is left as it is: JSON arguments and shell functions pass unharmed.
 * Pure: no I/O, and no state.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct expand_values {
	const int *fds;
	size_t n_fds;
	uint32_t generation;
	uint32_t instance;
};

/*
 * @ret is malloc'ed. -EINVAL where {fd} or {fds:} is used and there is no socket, -E2BIG where the
 * result exceeds 128 KiB (MAX_ARG_STRLEN of execve(2)), -ENOMEM.
 */
int expand(const char *text, const struct expand_values *values, char **ret);

/* The same for a NULL-terminated vector; @ret is a new NULL-terminated vector of new strings. */
int expand_vector(char *const *texts, const struct expand_values *values, char ***ret);

/* Does {fd} or {fds:SEP} stand in one of them? */
bool expand_uses_fds(char *const *texts);
