/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>

#include "common/refusal.h"

static void test_refusal_each_kind_has_a_status_an_exit_and_a_title(void **state)
{
	(void)state;
	for (int k = 0; k < _REFUSAL_KIND_COUNT; k++) {
		const struct refusal_info *info = refusal_info((enum refusal_kind)k);

		assert_in_range(info->http_status, 400, 599);
		assert_in_range(info->exit, EXIT_STATUS_ERROR, EXIT_STATUS_DOWN);
		assert_non_null(info->title);
	}
}

/* Scripts depend on these. */
static void test_refusal_what_scripts_rely_on(void **state)
{
	(void)state;
	assert_int_equal(refusal_info(REFUSAL_BUSY)->http_status, 409);
	assert_int_equal(refusal_info(REFUSAL_BUSY)->exit, 6);
	assert_int_equal(refusal_info(REFUSAL_BAD_RELEASE)->exit, 3);
	assert_int_equal(refusal_info(REFUSAL_BAD_FIRST_RELEASE)->exit, 8);
	assert_int_equal(refusal_info(REFUSAL_BAD_REQUEST)->exit, 2);
	assert_int_equal(refusal_info(REFUSAL_NO_SERVICE)->http_status, 404);
}

static void test_refusal_that_nobody_has_filled_is_internal(void **state)
{
	struct refusal refusal = {};

	(void)state;
	assert_int_equal(refusal_info(refusal.kind)->http_status, 500);
}

static void test_refuse_notes_the_kind_and_returns_an_error(void **state)
{
	struct refusal refusal = {};

	(void)state;
	error_text(&refusal.why, -EBUSY, "rollout 7 is under way");
	assert_int_equal(refuse(&refusal, REFUSAL_BUSY), -EINVAL);
	assert_int_equal(refusal.kind, REFUSAL_BUSY);
	assert_string_equal(refusal.why.text, "rollout 7 is under way");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusal_each_kind_has_a_status_an_exit_and_a_title),
		cmocka_unit_test(test_refusal_what_scripts_rely_on),
		cmocka_unit_test(test_refusal_that_nobody_has_filled_is_internal),
		cmocka_unit_test(test_refuse_notes_the_kind_and_returns_an_error),
	};

	return cmocka_run_group_tests_name("refusal", tests, NULL, NULL);
}
