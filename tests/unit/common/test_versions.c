/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "common/protocol.h"
#include "common/versions.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_versions_common_is_the_newest_of_both(void **state)
{
	static const struct {
		struct version_range a, b;
		uint32_t common;
	} cases[] = {
		{{1, 1}, {1, 1}, 1}, {{1, 2}, {1, 1}, 1},
		{{1, 2}, {2, 3}, 2}, {{1, 2}, {1, 2}, 2},
		{{1, 5}, {2, 3}, 3}, {{1, 1}, {2, 3}, 0},
		{{1, 2}, {3, 4}, 0}, {{UINT32_MAX, UINT32_MAX}, {1, UINT32_MAX}, UINT32_MAX},
	};

	(void)state;
	for (size_t k = 0; k < COUNT(cases); k++) {
		assert_int_equal(versions_common(&cases[k].a, &cases[k].b), cases[k].common);
		assert_int_equal(versions_common(&cases[k].b, &cases[k].a), cases[k].common);
	}
}

/* Of hellos of any version the rest may be whatever it wants. */
static void test_versions_meet_reads_the_range_alone(void **state)
{
	static const struct version_range ours = {2, 3};
	static const struct {
		const char *text;
		uint32_t version;
	} cases[] = {
		{"{'type':'hello','version':2}", 2},
		{"{'type':'hello','version':3,'newest':0}", 3},
		{"{'type':'hello','version':1,'newest':2}", 2},
		{"{'type':'hello','version':1,'newest':9}", 3},
		{"{'type':'hello','version':3,'newest':4,'state':7,'service':{}}", 3},
		/* One that makes no sense says one number, and the rest is report_decode()'s. */
		{"{'type':'hello','version':3,'newest':'x'}", 3},
		{"{'type':'hello','version':3,'newest':2}", 3},
		{"{'type':'hello','version':3,'newest':4294967296}", 3},
		{"{'type':'hello','version':0}", 0},
		{"{'type':'hello','version':'2'}", 0},
		{"{'type':'hello','version':-1}", 0},
		{"{'type':'hello'}", 0},
		{"{'type':'left','version':9}", 0},
		{"{'type':7,'version':9}", 0},
		{"{'version':9}", 0},
		{"[]", 0},
		{"hello", 0},
		{"", 0},
	};

	(void)state;
	for (size_t k = 0; k < COUNT(cases); k++) {
		char text[128];
		uint32_t version = 77;
		struct error err;

		strcpy(text, cases[k].text);
		for (char *at = text; (at = strchr(at, '\'')); at++)
			*at = '"';
		if (versions_meet(text, strlen(text), &ours, &version, &err) != 0)
			fail_msg("%s: %s", text, err.text);
		if (version != cases[k].version)
			fail_msg("%s: %u", text, version);
	}
}

static void refused(const char *text, struct version_range ours, const char *expected)
{
	uint32_t version = 77;
	struct error err;

	assert_int_equal(versions_meet(text, strlen(text), &ours, &version, &err),
			 -EPROTONOSUPPORT);
	assert_string_equal(err.text, expected);
	assert_int_equal(version, 0);
}

static void test_versions_that_do_not_meet_are_named_with_what_to_do(void **state)
{
	(void)state;
	refused("{\"type\":\"hello\",\"version\":4,\"newest\":5,\"agent_pid\":4711}",
		(struct version_range){2, 3},
		"pid 4711 speaks versions 4 to 5 of the agents' protocol, this batond speaks "
		"versions 2 to 3: a later baton has started it; install that one again, whose "
		"batond takes it over");
	refused("{\"type\":\"hello\",\"version\":1,\"agent_pid\":-1}", (struct version_range){2, 2},
		"it speaks version 1 of the agents' protocol, this batond speaks version 2: an "
		"earlier baton has started it; install the one between the two, and restart its "
		"service there");
}

/* Whatever a next version is: both of today's ends meet those of the version before. */
static void test_versions_one_back_is_spoken(void **state)
{
	(void)state;
	assert_int_equal(PROTOCOL_OLDEST, PROTOCOL_VERSION - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions_common_is_the_newest_of_both),
		cmocka_unit_test(test_versions_meet_reads_the_range_alone),
		cmocka_unit_test(test_versions_that_do_not_meet_are_named_with_what_to_do),
		cmocka_unit_test(test_versions_one_back_is_spoken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
