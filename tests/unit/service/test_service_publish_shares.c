/* SPDX-License-Identifier: BSD-2-Clause */
/* What share of new connections each instance gets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/publish_fixture.h"

static void test_service_table_gives_each_instance_the_same(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= 5; n++) {
		start_instances(n);
		for (size_t e = 0; e < 2; e++) {
			for (uint32_t k = 0; k < n; k++)
				assert_buckets(e, service->current->number, k, 1.0 / n);
		}
		for (uint32_t k = 0; k < n; k++)
			assert_int_equal(fake_there(service->current->number, k)->aimed,
					 buckets_of(0, service->current->number, k));
		assert_int_equal(service_named(service), n);
		carry_out("stop", NULL);
	}
}

/* Backed up by the others of its own, where there is no other generation. */
static void test_service_table_backs_up_by_the_generation_that_goes(void **state)
{
	(void)state;
	start_rolling(2);
	for (size_t e = 0; e < 2; e++) {
		for (uint32_t k = 0; k < 2; k++) {
			assert_int_equal(buckets_of(e, 1, k), 0);
			assert_int_equal(backups_of(e, 1, k), STEER_BUCKETS / 2);
			assert_buckets(e, 2, k, 0.5);
		}
	}
	assert_int_equal(fake_there(1, 0)->aimed, 0);
	fake(1, 0)->queued = fake(1, 1)->queued = 0;
	fake(1, 1)->live = 1;
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	for (size_t e = 0; e < 2; e++)
		for (uint32_t k = 0; k < 2; k++)
			assert_int_equal(backups_of(e, 1, k), 0);
}

/* However many sockets it has: a server that binds one for each of its threads. */
static void test_service_table_shares_among_the_sockets_of_an_instance(void **state)
{
	struct instance *i;
	const struct steer_table *table;

	(void)state;
	start_instances(2);
	i = fake_there(1, 1);
	for (uint16_t k = 0; k < 3; k++)
		instance_sockets_add(&i->sockets,
				     &(struct instance_socket){.cookie = 900u + k,
							       .endpoint = 0,
							       .slot = (uint16_t)(200 + k)});
	i->sockets_version++;
	look();
	assert_buckets(0, 1, 0, 0.5);
	assert_buckets(0, 1, 1, 0.5);
	assert_buckets(1, 1, 1, 0.5);
	table = &service->wiring.endpoints[0]->table;
	for (uint16_t k = 0; k < 3; k++)
		assert_int_equal(table_count(table, (uint16_t)(200 + k)), STEER_BUCKETS / 8);
}

static void assert_canary(uint32_t n_old, uint32_t n_new, uint32_t weight)
{
	for (size_t e = 0; e < 2; e++) {
		size_t sum = 0;

		for (uint32_t k = 0; k < n_new; k++)
			sum += buckets_of(e, 2, k);
		/* Weights are whole numbers, and so are buckets. */
		assert_in_range(sum, STEER_BUCKETS * weight / 100 - 1,
				STEER_BUCKETS * weight / 100 + n_new);
		for (uint32_t k = 0; k < n_old; k++)
			assert_in_range(buckets_of(e, 1, k), (STEER_BUCKETS - sum) / n_old,
					(STEER_BUCKETS - sum) / n_old + 1);
	}
}

static void test_service_table_gives_a_canary_its_weight(void **state)
{
	static const uint32_t weights[] = {1, 10, 50, 99, 100};

	(void)state;
	start_instances(3);
	use_canary(5, weights);
	order("restart", NULL);
	for (size_t k = 0; k < 4; k++) {
		drive_until(run->machine.state == ROLLOUT_DWELLING && run->machine.step == k);
		assert_int_equal(service->published.shares.weight, weights[k]);
		assert_ptr_equal(service->published.shares.canary, run->new);
		assert_canary(3, 3, weights[k]);
		order("promote", NULL);
	}
	drive_until(n_ended == 2);
	assert_null(service->published.shares.canary);
	for (uint32_t k = 0; k < 3; k++)
		assert_buckets(0, 2, k, 1.0 / 3);
}

/* The new ones may all die at once, and their sockets with them. */
static void test_service_table_backs_up_a_canary_by_what_is_proven(void **state)
{
	static const uint32_t weights[] = {10, 100};
	const struct steer_table *table;

	(void)state;
	start_instances(2);
	use_canary(2, weights);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DWELLING);
	table = &service->wiring.endpoints[0]->table;
	for (size_t k = 0; k < STEER_BUCKETS; k++) {
		uint16_t backup = table->buckets[k].backup;

		assert_true(backup == 10 || backup == 12);
		assert_int_not_equal(backup, table->buckets[k].primary);
	}
}

/* One percent of 1,024 buckets is more than none, for each of many instances, too. */
static void test_service_table_of_one_percent_reaches_the_canary(void **state)
{
	static const uint32_t weights[] = {1, 100};
	size_t sum = 0;

	(void)state;
	start_instances(1);
	use_canary(2, weights);
	service->instances = 5;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DWELLING);
	for (uint32_t k = 0; k < 5; k++)
		sum += buckets_of(0, 2, k);
	assert_in_range(sum, 10, 12);
	assert_int_equal(buckets_of(0, 1, 0), STEER_BUCKETS - sum);
}

#define MANY 16

/* Each with a socket for each of its threads, in slots that nobody else has. */
static void add_sockets(uint32_t generation, uint16_t first_slot)
{
	for (uint32_t k = 0; k < MANY; k++) {
		struct instance *i = fake_there(generation, k);

		i->sockets.n = 0;
		for (uint16_t m = 0; m < 4; m++)
			for (uint32_t e = 0; e < 2; e++)
				instance_sockets_add(
					&i->sockets,
					&(struct instance_socket){
						.cookie = 1000ULL * generation + 10ULL * k + 2 * m +
							  e,
						.endpoint = e,
						.slot = (uint16_t)(first_slot + 4 * k + m)});
		i->sockets_version++;
	}
}

/* However thinly a group's share is spread, it is not rounded away. */
static void test_service_table_of_one_percent_is_whole_buckets(void **state)
{
	static const uint32_t weights[] = {1, 99, 100};
	size_t sum;

	(void)state;
	for (uint32_t k = 0; k < MANY; k++)
		fake(1, k)->has_slots = fake(2, k)->has_slots = false;
	start_instances(MANY);
	use_canary(3, weights);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DWELLING);
	add_sockets(1, 100);
	add_sockets(2, 180);
	look();
	for (size_t e = 0; e < 2; e++) {
		sum = 0;
		for (uint32_t k = 0; k < MANY; k++) {
			/* As evenly as whole buckets allow. */
			assert_in_range(buckets_of(e, 2, k), 0, 1);
			assert_in_range(buckets_of(e, 1, k), (STEER_BUCKETS - 10) / 16,
					(STEER_BUCKETS - 10) / 16 + 1);
			sum += buckets_of(e, 2, k);
		}
		assert_int_equal(sum, 10);
	}
	order("promote", NULL);
	drive_until(run->machine.state == ROLLOUT_DWELLING && run->machine.step == 1);
	sum = 0;
	for (uint32_t k = 0; k < MANY; k++)
		sum += buckets_of(1, 1, k);
	assert_int_equal(sum, 10);
}

/* Where one of the two groups has nobody left that is well the other has it all. */
static void test_service_table_of_a_canary_without_the_others_is_whole(void **state)
{
	static const uint32_t weights[] = {10, 100};

	(void)state;
	start_instances(2);
	use_canary(2, weights);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DWELLING);
	fake(1, 0)->unhealthy = fake(1, 1)->unhealthy = true;
	look();
	assert_buckets(0, 2, 0, 0.5);
	assert_buckets(0, 2, 1, 0.5);
	fake(1, 0)->unhealthy = false;
	look();
	assert_buckets(0, 1, 0, 0.9);
	assert_int_equal(buckets_of(0, 1, 1), 0);
}

static void test_service_table_of_a_canary_that_is_gone_is_whole(void **state)
{
	(void)state;
	start_rolling(2);
	/* Nobody of it is in: the weight is of nothing. */
	service->published.shares.canary = generation_of(1);
	service->published.shares.weight = 30;
	publish();
	assert_buckets(0, 2, 0, 0.5);
	assert_buckets(0, 2, 1, 0.5);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_table_gives_each_instance_the_same),
		TEST(test_service_table_backs_up_by_the_generation_that_goes),
		TEST(test_service_table_shares_among_the_sockets_of_an_instance),
		TEST(test_service_table_gives_a_canary_its_weight),
		TEST(test_service_table_backs_up_a_canary_by_what_is_proven),
		TEST(test_service_table_of_one_percent_reaches_the_canary),
		TEST(test_service_table_of_one_percent_is_whole_buckets),
		TEST(test_service_table_of_a_canary_without_the_others_is_whole),
		TEST(test_service_table_of_a_canary_that_is_gone_is_whole),
	};
#undef TEST

	return cmocka_run_group_tests_name("service publish shares", tests, NULL, NULL);
}
