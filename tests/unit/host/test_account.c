/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "orchestrator/host/account.h"

static void test_account_root_is_found_by_name_and_number(void **state)
{
	cleanup(account_free) struct account *by_name = NULL;
	cleanup(account_free) struct account *by_uid = NULL;

	(void)state;
	assert_int_equal(account_by_name("root", &by_name), 0);
	assert_int_equal(by_name->uid, 0);
	assert_int_equal(by_name->gid, 0);
	assert_int_equal(by_name->home[0], '/');
	assert_int_equal(by_name->shell[0], '/');
	assert_int_equal(account_by_uid(0, &by_uid), 0);
	assert_string_equal(by_uid->name, "root");
	assert_string_equal(by_uid->home, by_name->home);
}

static void test_account_unknown_is_enoent(void **state)
{
	struct account *account = NULL;
	gid_t gid;

	(void)state;
	assert_int_equal(account_by_name("no-such-user", &account), -ENOENT);
	assert_int_equal(account_by_name("", &account), -ENOENT);
	assert_int_equal(account_by_uid(3999999999u, &account), -ENOENT);
	assert_int_equal(account_group("no-such-group", &gid), -ENOENT);
	assert_null(account);
	account_free(NULL);
}

static void test_account_numbers(void **state)
{
	static const char *const others[] = {
		"",   "-1",  "+1",         " 1",         "1 ",
		"1a", "007", "4294967295", "4294967296", "99999999999999999999"};
	uint32_t number = 7;

	(void)state;
	for (size_t k = 0; k < sizeof(others) / sizeof(others[0]); k++)
		assert_false(account_number(others[k], &number));
	assert_int_equal(number, 7);
	assert_true(account_number("0", &number));
	assert_int_equal(number, 0);
	assert_true(account_number("4294967294", &number));
	assert_int_equal(number, 4294967294u);
}

static void test_account_group_is_a_number_with_or_without_an_entry(void **state)
{
	gid_t gid = 77;

	(void)state;
	assert_int_equal(account_group("0", &gid), 0);
	assert_int_equal(gid, 0);
	assert_int_equal(account_group("3999999999", &gid), 0);
	assert_int_equal(gid, 3999999999u);
}

static void test_account_group_is_found(void **state)
{
	gid_t gid = 77;

	(void)state;
	assert_int_equal(account_group("root", &gid), 0);
	assert_int_equal(gid, 0);
}

static void test_account_groups_have_the_given_one_and_a_limit(void **state)
{
	gid_t groups[64] = {77};
	size_t n = 0;

	(void)state;
	assert_int_equal(account_groups("nobody", 12345, groups, 64, &n), 0);
	assert_true(n >= 1);
	assert_int_equal(groups[0], 12345);
	assert_int_equal(account_groups("nobody", 12345, groups, 0, &n), -E2BIG);
}

static void test_account_of_this_host_is_found_without_the_name_service(void **state)
{
	cleanup(account_free) struct account *account = NULL, *none = NULL;

	(void)state;
	assert_int_equal(account_of_this_host(65534, &account), 0);
	assert_string_equal(account->name, "nobody");
	assert_int_equal(account_of_this_host(3999999999u, &none), -ENOENT);
	assert_null(none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_account_root_is_found_by_name_and_number),
		cmocka_unit_test(test_account_unknown_is_enoent),
		cmocka_unit_test(test_account_numbers),
		cmocka_unit_test(test_account_group_is_a_number_with_or_without_an_entry),
		cmocka_unit_test(test_account_group_is_found),
		cmocka_unit_test(test_account_groups_have_the_given_one_and_a_limit),
		cmocka_unit_test(test_account_of_this_host_is_found_without_the_name_service),
	};

	return cmocka_run_group_tests_name("account", tests, NULL, NULL);
}
