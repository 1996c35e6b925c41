/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/table.h"

static struct steer_table table;

static unsigned count_primary(uint16_t slot)
{
	unsigned n = 0;

	for (size_t i = 0; i < STEER_BUCKETS; i++)
		n += table.buckets[i].primary == slot;
	return n;
}

static unsigned count_backup(uint16_t primary, uint16_t backup)
{
	unsigned n = 0;

	for (size_t i = 0; i < STEER_BUCKETS; i++)
		n += table.buckets[i].primary == primary && table.buckets[i].backup == backup;
	return n;
}

static void test_table_nobody_leaves_every_bucket_empty(void **state)
{
	const uint16_t backup[] = {3};

	(void)state;
	/* A backup without primary would be a primary by another name. */
	table_compute(NULL, 0, backup, 1, &table);
	assert_int_equal(count_primary(STEER_NO_SLOT), STEER_BUCKETS);
	assert_int_equal(count_backup(STEER_NO_SLOT, STEER_NO_SLOT), STEER_BUCKETS);
}

static void test_table_one_slot_gets_everything(void **state)
{
	const uint16_t primary[] = {7}, backup[] = {9};

	(void)state;
	table_compute(primary, 1, NULL, 0, &table);
	assert_int_equal(count_backup(7, STEER_NO_SLOT), STEER_BUCKETS);
	table_compute(primary, 1, backup, 1, &table);
	assert_int_equal(count_backup(7, 9), STEER_BUCKETS);
}

static void test_table_any_number_is_spread_evenly(void **state)
{
	uint16_t primary[STEER_SLOTS];

	(void)state;
	for (uint16_t n = 1; n <= STEER_SLOTS; n++) {
		for (uint16_t k = 0; k < n; k++)
			primary[k] = k;
		table_compute(primary, n, NULL, 0, &table);
		for (uint16_t k = 0; k < n; k++)
			assert_in_range(count_primary(k), STEER_BUCKETS / n, STEER_BUCKETS / n + 1);
	}
}

static void test_table_without_backup_the_others_stand_in(void **state)
{
	const uint16_t primary[] = {0, 1, 2, 3};

	(void)state;
	table_compute(primary, 4, NULL, 0, &table);
	for (uint16_t p = 0; p < 4; p++) {
		assert_int_equal(count_backup(p, p), 0);
		/* What a dead one leaves is spread over all the others. */
		for (uint16_t b = 0; b < 4; b++)
			if (b != p)
				assert_in_range(count_backup(p, b), STEER_BUCKETS / 4 / 3,
						STEER_BUCKETS / 4 / 3 + 1);
	}
}

static void test_table_backups_share_what_a_primary_leaves(void **state)
{
	const uint16_t primary[] = {0, 1}, backup[] = {10, 11};

	(void)state;
	table_compute(primary, 2, backup, 2, &table);
	for (uint16_t p = 0; p < 2; p++)
		for (uint16_t b = 10; b < 12; b++)
			assert_int_equal(count_backup(p, b), STEER_BUCKETS / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_nobody_leaves_every_bucket_empty),
		cmocka_unit_test(test_table_one_slot_gets_everything),
		cmocka_unit_test(test_table_any_number_is_spread_evenly),
		cmocka_unit_test(test_table_without_backup_the_others_stand_in),
		cmocka_unit_test(test_table_backups_share_what_a_primary_leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
