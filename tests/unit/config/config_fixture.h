/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * config_fixture: a folder of its own for the files of each test, and configurations that are
 * read from there.
 */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "orchestrator/config/config.h"

/* ---- a folder for the files of each test ---------------------------------------------------- */

static char folder[64];

static inline int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/baton-test-config-XXXXXX");
	return mkdtemp(folder) && chmod(folder, 0755) == 0 ? 0 : -1;
}

static inline int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

/* The path of @name in the folder; overwritten by the eighth next call. */
static inline const char *in_folder(const char *name)
{
	static char paths[8][256];
	static size_t next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static inline const char *write_file(const char *name, const char *text, mode_t mode)
{
	const char *path = in_folder(name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fputs(text, f) >= 0 ? 0 : -1, 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
	return path;
}

static struct config_mistakes mistakes; /* too large for a stack with sanitizers */

static inline struct config *load_good(const char *json)
{
	struct config *config = NULL;
	int r = config_load(write_file("baton.json", json, 0644), NULL, &config, &mistakes);

	for (size_t i = 0; i < mistakes.n; i++)
		print_message("unexpected: %s\n", mistakes.list[i].text);
	assert_int_equal(r, 0);
	assert_non_null(config);
	assert_int_equal(mistakes.total, 0);
	return config;
}

static inline void load_bad(const char *json)
{
	struct config *config = (struct config *)&mistakes;
	int r = config_load(write_file("baton.json", json, 0644), NULL, &config, &mistakes);

	assert_int_equal(r, -EINVAL);
	assert_null(config);
	assert_true(mistakes.n > 0);
}

static inline void expect_mistake(size_t i, const char *text)
{
	char expected[1400];

	assert_true(i < mistakes.n);
	snprintf(expected, sizeof(expected), "%s: %s", in_folder("baton.json"), text);
	assert_string_equal(mistakes.list[i].text, expected);
}

#define SERVICE(rest_)                                                                             \
	"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":\"127.0.0.1:8080\"" rest_  \
	"}}}"

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, set_up, tear_down)
