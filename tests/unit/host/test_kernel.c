/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "orchestrator/host/kernel.h"

#define DEBIAN       "#1 SMP PREEMPT_DYNAMIC Debian "
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void expect_version(const struct kernel_version *got, unsigned major, unsigned minor,
			   unsigned patch, const char *of)
{
	if (got->major != major || got->minor != minor || got->patch != patch)
		fail_msg("%s: read as %u.%u.%u", of, got->major, got->minor, got->patch);
}

/* ---- versions ------------------------------------------------------------------------------- */

static void test_kernel_parse_of_releases(void **state)
{
	static const struct {
		const char *release;
		unsigned major, minor, patch;
	} cases[] = {
		{"6.18.44", 6, 18, 44},
		{"6.18.44-fc-v657", 6, 18, 44},
		{"5.14.0-427.13.1.el9_4.x86_64", 5, 14, 0},
		{"6.6.87.2-microsoft-standard-WSL2", 6, 6, 87},
		{"4.19.0+", 4, 19, 0},
		{"7.1.0-rc2", 7, 1, 0},
		{"7.1-rc2", 7, 1, 0},
		{"7.1", 7, 1, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct kernel_version v;

		assert_int_equal(kernel_version_parse(cases[i].release, "#1 SMP", "", &v), 0);
		expect_version(&v, cases[i].major, cases[i].minor, cases[i].patch,
			       cases[i].release);
	}
}

static void test_kernel_parse_of_what_is_no_version_is_einval(void **state)
{
	static const char *const cases[] = {"",     "x",     "6",      "6.",
					    "6.x",  ".6.1",  " 6.1.2", "6.-1.2",
					    "6.1.", "6.1.x", "-6.1",   "99999999.1.1"};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct kernel_version v;

		if (kernel_version_parse(cases[i], "", "", &v) != -EINVAL)
			fail_msg("\"%s\" was taken for a version", cases[i]);
	}
}

static void test_kernel_parse_sees_what_distributions_really_built(void **state)
{
	static const struct {
		const char *release, *build, *signature;
		unsigned patch;
	} cases[] = {
		{"6.1.0-32-amd64", DEBIAN "6.1.129-1 (2025-03-06)", "", 129},
		{"6.1.0-32-amd64", DEBIAN, "", 0},
		{"6.1.0-32-amd64", DEBIAN "bookworm", "", 0},
		/* another series: not to be believed */
		{"6.1.0-32-amd64", DEBIAN "6.6.140-1", "", 0},
		{"6.1.0-91-generic", "#101-Ubuntu SMP", "Ubuntu 6.1.0-91.101-generic 6.1.131\n",
		 131},
		{"6.1.0-91-generic", "#101-Ubuntu SMP", "Ubuntu 6.1.0-91.101-generic 5.15.131\n",
		 0},
		{"6.1.0-91-generic", "#101-Ubuntu SMP", "Ubuntu ", 0},
		{"6.1.0-91-generic", "#101-Ubuntu SMP", "Other 6.1.0-91.101 6.1.131\n", 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct kernel_version v;

		assert_int_equal(kernel_version_parse(cases[i].release, cases[i].build,
						      cases[i].signature, &v),
				 0);
		expect_version(&v, 6, 1, cases[i].patch, cases[i].build);
	}
}

/* ---- the ranges ----------------------------------------------------------------------------- */

static void test_kernel_every_boundary_is_where_it_should_be(void **state)
{
	static const struct {
		struct kernel_version version;
		enum kernel_migration migration;
		struct kernel_version fixed;
	} cases[] = {
		/* before there was migration */
		{{0, 0, 0}, KERNEL_HAS_NONE, {0, 0, 0}},
		{{4, 19, 300}, KERNEL_HAS_NONE, {0, 0, 0}},
		{{5, 13, 0}, KERNEL_HAS_NONE, {0, 0, 0}},
		{{5, 13, 999}, KERNEL_HAS_NONE, {0, 0, 0}},
		/* the first, whose series ended early */
		{{5, 14, 0}, KERNEL_AFFECTED, {5, 15, 209}},
		{{5, 14, 21}, KERNEL_AFFECTED, {5, 15, 209}},
		/* each series that has the fix: first of it, last without, first with, later */
		{{5, 15, 0}, KERNEL_AFFECTED, {5, 15, 209}},
		{{5, 15, 208}, KERNEL_AFFECTED, {5, 15, 209}},
		{{5, 15, 209}, KERNEL_FIXED, {0, 0, 0}},
		{{5, 15, 999}, KERNEL_FIXED, {0, 0, 0}},
		{{6, 1, 0}, KERNEL_AFFECTED, {6, 1, 175}},
		{{6, 1, 174}, KERNEL_AFFECTED, {6, 1, 175}},
		{{6, 1, 175}, KERNEL_FIXED, {0, 0, 0}},
		{{6, 6, 0}, KERNEL_AFFECTED, {6, 6, 140}},
		{{6, 6, 139}, KERNEL_AFFECTED, {6, 6, 140}},
		{{6, 6, 140}, KERNEL_FIXED, {0, 0, 0}},
		{{6, 12, 0}, KERNEL_AFFECTED, {6, 12, 86}},
		{{6, 12, 85}, KERNEL_AFFECTED, {6, 12, 86}},
		{{6, 12, 86}, KERNEL_FIXED, {0, 0, 0}},
		{{6, 18, 0}, KERNEL_AFFECTED, {6, 18, 27}},
		{{6, 18, 26}, KERNEL_AFFECTED, {6, 18, 27}},
		{{6, 18, 27}, KERNEL_FIXED, {0, 0, 0}},
		{{6, 18, 44}, KERNEL_FIXED, {0, 0, 0}},
		{{7, 0, 0}, KERNEL_AFFECTED, {7, 0, 4}},
		{{7, 0, 3}, KERNEL_AFFECTED, {7, 0, 4}},
		{{7, 0, 4}, KERNEL_FIXED, {0, 0, 0}},
		/* where the fix was made, and all that follow */
		{{7, 1, 0}, KERNEL_FIXED, {0, 0, 0}},
		{{7, 2, 0}, KERNEL_FIXED, {0, 0, 0}},
		{{8, 0, 0}, KERNEL_FIXED, {0, 0, 0}},
		/* series in between that ended: the next one with the fix, whatever their number */
		{{5, 16, 20}, KERNEL_AFFECTED, {6, 1, 175}},
		{{5, 19, 999}, KERNEL_AFFECTED, {6, 1, 175}},
		{{6, 0, 19}, KERNEL_AFFECTED, {6, 1, 175}},
		{{6, 2, 999}, KERNEL_AFFECTED, {6, 6, 140}},
		{{6, 5, 0}, KERNEL_AFFECTED, {6, 6, 140}},
		{{6, 7, 0}, KERNEL_AFFECTED, {6, 12, 86}},
		{{6, 11, 200}, KERNEL_AFFECTED, {6, 12, 86}},
		{{6, 13, 0}, KERNEL_AFFECTED, {6, 18, 27}},
		{{6, 17, 300}, KERNEL_AFFECTED, {6, 18, 27}},
		{{6, 19, 0}, KERNEL_AFFECTED, {7, 0, 4}},
		{{6, 19, 300}, KERNEL_AFFECTED, {7, 0, 4}},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct kernel_version *v = &cases[i].version;
		struct kernel_version fixed = {77, 77, 77};

		if (kernel_migration(v, &fixed) != cases[i].migration)
			fail_msg("%u.%u.%u: wrong", v->major, v->minor, v->patch);
		expect_version(&fixed, cases[i].fixed.major, cases[i].fixed.minor,
			       cases[i].fixed.patch, "the version with the fix");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test(test_kernel_##name)
		TEST(parse_of_releases),
		TEST(parse_of_what_is_no_version_is_einval),
		TEST(parse_sees_what_distributions_really_built),
		TEST(every_boundary_is_where_it_should_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
