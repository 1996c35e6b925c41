/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "ebpf/steer.h"
#include "orchestrator/steer/slots.h"

static struct slots slots;
static struct error err;

static int set_up(void **state)
{
	(void)state;
	slots = (struct slots){.max = STEER_SLOTS};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	slots_done(&slots);
	return 0;
}

static uint16_t add(uint64_t cookie)
{
	uint16_t slot;

	assert_int_equal(slots_choose(&slots, cookie, &slot, &err), 0);
	assert_int_equal(slots_take(&slots, slot, cookie), 0);
	return slot;
}

static void test_slots_take_memory_as_they_are_used(void **state)
{
	(void)state;
	assert_int_equal(slots.size, 0);
	assert_int_equal(slots_cookie(&slots, STEER_SLOTS - 1), 0);
	assert_int_equal(add(7), 0);
	assert_int_equal(add(8), 1);
	assert_int_equal(add(7), 0);
	assert_int_equal(slots.used, 2);
	assert_true(slots.size <= 8);
	assert_int_equal(slots_cookie(&slots, 1), 8);
	assert_int_equal(slots_cookie(&slots, 2), 0);
}

static void test_slots_lowest_free_one_is_next(void **state)
{
	(void)state;
	for (uint64_t k = 1; k <= 20; k++)
		add(k);
	slots_claim(&slots, 3);
	slots_free(&slots, 12);
	slots_free(&slots, 3);
	slots_free(&slots, 3);
	slots_free(&slots, 900);
	assert_int_equal(slots.used, 18);
	assert_int_equal(add(31), 3);
	assert_false(slots_is_claimed(&slots, 3));
	assert_int_equal(add(32), 12);
	assert_int_equal(add(33), 20);
}

static void test_slots_taken_over_leave_gaps(void **state)
{
	(void)state;
	assert_int_equal(slots_take(&slots, 700, 5), 0);
	assert_false(slots_is_claimed(&slots, 700));
	assert_int_equal(add(6), 0);
	assert_int_equal(add(5), 700);
	slots_claim(&slots, 700);
	assert_true(slots_is_claimed(&slots, 700));
	assert_int_equal(slots.used, 2);
}

static void test_slots_one_too_many_is_told_with_the_number(void **state)
{
	uint16_t slot;

	(void)state;
	for (uint64_t k = 1; k <= STEER_SLOTS; k++)
		assert_int_equal(add(k), k - 1);
	assert_int_equal(slots.used, 1024);
	assert_int_equal(slots_choose(&slots, 9999, &slot, &err), -ENOSPC);
	assert_int_equal(slot, STEER_NO_SLOT);
	assert_string_equal(err.text, "a listening socket too many: all 1024 that one address can "
				      "have are taken");
	/* Those that are there are found all the same. */
	assert_int_equal(add(STEER_SLOTS), STEER_SLOTS - 1);
	slots_free(&slots, 5);
	assert_int_equal(add(9999), 5);
}

static void test_slots_fewer_may_be_possible(void **state)
{
	uint16_t slot;

	(void)state;
	slots.max = 2;
	add(1);
	add(2);
	assert_int_equal(slots_choose(&slots, 3, &slot, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "all 2 "));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_slots_take_memory_as_they_are_used),
		TEST(test_slots_lowest_free_one_is_next),
		TEST(test_slots_taken_over_leave_gaps),
		TEST(test_slots_one_too_many_is_told_with_the_number),
		TEST(test_slots_fewer_may_be_possible),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
