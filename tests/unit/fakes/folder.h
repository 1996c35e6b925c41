/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * folder: a folder of its own for the files of each test, made by folder_set_up() and removed by
 * folder_tear_down().
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char folder[64];

static inline int folder_set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/baton-test-XXXXXX");
	return mkdtemp(folder) && chmod(folder, 0755) == 0 ? 0 : -1;
}

static inline int folder_tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

/* The path of @name in the folder; overwritten some calls later. */
static inline char *in_folder(const char *name)
{
	static char paths[32][256];
	static size_t next;
	char *path = paths[next++ % 32];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static inline char *write_bytes(const char *name, const void *bytes, size_t n, mode_t mode)
{
	char *path = in_folder(name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
	return path;
}

static inline char *write_file(const char *name, const char *text, mode_t mode)
{
	return write_bytes(name, text, strlen(text), mode);
}
