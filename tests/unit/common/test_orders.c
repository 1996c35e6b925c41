/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "common/orders.h"

static void test_orders_are_found_by_their_names(void **state)
{
	(void)state;
	for (int k = 0; k < _SERVICE_ORDER_COUNT; k++) {
		enum service_order_type found = _SERVICE_ORDER_COUNT;
		const struct order_info *info = order_info((enum service_order_type)k);

		assert_true(order_find(info->name, &found));
		assert_int_equal(found, k);
		assert_true(strlen(info->help) > 0);
		assert_true(strncmp(info->synopsis, "[SERVICE]", 9) == 0);
	}
}

static void test_orders_other_names_are_none(void **state)
{
	enum service_order_type found = SERVICE_ORDER_STOP;

	(void)state;
	assert_false(order_find("", &found));
	assert_false(order_find("Restart", &found));
	assert_false(order_find("restarts", &found));
	assert_false(order_find("replace", &found));
	assert_int_equal(found, SERVICE_ORDER_STOP);
}

static void test_orders_take_what_is_documented(void **state)
{
	(void)state;
	assert_int_equal(order_info(SERVICE_ORDER_UPGRADE)->takes,
			 ORDER_TAKES_SUPERSEDE | ORDER_TAKES_RELEASE);
	assert_int_equal(order_info(SERVICE_ORDER_SCALE)->takes,
			 ORDER_TAKES_SUPERSEDE | ORDER_TAKES_INSTANCES);
	assert_int_equal(order_info(SERVICE_ORDER_PROMOTE)->takes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_orders_are_found_by_their_names),
		cmocka_unit_test(test_orders_other_names_are_none),
		cmocka_unit_test(test_orders_take_what_is_documented),
	};

	return cmocka_run_group_tests_name("orders", tests, NULL, NULL);
}
