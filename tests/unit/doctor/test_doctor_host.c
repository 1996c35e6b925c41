/* SPDX-License-Identifier: BSD-2-Clause */
/* What the doctor says of a kernel's version. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "orchestrator/doctor/doctor_internal.h"

static int judge(unsigned major, unsigned minor, unsigned patch, bool woken,
		 struct doctor_trial *trial, struct error *err)
{
	const struct kernel_version v = {major, minor, patch};

	*trial = (struct doctor_trial){0};
	return doctor_judge_kernel(&v, woken, trial, err);
}

static void test_doctor_kernel_affected_names_the_fixed_version_of_its_series(void **state)
{
	struct doctor_trial trial;
	struct error err;

	(void)state;
	assert_int_equal(judge(6, 12, 85, false, &trial, &err), -EPROTO);
	assert_non_null(strstr(err.text, "6.12.85 has CVE-2026-46015"));
	assert_non_null(strstr(trial.how, "Linux 6.12.86 or later, or"));
	assert_int_equal(judge(6, 11, 3, false, &trial, &err), -EPROTO);
	assert_non_null(strstr(trial.how, "Linux 6.12.86 or later (there is no fix for this"));
}

static void test_doctor_kernel_affected_by_number_but_seen_to_wake_is_good(void **state)
{
	struct doctor_trial trial;
	struct error err;

	(void)state;
	assert_int_equal(judge(5, 14, 0, true, &trial, &err), 0);
	assert_non_null(strstr(trial.note, "has the fix"));
}

static void test_doctor_kernel_without_migration_is_too_old(void **state)
{
	struct doctor_trial trial;
	struct error err;

	(void)state;
	assert_int_equal(judge(5, 10, 200, true, &trial, &err), -EPROTO);
	assert_non_null(strstr(err.text, "does not migrate"));
	assert_non_null(strstr(trial.how, "5.14"));
}

static void test_doctor_kernel_fixed_is_good(void **state)
{
	struct doctor_trial trial;
	struct error err;

	(void)state;
	assert_int_equal(judge(6, 18, 27, false, &trial, &err), 0);
	assert_string_equal(trial.note, "6.18.27 is not affected");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test(test_doctor_kernel_##name)
		TEST(affected_names_the_fixed_version_of_its_series),
		TEST(affected_by_number_but_seen_to_wake_is_good),
		TEST(without_migration_is_too_old),
		TEST(fixed_is_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
