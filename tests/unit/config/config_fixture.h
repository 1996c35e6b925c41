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
#include "tests/unit/fakes/folder.h"

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

/* A configuration with one mistake in its service "web". */
struct single_mistake {
	const char *json, *mistake;
};

static inline void expect_single_mistakes(const struct single_mistake *list, size_t n)
{
	char expected[1200];

	for (size_t i = 0; i < n; i++) {
		load_bad(list[i].json);
		snprintf(expected, sizeof(expected), "services.web.%s", list[i].mistake);
		expect_mistake(0, expected);
		if (mistakes.total != 1)
			fail_msg("%zu mistakes instead of one: %s ... %s", mistakes.total,
				 mistakes.list[0].text, mistakes.list[1].text);
	}
}

#define SERVICE(rest_)                                                                             \
	"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":\"127.0.0.1:8080\"" rest_  \
	"}}}"

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, folder_set_up, folder_tear_down)
