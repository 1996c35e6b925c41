/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is named in the tables, and when they are published. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/publish_fixture.h"

/* ---- who ------------------------------------------------------------------------------------ */

static void test_service_table_leaves_out_the_unhealthy_while_there_are_others(void **state)
{
	(void)state;
	start_instances(3);
	fake(1, 1)->unhealthy = true;
	look();
	for (size_t e = 0; e < 2; e++) {
		assert_int_equal(buckets_of(e, 1, 1), 0);
		assert_buckets(e, 1, 0, 0.5);
		assert_buckets(e, 1, 2, 0.5);
	}
	assert_int_equal(service_named(service), 2);
	fake(1, 0)->unhealthy = true;
	look();
	assert_buckets(0, 1, 2, 1);
	/* All of them are better than nobody. */
	fake(1, 2)->unhealthy = true;
	look();
	assert_int_equal(service_named(service), 3);
	for (uint32_t k = 0; k < 3; k++)
		assert_buckets(0, 1, k, 1.0 / 3);
	/* The first that is well again has it all, until others are. */
	fake(1, 1)->unhealthy = false;
	look();
	assert_buckets(0, 1, 1, 1);
	fake(1, 0)->unhealthy = fake(1, 2)->unhealthy = false;
	look();
	for (uint32_t k = 0; k < 3; k++)
		assert_buckets(1, 1, k, 1.0 / 3);
}

static void test_service_table_leaves_out_what_cannot_accept(void **state)
{
	(void)state;
	start_instances(2);
	fake(1, 0)->dead = true;
	look();
	assert_int_equal(buckets_of(0, 1, 0), 0);
	assert_buckets(0, 1, 1, 1);
	fake(1, 0)->dead = false;
	look();
	assert_buckets(0, 1, 0, 0.5);
}

/* It listens on one of the two only: it gets what there is to get there. */
static void test_service_table_of_an_endpoint_names_who_listens_there(void **state)
{
	struct instance *i;

	(void)state;
	start_instances(2);
	i = fake_there(1, 1);
	i->sockets.n = 1; /* endpoint 0 */
	i->sockets_version++;
	look();
	assert_buckets(0, 1, 0, 0.5);
	assert_buckets(0, 1, 1, 0.5);
	assert_buckets(1, 1, 0, 1);
}

/* Nothing of those that serve listens there any more: rather those that go than nobody. */
static void test_service_table_of_an_endpoint_falls_back_to_the_backup(void **state)
{
	(void)state;
	start_rolling(1);
	fake_there(2, 0)->sockets.n = 1;
	fake_there(2, 0)->sockets_version++;
	look();
	assert_table(0, 20, 10);
	assert_table(1, 11, STEER_NO_SLOT);
}

/* What has never had a role is nobody's business, whatever becomes of it. */
static void test_service_table_does_not_name_what_is_on_trial(void **state)
{
	unsigned before;

	(void)state;
	start_instances(1);
	before = published();
	restart_until_verify(2);
	assert_int_equal(published(), before);
	assert_int_equal(buckets_of(0, 2, 0), 0);
	fake_there(2, 0)->sockets_version++;
	look();
	assert_int_equal(published(), before);
}

/* ---- publishing ----------------------------------------------------------------------------- */

/* Clients that need not move stay where they are. */
static void test_service_publish_goes_on_from_the_table_that_is_there(void **state)
{
	struct steer_table before;
	size_t moved = 0;

	(void)state;
	start_instances(2);
	before = service->wiring.endpoints[0]->table;
	carry_out("scale", "{\"instances\": 3}");
	for (size_t k = 0; k < STEER_BUCKETS; k++)
		moved += service->wiring.endpoints[0]->table.buckets[k].primary !=
			 before.buckets[k].primary;
	assert_in_range(moved, STEER_BUCKETS / 3, STEER_BUCKETS / 3 + 1);
}

/* That it cannot be read is no reason not to publish. */
static void test_service_publish_without_the_table_that_is_there_makes_a_new_one(void **state)
{
	(void)state;
	carry_out("start", NULL);
	fake_steer_failure.function = "steer_table";
	fake_steer_failure.code = -EIO;
	carry_out("restart", NULL);
	assert_int_equal(service->last.exit, 0);
	assert_table(0, 20, STEER_NO_SLOT);
}

static void test_service_publish_of_nobody_empties_the_tables(void **state)
{
	(void)state;
	carry_out("start", NULL);
	instances_name(&service->current->instances, INSTANCE_OUT);
	publish();
	assert_table(0, STEER_NO_SLOT, STEER_NO_SLOT);
	assert_table(1, STEER_NO_SLOT, STEER_NO_SLOT);
	assert_int_equal(service_named(service), 0);
	assert_int_equal(fake_there(1, 0)->aimed, 0);
}

static void test_service_publish_while_paused_names_nobody(void **state)
{
	(void)state;
	start_instances(2);
	service->hold.paused = true;
	publish();
	assert_table(0, STEER_NO_SLOT, STEER_NO_SLOT);
	assert_int_equal(fake_there(1, 1)->aimed, 0);
	service->hold.paused = false;
	publish();
	assert_buckets(0, 1, 1, 0.5);
}

static void test_service_check_sockets_names_who_has_none(void **state)
{
	const struct instances *set;

	(void)state;
	start_instances(2);
	set = &service->current->instances;
	assert_int_equal(service_check_sockets(service, set, &err), 0);
	fake_there(1, 1)->sockets.n = 1;
	assert_int_equal(service_check_sockets(service, set, &err), -ENOENT);
	assert_string_equal(
		err.text, "instance 1 of generation 1 has no listening socket left on " ENDPOINT_1);
	fake(1, 0)->dead = true;
	assert_int_equal(service_check_sockets(service, set, &err), -ENOENT);
	assert_string_equal(
		err.text, "instance 0 of generation 1 has no listening socket left on " ENDPOINT_0);
}

/* A table that names nobody would refuse connections that the old generation still takes. */
static void test_service_publish_of_one_that_does_not_listen_is_refused(void **state)
{
	(void)state;
	carry_out("start", NULL);
	restart_until_verify(2);
	fake_there(2, 0)->sockets.n = 1;
	pass_checks(2);
	drive_until(n_ended == 2);
	assert_int_equal(service->last.exit, 3);
	assert_string_equal(
		service->last.reason,
		"instance 0 of generation 2 has no listening socket left on " ENDPOINT_1);
	assert_int_equal(service->current->number, 1);
	assert_table(1, 11, STEER_NO_SLOT);
}

static void test_service_publish_that_fails_keeps_what_is_named(void **state)
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
	assert_int_equal(fake_there(1, 0)->role, INSTANCE_IN);
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

/* ---- publishing anew ------------------------------------------------------------------------ */

static void test_service_publishes_anew_only_where_something_has_changed(void **state)
{
	struct instance *i;
	unsigned before;

	(void)state;
	start_instances(2);
	before = published();
	look();
	assert_int_equal(published(), before);
	i = fake_there(1, 0);
	i->sockets_version++;
	look();
	assert_int_equal(published(), ++before);
	fake(1, 0)->unhealthy = true;
	look();
	assert_int_equal(published(), ++before);
	fake(1, 0)->dead = true;
	look();
	assert_int_equal(published(), ++before);
	service->published.shares.weight = 5;
	look();
	assert_int_equal(published(), ++before);
	look();
	assert_int_equal(published(), before);
}

/* Instances come and go; the table follows, but is never left empty. */
static void test_service_does_not_publish_a_table_of_nobody(void **state)
{
	unsigned before;

	(void)state;
	start_instances(2);
	before = published();
	fake(1, 0)->dead = fake(1, 1)->dead = true;
	look();
	assert_int_equal(published(), before);
	assert_buckets(0, 1, 0, 0.5);
	fake(1, 1)->dead = false;
	look();
	assert_buckets(0, 1, 1, 1);
}

/* The same instances with other sockets: a server that binds them itself has begun anew. */
static void test_service_publishes_anew_when_sockets_change(void **state)
{
	struct instance *i;

	(void)state;
	carry_out("start", NULL);
	i = fake_there(1, 0);
	i->sockets.list[0].slot = 30;
	i->sockets.list[1].slot = 31;
	i->sockets_version++;
	look();
	assert_table(0, 30, STEER_NO_SLOT);
	assert_table(1, 31, STEER_NO_SLOT);
}

static void test_service_publishes_anew_when_a_backup_is_gone(void **state)
{
	(void)state;
	start_rolling(2);
	fake(1, 0)->dead = true;
	look();
	for (size_t e = 0; e < 2; e++) {
		assert_int_equal(backups_of(e, 1, 0), 0);
		assert_int_equal(backups_of(e, 1, 1), STEER_BUCKETS);
	}
}

/* Tried again when something else changes, not for ever. */
static void test_service_table_that_cannot_be_published_anew_stays(void **state)
{
	unsigned before;

	(void)state;
	start_instances(2);
	before = published();
	fake_steer_failure.function = "steer_publish";
	fake_steer_failure.code = -EIO;
	fake(1, 0)->unhealthy = true;
	look();
	assert_buckets(0, 1, 0, 0.5);
	fake_steer_failure.function = NULL;
	look();
	assert_int_equal(published(), before);
	fake_there(1, 0)->sockets_version++;
	look();
	assert_buckets(0, 1, 1, 1);
}

/* Nobody but the service could say so: no instance is at fault. */
static void test_service_is_degraded_while_its_table_cannot_be_published(void **state)
{
	(void)state;
	start_instances(2);
	fake_steer_failure.function = "steer_publish";
	fake_steer_failure.code = -EIO;
	fake_there(1, 0)->sockets_version++;
	look();
	look();
	assert_non_null(strstr(service->healing.degraded, "the table cannot be changed: steer_"));
	assert_int_equal(service_condition(service), SERVICE_DEGRADED);
	fake_steer_failure.function = NULL;
	service_publish_again(service);
	look();
	look();
	assert_string_equal(service->healing.degraded, "");
	assert_int_equal(service_condition(service), SERVICE_WELL);
}

/* Slots that a table still named can be free now, whoever's they were. */
static void test_service_releases_what_is_unused_after_publishing(void **state)
{
	unsigned before;

	(void)state;
	carry_out("start", NULL);
	before = fake(1, 0)->unused_released;
	changed();
	drive_until(fake(1, 0)->unused_released > before);
	fake(1, 0)->live = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	before = fake(1, 0)->unused_released;
	changed();
	drive_until(fake(1, 0)->unused_released > before && fake(2, 0)->unused_released > 0);
}

/* Some endpoints may have got the new table, others not: all are published again, once. */
static void test_service_publish_that_fails_is_tried_again_at_the_next_look(void **state)
{
	unsigned before;

	(void)state;
	start_instances(2);
	fake_steer_failure.function = "steer_publish";
	fake_steer_failure.address = ENDPOINT_1;
	fake_steer_failure.code = -EIO;
	assert_int_equal(service_publish(service, &err), -EIO);
	assert_int_equal(service->published.version, 0);
	fake_steer_failure.function = NULL;
	before = published();
	look();
	assert_int_equal(published(), before + 1);
	assert_true(service->published.version != 0);
	look();
	assert_int_equal(published(), before + 1);
}

/* As often as somebody looks, and each time with a line in the log? No. */
static void test_service_publish_that_fails_is_not_tried_for_ever(void **state)
{
	unsigned before;

	(void)state;
	start_instances(2);
	fake_steer_failure.function = "steer_publish";
	fake_steer_failure.address = ENDPOINT_1;
	fake_steer_failure.code = -EIO;
	assert_int_equal(service_publish(service, &err), -EIO);
	before = published();
	look();
	assert_int_equal(published(), before + 1);
	look();
	look();
	assert_int_equal(published(), before + 1);
	/* The next change is another reason to try. */
	fake_steer_failure.function = NULL;
	fake(1, 0)->unhealthy = true;
	look();
	assert_int_equal(published(), before + 2);
	assert_buckets(0, 1, 1, 1);
	assert_buckets(1, 1, 1, 1);
}

/* ---- the last ones --------------------------------------------------------------------------- */

/* Nobody else could take them: new connections go to those that have yet to leave. */
static void test_service_publish_stop_names_the_last_until_they_have_left(void **state)
{
	(void)state;
	start_instances(2);
	fake(1, 0)->cannot_leave = fake(1, 1)->cannot_leave = true;
	fake(1, 0)->live = 1;
	order("stop", NULL);
	drive_until(run->machine.state == ROLLOUT_LEAVING);
	assert_buckets(0, 1, 0, 0.5);
	assert_buckets(0, 1, 1, 0.5);
	/* One after the other. */
	fake_left(1, 0);
	changed();
	drive_until(buckets_of(0, 1, 1) == STEER_BUCKETS);
	assert_int_equal(service->last.id, 1);
	fake_left(1, 1);
	changed();
	drive_until(run->machine.state != ROLLOUT_LEAVING);
	assert_int_equal(buckets_of(0, 1, 0) + buckets_of(0, 1, 1), 0);
	fake(1, 0)->live = 0;
	drive_until(n_ended == 2);
}

/* Such as cannot drain end when they have no connections: no new ones may come. */
static void test_service_publish_stop_of_what_stays_names_nobody(void **state)
{
	(void)state;
	service->config->drain.wait = DRAIN_WAIT_CONNECTIONS;
	start_instances(1);
	fake(1, 0)->queued = 1;
	order("stop", NULL);
	drive_until(run->machine.state == ROLLOUT_SETTLING);
	assert_int_equal(buckets_of(0, 1, 0), 0);
	fake(1, 0)->queued = 0;
	drive_until(n_ended == 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_table_leaves_out_the_unhealthy_while_there_are_others),
		TEST(test_service_table_leaves_out_what_cannot_accept),
		TEST(test_service_table_of_an_endpoint_names_who_listens_there),
		TEST(test_service_table_of_an_endpoint_falls_back_to_the_backup),
		TEST(test_service_table_does_not_name_what_is_on_trial),
		TEST(test_service_publish_goes_on_from_the_table_that_is_there),
		TEST(test_service_publish_without_the_table_that_is_there_makes_a_new_one),
		TEST(test_service_publish_of_nobody_empties_the_tables),
		TEST(test_service_publish_while_paused_names_nobody),
		TEST(test_service_check_sockets_names_who_has_none),
		TEST(test_service_publish_of_one_that_does_not_listen_is_refused),
		TEST(test_service_publish_that_fails_keeps_what_is_named),
		TEST(test_service_publish_that_fails_half_way_is_taken_back),
		TEST(test_service_publishes_anew_only_where_something_has_changed),
		TEST(test_service_does_not_publish_a_table_of_nobody),
		TEST(test_service_publishes_anew_when_sockets_change),
		TEST(test_service_publishes_anew_when_a_backup_is_gone),
		TEST(test_service_table_that_cannot_be_published_anew_stays),
		TEST(test_service_is_degraded_while_its_table_cannot_be_published),
		TEST(test_service_releases_what_is_unused_after_publishing),
		TEST(test_service_publish_that_fails_is_tried_again_at_the_next_look),
		TEST(test_service_publish_that_fails_is_not_tried_for_ever),
		TEST(test_service_publish_stop_names_the_last_until_they_have_left),
		TEST(test_service_publish_stop_of_what_stays_names_nobody),
	};
#undef TEST

	return cmocka_run_group_tests_name("service publish", tests, NULL, NULL);
}
