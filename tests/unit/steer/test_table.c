/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "orchestrator/steer/table.h"

static struct steer_table table;

/* The same numbers in every run (xorshift64*). */
static uint64_t seed;

static uint32_t random_below(uint32_t n)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (uint32_t)((seed * 0x2545f4914f6cdd1d) >> 33) % n;
}

static size_t count_both(uint16_t primary, uint16_t backup)
{
	size_t n = 0;

	for (size_t i = 0; i < STEER_BUCKETS; i++)
		n += table.buckets[i].primary == primary && table.buckets[i].backup == backup;
	return n;
}

static size_t count_moved(const struct steer_table *a, const struct steer_table *b)
{
	size_t n = 0;

	for (size_t i = 0; i < STEER_BUCKETS; i++)
		n += a->buckets[i].primary != b->buckets[i].primary;
	return n;
}

/* Most buckets in a row, around the circle, that @slot has. */
static size_t longest_run(const struct steer_table *t, uint16_t slot)
{
	size_t longest = 0, run = 0;

	for (size_t i = 0; i < 2 * STEER_BUCKETS; i++) {
		run = t->buckets[i % STEER_BUCKETS].primary == slot ? run + 1 : 0;
		if (run > longest)
			longest = run;
	}
	return longest < STEER_BUCKETS ? longest : STEER_BUCKETS;
}

/* The primaries of a test, and what table_compute() makes of them on top of @table. */
static struct table_share shares[STEER_SLOTS];
static size_t n_shares;

static void set_shares(size_t n, ...)
{
	va_list ap;

	va_start(ap, n);
	for (size_t k = 0; k < n; k++)
		shares[k] = (struct table_share){(uint16_t)k, va_arg(ap, unsigned)};
	va_end(ap);
	n_shares = n;
}

static void equal_shares(size_t n)
{
	for (size_t k = 0; k < n; k++)
		shares[k] = (struct table_share){(uint16_t)k, 1};
	n_shares = n;
}

static void compute_fresh(void)
{
	table_compute(shares, n_shares, NULL, 0, NULL, &table);
}

/* ---- what must be true of every table ------------------------------------------------------- */

static uint64_t total_weight(void)
{
	uint64_t total = 0;

	for (size_t k = 0; k < n_shares; k++)
		total += shares[k].weight;
	return total;
}

/* Every slot has its share, rounded down or up; nobody else has anything. */
static void assert_shares(const struct steer_table *t)
{
	uint64_t total = total_weight();
	size_t sum = 0;

	if (!total) {
		assert_int_equal(table_count(t, STEER_NO_SLOT), STEER_BUCKETS);
		return;
	}
	for (size_t k = 0; k < n_shares; k++) {
		uint64_t exact = (uint64_t)shares[k].weight * STEER_BUCKETS;
		size_t n = table_count(t, shares[k].slot);

		sum += n;
		if (n < exact / total || n > (exact + total - 1) / total)
			fail_msg("slot %u has %zu buckets for a weight of %u of %llu",
				 shares[k].slot, n, shares[k].weight, (unsigned long long)total);
	}
	assert_int_equal(sum, STEER_BUCKETS);
}

/* No other choice of counts that are rounded down or up is nearer to the exact shares. */
static void assert_largest_remainders(const struct steer_table *t)
{
	uint64_t total = total_weight();
	uint64_t least_up = UINT64_MAX, most_down = 0;

	for (size_t k = 0; k < n_shares; k++) {
		uint64_t exact = (uint64_t)shares[k].weight * STEER_BUCKETS;
		bool up = table_count(t, shares[k].slot) > exact / total;

		if (up && exact % total < least_up)
			least_up = exact % total;
		if (!up && exact % total > most_down)
			most_down = exact % total;
	}
	assert_true(least_up >= most_down);
}

static void assert_only_listed(const struct steer_table *t, const uint16_t *backup, size_t n_backup)
{
	for (size_t i = 0; i < STEER_BUCKETS; i++) {
		const struct steer_bucket *bucket = &t->buckets[i];
		bool listed = false, primary = false;

		for (size_t k = 0; k < n_backup; k++)
			listed |= bucket->backup == backup[k];
		for (size_t k = 0; k < n_shares; k++)
			primary |= shares[k].weight && bucket->backup == shares[k].slot;
		if (bucket->primary == STEER_NO_SLOT)
			assert_int_equal(bucket->backup, STEER_NO_SLOT);
		else
			assert_int_not_equal(bucket->primary, bucket->backup);
		/* Others of the primaries only where no backup is there for this one. */
		if (n_backup > 1 || (n_backup == 1 && backup[0] != bucket->primary))
			assert_true(listed || bucket->primary == STEER_NO_SLOT);
		else
			assert_true(primary || bucket->backup == STEER_NO_SLOT);
	}
}

/* What @slot loses goes to each of @n others in @list in equal parts. */
static void assert_spread(uint16_t slot, const uint16_t *list, size_t n)
{
	size_t others = 0, buckets = table_count(&table, slot);

	for (size_t k = 0; k < n; k++)
		others += list[k] != slot;
	for (size_t k = 0; k < n; k++)
		if (list[k] != slot)
			assert_in_range(count_both(slot, list[k]), buckets / others,
					(buckets + others - 1) / others);
}

/* As many as the counts say, and of those that keep their count not one. */
static void assert_least_moved(const struct steer_table *before, const struct steer_table *after)
{
	size_t least = 0;

	for (uint16_t slot = 0; slot < STEER_SLOTS; slot++) {
		size_t had = table_count(before, slot), has = table_count(after, slot);

		if (has > had)
			least += has - had;
	}
	/* From nobody to somebody is counted above; what nobody gets now is a move too. */
	if (table_count(after, STEER_NO_SLOT) > table_count(before, STEER_NO_SLOT))
		least += table_count(after, STEER_NO_SLOT) - table_count(before, STEER_NO_SLOT);
	assert_int_equal(count_moved(before, after), least);
}

/* ---- a table from nothing ------------------------------------------------------------------- */

static void test_table_nobody_leaves_every_bucket_empty(void **state)
{
	const uint16_t backup[] = {3};

	(void)state;
	/* A backup without primary would be a primary by another name. */
	table_compute(NULL, 0, backup, 1, NULL, &table);
	assert_int_equal(count_both(STEER_NO_SLOT, STEER_NO_SLOT), STEER_BUCKETS);
	memset(&table, 0, sizeof(table));
	table_clear(&table);
	assert_int_equal(count_both(STEER_NO_SLOT, STEER_NO_SLOT), STEER_BUCKETS);
	assert_int_equal(table_count(&table, STEER_NO_SLOT), STEER_BUCKETS);
}

static void test_table_without_any_weight_every_bucket_is_empty(void **state)
{
	const uint16_t backup[] = {0, 3};

	(void)state;
	set_shares(2, 0, 0);
	table_compute(shares, 2, backup, 2, NULL, &table);
	assert_int_equal(count_both(STEER_NO_SLOT, STEER_NO_SLOT), STEER_BUCKETS);
	/* Also where there was somebody before. */
	equal_shares(2);
	compute_fresh();
	set_shares(2, 0, 0);
	table_compute(shares, 2, backup, 2, &table, &table);
	assert_int_equal(count_both(STEER_NO_SLOT, STEER_NO_SLOT), STEER_BUCKETS);
}

static void test_table_one_slot_gets_everything(void **state)
{
	const struct table_share primary[] = {{7, TABLE_WEIGHT_MAX}};
	const uint16_t backup[] = {9};

	(void)state;
	table_compute(primary, 1, NULL, 0, NULL, &table);
	assert_int_equal(count_both(7, STEER_NO_SLOT), STEER_BUCKETS);
	table_compute(primary, 1, backup, 1, NULL, &table);
	assert_int_equal(count_both(7, 9), STEER_BUCKETS);
}

static void test_table_slot_without_weight_gets_nothing(void **state)
{
	const uint16_t backup[] = {1};

	(void)state;
	set_shares(3, 5, 0, 5);
	compute_fresh();
	assert_int_equal(table_count(&table, 1), 0);
	/* Nor does it stand in for others, unless it is asked to. */
	assert_int_equal(count_both(0, 2), STEER_BUCKETS / 2);
	assert_int_equal(count_both(2, 0), STEER_BUCKETS / 2);
	table_compute(shares, 3, backup, 1, NULL, &table);
	assert_int_equal(count_both(0, 1), STEER_BUCKETS / 2);
	assert_int_equal(count_both(2, 1), STEER_BUCKETS / 2);
}

static void test_table_equal_slots_take_turns(void **state)
{
	(void)state;
	for (size_t n = 1; n <= STEER_SLOTS; n++) {
		equal_shares(n);
		compute_fresh();
		for (size_t i = 0; i < STEER_BUCKETS; i++)
			assert_int_equal(table.buckets[i].primary, i % n);
		assert_shares(&table);
	}
}

static void test_table_equal_weights_are_equal_however_large(void **state)
{
	static const uint32_t weights[] = {1, 3, 1000, TABLE_WEIGHT_MAX, UINT32_MAX};

	(void)state;
	/* The last one: the sum exceeds 32 bits, and so does each product. */
	for (size_t w = 0; w < sizeof(weights) / sizeof(weights[0]); w++) {
		equal_shares(STEER_SLOTS);
		for (size_t k = 0; k < STEER_SLOTS; k++)
			shares[k].weight = weights[w];
		compute_fresh();
		for (uint16_t k = 0; k < STEER_SLOTS; k++)
			assert_int_equal(table_count(&table, k), STEER_BUCKETS / STEER_SLOTS);
	}
	set_shares(2, UINT32_MAX, 1);
	compute_fresh();
	assert_int_equal(table_count(&table, 0), STEER_BUCKETS);
}

static void test_table_steps_of_a_thousandth_are_exact_to_the_bucket(void **state)
{
	(void)state;
	for (unsigned w = 0; w <= 1000; w++) {
		size_t nearest = (w * STEER_BUCKETS + 500) / 1000;

		set_shares(2, 1000 - w, w);
		compute_fresh();
		assert_shares(&table);
		assert_largest_remainders(&table);
		/* Half a bucket goes to either. */
		if (w * STEER_BUCKETS % 1000 != 500)
			assert_int_equal(table_count(&table, 1), nearest);
		if (w)
			assert_true(table_count(&table, 1) > 0);
	}
}

static void test_table_shares_do_not_lie_in_long_runs(void **state)
{
	(void)state;
	for (unsigned w = 1; w <= 500; w++) {
		set_shares(2, 1000 - w, w);
		compute_fresh();
		/* The smaller never twice in a row, the larger in even stretches. */
		assert_int_equal(longest_run(&table, 1), 1);
		assert_in_range(longest_run(&table, 0), 1,
				table_count(&table, 0) / table_count(&table, 1) + 1);
	}
}

static void test_table_random_weights_are_shared_by_largest_remainders(void **state)
{
	(void)state;
	seed = 0x5eed0001;
	for (int round = 0; round < 300; round++) {
		uint16_t first = (uint16_t)random_below(STEER_SLOTS);
		uint32_t max = 1u << random_below(32);

		n_shares = 1 + random_below(round % 3 ? 8 : STEER_SLOTS);
		for (size_t k = 0; k < n_shares; k++) {
			shares[k].slot = (uint16_t)((first + 3 * k) % STEER_SLOTS);
			shares[k].weight = random_below(4) ? random_below(max) : 0;
		}
		shares[random_below((uint32_t)n_shares)].weight = max;
		compute_fresh();
		assert_shares(&table);
		assert_largest_remainders(&table);
		assert_only_listed(&table, NULL, 0);
	}
}

/* ---- backups -------------------------------------------------------------------------------- */

static void test_table_without_backup_the_others_stand_in(void **state)
{
	uint16_t all[STEER_SLOTS];

	(void)state;
	for (size_t n = 2; n <= STEER_SLOTS; n++) {
		equal_shares(n);
		for (size_t k = 0; k < n; k++)
			all[k] = (uint16_t)k;
		compute_fresh();
		assert_only_listed(&table, NULL, 0);
		/* What a dead one leaves is spread over all the others. */
		for (uint16_t k = 0; k < n; k = (uint16_t)(k + (n > 16 ? n / 5 : 1)))
			assert_spread(k, all, n);
	}
}

static void test_table_backups_share_what_a_primary_leaves(void **state)
{
	uint16_t backup[STEER_SLOTS];

	(void)state;
	seed = 0x5eed0002;
	for (int round = 0; round < 200; round++) {
		size_t n_backup = 1 + random_below(round % 2 ? 4 : 100);

		n_shares = 1 + random_below(round % 2 ? 4 : 100);
		for (size_t k = 0; k < n_shares; k++)
			shares[k] = (struct table_share){(uint16_t)(2 * k), 1 + random_below(9)};
		for (size_t k = 0; k < n_backup; k++)
			backup[k] = (uint16_t)(2 * k + 1);
		table_compute(shares, n_shares, backup, n_backup, NULL, &table);
		assert_only_listed(&table, backup, n_backup);
		for (size_t k = 0; k < n_shares; k++)
			assert_spread(shares[k].slot, backup, n_backup);
	}
}

static void test_table_few_buckets_do_not_all_have_the_same_backups(void **state)
{
	uint16_t backup[100];
	size_t n;

	(void)state;
	equal_shares(128);
	for (size_t k = 0; k < 100; k++)
		backup[k] = (uint16_t)(128 + k);
	table_compute(shares, 128, backup, 100, NULL, &table);
	for (size_t k = 0; k < 100; k++) {
		n = 0;
		for (size_t i = 0; i < STEER_BUCKETS; i++)
			n += table.buckets[i].backup == backup[k];
		assert_in_range(n, STEER_BUCKETS / 100, STEER_BUCKETS / 100 + 1);
	}
}

static void test_table_primary_among_the_backups_is_not_its_own(void **state)
{
	const uint16_t all[] = {0, 1, 2}, itself[] = {0};

	(void)state;
	/* A canary's table: old and new back each other up. */
	set_shares(3, 475, 475, 50);
	table_compute(shares, 3, all, 3, NULL, &table);
	assert_only_listed(&table, all, 3);
	for (uint16_t k = 0; k < 3; k++)
		assert_spread(k, all, 3);
	/* The only backup is there for the others; for itself the others are. */
	table_compute(shares, 3, itself, 1, NULL, &table);
	assert_int_equal(count_both(1, 0), table_count(&table, 1));
	assert_int_equal(count_both(2, 0), table_count(&table, 2));
	assert_in_range(count_both(0, 1), table_count(&table, 0) / 2,
			table_count(&table, 0) / 2 + 1);
	/* And with nobody else there is none. */
	set_shares(1, 1);
	table_compute(shares, 1, itself, 1, NULL, &table);
	assert_int_equal(count_both(0, STEER_NO_SLOT), STEER_BUCKETS);
}

/* ---- from one table to the next ------------------------------------------------------------- */

static void test_table_same_shares_again_move_nothing(void **state)
{
	struct steer_table before;

	(void)state;
	seed = 0x5eed0003;
	for (int round = 0; round < 50; round++) {
		n_shares = 1 + random_below(20);
		for (size_t k = 0; k < n_shares; k++)
			shares[k] = (struct table_share){(uint16_t)k, 1 + random_below(3)};
		compute_fresh();
		before = table;
		/* Nor does another order of the list, whoever had the odd bucket. */
		for (size_t k = 0; k < n_shares / 2; k++) {
			struct table_share share = shares[k];

			shares[k] = shares[n_shares - 1 - k];
			shares[n_shares - 1 - k] = share;
		}
		table_compute(shares, n_shares, NULL, 0, &before, &table);
		assert_int_equal(count_moved(&before, &table), 0);
	}
}

static void test_table_change_of_x_percent_moves_x_percent(void **state)
{
	struct steer_table before;

	(void)state;
	for (unsigned from = 0; from <= 1000; from += 50) {
		for (unsigned to = 0; to <= 1000; to += 10) {
			unsigned change = from > to ? from - to : to - from;

			set_shares(2, 1000 - from, from);
			compute_fresh();
			before = table;
			set_shares(2, 1000 - to, to);
			table_compute(shares, 2, NULL, 0, &before, &table);
			assert_shares(&table);
			assert_in_range(count_moved(&before, &table),
					change * STEER_BUCKETS / 1000 - (change > 0),
					change * STEER_BUCKETS / 1000 + (change > 0));
		}
	}
}

static void test_table_random_changes_move_what_they_must_and_no_more(void **state)
{
	struct steer_table before;

	(void)state;
	seed = 0x5eed0004;
	for (int history = 0; history < 40; history++) {
		uint32_t slots = 2 + random_below(history % 4 ? 8 : STEER_SLOTS - 2);

		table_clear(&table);
		for (int round = 0; round < 25; round++) {
			n_shares = 0;
			for (uint32_t k = 0; k < slots; k++) {
				uint32_t weight = random_below(3) ? random_below(1001) : 0;

				if (random_below(5))
					shares[n_shares++] =
						(struct table_share){(uint16_t)k, weight};
			}
			before = table;
			table_compute(shares, n_shares, NULL, 0, &before, &table);
			assert_shares(&table);
			assert_least_moved(&before, &table);
			assert_only_listed(&table, NULL, 0);
		}
	}
}

static void test_table_only_the_slots_that_change_move(void **state)
{
	struct steer_table before;

	(void)state;
	set_shares(4, 250, 250, 250, 250);
	compute_fresh();
	before = table;
	/* One gives half of its connections to another; sticky clients of the others stay. */
	set_shares(4, 250, 125, 250, 375);
	table_compute(shares, 4, NULL, 0, &before, &table);
	assert_int_equal(count_moved(&before, &table), STEER_BUCKETS / 8);
	for (size_t i = 0; i < STEER_BUCKETS; i++)
		if (before.buckets[i].primary != table.buckets[i].primary) {
			assert_int_equal(before.buckets[i].primary, 1);
			assert_int_equal(table.buckets[i].primary, 3);
		}
}

static void test_table_slot_that_vanishes_frees_its_buckets_only(void **state)
{
	struct steer_table before;

	(void)state;
	for (size_t n = 2; n <= 64; n++) {
		equal_shares(n);
		compute_fresh();
		before = table;
		shares[n / 2] = shares[--n_shares];
		table_compute(shares, n_shares, NULL, 0, &before, &table);
		assert_shares(&table);
		assert_int_equal(table_count(&table, (uint16_t)(n / 2)), 0);
		for (size_t i = 0; i < STEER_BUCKETS; i++)
			if (before.buckets[i].primary != n / 2)
				assert_int_equal(before.buckets[i].primary,
						 table.buckets[i].primary);
	}
}

static void test_table_canary_grows_out_of_the_old_one_alone(void **state)
{
	static const unsigned steps[] = {10, 50, 250, 1000};
	static const size_t buckets[] = {10, 52, 256, 1024};
	struct steer_table before;

	(void)state;
	set_shares(4, 1000, 1000, 0, 0);
	compute_fresh();
	for (size_t s = 0; s < 4; s++) {
		before = table;
		set_shares(4, 1000 - steps[s], 1000 - steps[s], steps[s], steps[s]);
		table_compute(shares, 4, NULL, 0, &before, &table);
		assert_int_equal(table_count(&table, 2) + table_count(&table, 3), buckets[s]);
		/* A client that has come to the new generation stays there. */
		for (size_t i = 0; i < STEER_BUCKETS; i++)
			if (before.buckets[i].primary >= 2)
				assert_int_equal(before.buckets[i].primary,
						 table.buckets[i].primary);
	}
}

static void test_table_ramp_in_small_steps_stays_spread(void **state)
{
	(void)state;
	/* Up by a thousandth at a time, out of one slot or several, and down again. */
	for (size_t n = 1; n <= 5; n++) {
		equal_shares(n);
		compute_fresh();
		for (int step = 1; step < 1000; step++) {
			uint32_t w = (uint32_t)(step <= 500 ? step : 1000 - step);

			for (size_t k = 0; k < n; k++)
				shares[k].weight = 1000 - w;
			shares[n] = (struct table_share){(uint16_t)n, (uint32_t)n * w};
			n_shares = n + 1;
			table_compute(shares, n_shares, NULL, 0, &table, &table);
			assert_in_range(longest_run(&table, (uint16_t)n), 1, 2);
		}
	}
}

static void test_table_result_may_take_the_place_of_the_previous_one(void **state)
{
	const uint16_t backup[] = {9};
	struct steer_table before, apart;

	(void)state;
	equal_shares(3);
	compute_fresh();
	before = table;
	set_shares(3, 1, 2, 3);
	table_compute(shares, 3, backup, 1, &before, &apart);
	table_compute(shares, 3, backup, 1, &table, &table);
	assert_memory_equal(&table, &apart, sizeof(table));
}

static void test_table_previous_of_unknown_slots_is_like_none(void **state)
{
	struct steer_table before;

	(void)state;
	/* A shift: nobody of the old generation is in the new table. */
	for (size_t i = 0; i < STEER_BUCKETS; i++)
		before.buckets[i] = (struct steer_bucket){(uint16_t)(200 + i % 7), STEER_NO_SLOT};
	before.buckets[5].primary = STEER_NO_SLOT;
	before.buckets[6].primary = 0x7fff; /* no slot at all */
	equal_shares(4);
	table_compute(shares, 4, NULL, 0, &before, &table);
	for (size_t i = 0; i < STEER_BUCKETS; i++)
		assert_int_equal(table.buckets[i].primary, i % 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_nobody_leaves_every_bucket_empty),
		cmocka_unit_test(test_table_without_any_weight_every_bucket_is_empty),
		cmocka_unit_test(test_table_one_slot_gets_everything),
		cmocka_unit_test(test_table_slot_without_weight_gets_nothing),
		cmocka_unit_test(test_table_equal_slots_take_turns),
		cmocka_unit_test(test_table_equal_weights_are_equal_however_large),
		cmocka_unit_test(test_table_steps_of_a_thousandth_are_exact_to_the_bucket),
		cmocka_unit_test(test_table_shares_do_not_lie_in_long_runs),
		cmocka_unit_test(test_table_random_weights_are_shared_by_largest_remainders),
		cmocka_unit_test(test_table_without_backup_the_others_stand_in),
		cmocka_unit_test(test_table_backups_share_what_a_primary_leaves),
		cmocka_unit_test(test_table_few_buckets_do_not_all_have_the_same_backups),
		cmocka_unit_test(test_table_primary_among_the_backups_is_not_its_own),
		cmocka_unit_test(test_table_same_shares_again_move_nothing),
		cmocka_unit_test(test_table_change_of_x_percent_moves_x_percent),
		cmocka_unit_test(test_table_random_changes_move_what_they_must_and_no_more),
		cmocka_unit_test(test_table_only_the_slots_that_change_move),
		cmocka_unit_test(test_table_slot_that_vanishes_frees_its_buckets_only),
		cmocka_unit_test(test_table_canary_grows_out_of_the_old_one_alone),
		cmocka_unit_test(test_table_ramp_in_small_steps_stays_spread),
		cmocka_unit_test(test_table_result_may_take_the_place_of_the_previous_one),
		cmocka_unit_test(test_table_previous_of_unknown_slots_is_like_none),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
