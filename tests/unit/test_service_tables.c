/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tables of a service name, and when. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service_fixture.h"

/* ---- tables --------------------------------------------------------------------------------- */

static void test_service_publish_computes_each_endpoints_table(void **state)
{
	static const uint16_t primary[2][2] = {{30, 31}, {32, 33}}, backup[2][1] = {{10}, {11}};
	struct steer_table expected;

	(void)state;
	carry_out("start", NULL);
	memcpy(fake_generations[2].slots[0], primary[0], sizeof(primary[0]));
	memcpy(fake_generations[2].slots[1], primary[1], sizeof(primary[1]));
	fake_generations[2].n_slots = 2;
	fake_generations[1].queued = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_SETTLING);
	assert_ptr_equal(service->primary, run->new);
	assert_int_equal(service->current->number, 1);
	for (size_t e = 0; e < 2; e++) {
		table_compute(primary[e], 2, backup[e], 1, &expected);
		assert_memory_equal(&service->endpoints[e]->table, &expected, sizeof(expected));
	}
	fake_generations[1].queued = 0;
	drive_until(n_ended == 2);
	for (size_t e = 0; e < 2; e++) {
		table_compute(primary[e], 2, NULL, 0, &expected);
		assert_memory_equal(&service->endpoints[e]->table, &expected, sizeof(expected));
	}
}

static void test_service_publish_without_primary_empties_the_tables(void **state)
{
	(void)state;
	carry_out("start", NULL);
	assert_int_equal(service_publish(service, NULL, NULL, &err), 0);
	assert_table(0, STEER_NO_SLOT, STEER_NO_SLOT);
	assert_table(1, STEER_NO_SLOT, STEER_NO_SLOT);
	assert_null(service->primary);
}

/* A table that names nobody would refuse connections that the old generation still takes. */
static void test_service_publish_of_one_that_does_not_listen_is_refused(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake_generations[1].n_slots = 0;
	forget_calls();
	assert_int_equal(service_publish(service, service->current, NULL, &err), -ENOENT);
	assert_string_equal(err.text, "generation 1 has no listening socket left");
	assert_calls("");
	assert_ptr_equal(service->primary, service->current);
	/* A backup without any is no backup. */
	fake_generations[2].n_slots = 1;
	carry_out("restart", NULL);
	assert_int_equal(service->current->number, 2);
}

static void test_service_publish_that_fails_keeps_the_old_primary(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake_steer_failure.function = "steer_publish";
	fake_steer_failure.address = ENDPOINT_0;
	fake_steer_failure.code = -EIO;
	carry_out("restart", NULL);
	assert_int_equal(service->last.exit, 3);
	assert_string_equal(service->last.reason,
			    "steer_publish " ENDPOINT_0 ": Input/output error");
	assert_int_equal(service->current->number, 1);
	assert_ptr_equal(service->primary, service->current);
	assert_table(0, 10, STEER_NO_SLOT);
	assert_int_equal(service->n_generations, 1);
}

/* A slot that is free, for somebody else soon, must not be named. */
static void test_service_publish_that_fails_half_way_is_taken_back(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake_steer_failure.function = "steer_publish";
	fake_steer_failure.address = ENDPOINT_1;
	fake_steer_failure.code = -EIO;
	carry_out("restart", NULL);
	assert_int_equal(service->last.exit, 3);
	assert_table(0, 10, STEER_NO_SLOT);
	assert_table(1, 11, STEER_NO_SLOT);
}

/* Instances come and go; the table follows, but is never left empty. */
static void test_service_publishes_anew_when_instances_change(void **state)
{
	static const uint16_t slots[2] = {30, 31};
	struct steer_table expected;
	unsigned published;

	(void)state;
	memcpy(fake_generations[1].slots[0], slots, sizeof(slots));
	fake_generations[1].n_slots = 2;
	carry_out("start", NULL);
	published = service->endpoints[0]->published;
	fake_generations[1].n_slots = 1;
	changed();
	drive_until(service->endpoints[0]->published > published);
	table_compute(slots, 1, NULL, 0, &expected);
	assert_memory_equal(&service->endpoints[0]->table, &expected, sizeof(expected));
	published = service->endpoints[0]->published;
	fake_generations[1].dead = true;
	changed();
	sd_event_run(context.event, 0);
	sd_event_run(context.event, 0);
	assert_int_equal(service->endpoints[0]->published, published);
	fake_generations[1].dead = false;
	fake_generations[1].n_slots = 2;
	changed();
	drive_until(service->endpoints[0]->published > published);
	table_compute(slots, 2, NULL, 0, &expected);
	assert_memory_equal(&service->endpoints[0]->table, &expected, sizeof(expected));
}

static void test_service_publishes_anew_when_a_backup_is_gone(void **state)
{
	static const uint16_t backups[2] = {10, 12};
	struct steer_table expected;

	(void)state;
	memcpy(fake_generations[1].slots[0], backups, sizeof(backups));
	fake_generations[1].n_slots = 2;
	carry_out("start", NULL);
	fake_generations[1].queued = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_SETTLING);
	/* The first of the two is gone. */
	fake_generations[1].slots[0][0] = backups[1];
	fake_generations[1].n_slots = 1;
	changed();
	table_compute(fake_generations[2].slots[0], 1, &backups[1], 1, &expected);
	assert_memory_not_equal(&service->endpoints[0]->table, &expected, sizeof(expected));
	drive_until(memcmp(&service->endpoints[0]->table, &expected, sizeof(expected)) == 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_publish_computes_each_endpoints_table),
		TEST(test_service_publish_without_primary_empties_the_tables),
		TEST(test_service_publish_of_one_that_does_not_listen_is_refused),
		TEST(test_service_publish_that_fails_keeps_the_old_primary),
		TEST(test_service_publish_that_fails_half_way_is_taken_back),
		TEST(test_service_publishes_anew_when_instances_change),
		TEST(test_service_publishes_anew_when_a_backup_is_gone),
	};
#undef TEST

	return cmocka_run_group_tests_name("service tables", tests, NULL, NULL);
}
