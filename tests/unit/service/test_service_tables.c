/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tables of a service name, with which shares, and when; the tiers they are made on. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

static void start_instances(uint32_t n)
{
	service->instances = n;
	carry_out("start", NULL);
	assert_int_equal(service->current->instances.n, n);
}

static unsigned published(void)
{
	return service->wiring.endpoints[0]->published;
}

/* As close to @share as whole buckets allow. */
static void assert_buckets(size_t e, uint32_t generation, uint32_t index, double share)
{
	double exact = share * STEER_BUCKETS;

	assert_in_range(buckets_of(e, generation, index), (size_t)exact,
			(size_t)exact + (exact > (double)(size_t)exact));
}

static void publish(void)
{
	if (service_publish(service, &err) < 0)
		fail_msg("%s", err.text);
}

static size_t backups_of(size_t e, uint32_t generation, uint32_t index)
{
	const struct steer_table *table = &service->wiring.endpoints[e]->table;
	const struct instance *i = fake_there(generation, index);
	size_t n = 0;

	for (size_t k = 0; k < STEER_BUCKETS; k++)
		n += table->buckets[k].backup == i->sockets.list[e].slot;
	return n;
}

/* A rollout with two generations of @n instances, at the step where only one is named, or both. */
static void start_rolling(uint32_t n)
{
	start_instances(n);
	for (uint32_t k = 0; k < n; k++)
		fake(1, k)->queued = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_SETTLING);
}

/* ---- shares --------------------------------------------------------------------------------- */

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
		i->sockets.list[i->sockets.n++] = (struct instance_socket){
			.cookie = 900u + k, .endpoint = 0, .slot = (uint16_t)(200 + k)};
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

/* @weights are steps that wait for somebody; the last is 100. */
static void use_canary(size_t n, const uint32_t *weights)
{
	service->config->rollout.strategy = ROLLOUT_CANARY;
	service->config->rollout.n_steps = n;
	service->config->rollout.promote_timeout_ms = 60000;
	for (size_t k = 0; k < n; k++)
		service->config->rollout.steps[k] =
			(struct rollout_weight){.weight = weights[k], .manual = true};
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

/* Each with a socket for each of its threads, in slots that nobody else has. */
static void add_sockets(uint32_t generation, uint16_t first_slot)
{
	for (uint32_t k = 0; k < CONFIG_INSTANCES_MAX; k++) {
		struct instance *i = fake_there(generation, k);

		i->sockets.n = 0;
		for (uint16_t m = 0; m < 4; m++)
			for (uint32_t e = 0; e < 2; e++)
				i->sockets.list[i->sockets.n++] = (struct instance_socket){
					.cookie = 1000ULL * generation + 10ULL * k + 2 * m + e,
					.endpoint = e,
					.slot = (uint16_t)(first_slot + 4 * k + m)};
		i->sockets_version++;
	}
}

/* However thinly a group's share is spread, it is not rounded away. */
static void test_service_table_of_one_percent_is_whole_buckets(void **state)
{
	static const uint32_t weights[] = {1, 99, 100};
	size_t sum;

	(void)state;
	for (uint32_t k = 0; k < CONFIG_INSTANCES_MAX; k++)
		fake(1, k)->has_slots = fake(2, k)->has_slots = false;
	start_instances(CONFIG_INSTANCES_MAX);
	use_canary(3, weights);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DWELLING);
	add_sockets(1, 100);
	add_sockets(2, 180);
	look();
	for (size_t e = 0; e < 2; e++) {
		sum = 0;
		for (uint32_t k = 0; k < CONFIG_INSTANCES_MAX; k++) {
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
	for (uint32_t k = 0; k < CONFIG_INSTANCES_MAX; k++)
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
	struct instances set = {};

	(void)state;
	start_instances(2);
	set = service->current->instances;
	assert_int_equal(service_check_sockets(service, &set, &err), 0);
	fake_there(1, 1)->sockets.n = 1;
	assert_int_equal(service_check_sockets(service, &set, &err), -ENOENT);
	assert_string_equal(
		err.text, "instance 1 of generation 1 has no listening socket left on " ENDPOINT_1);
	fake(1, 0)->dead = true;
	assert_int_equal(service_check_sockets(service, &set, &err), -ENOENT);
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

/* ---- what was sent where -------------------------------------------------------------------- */

static void test_service_counts_what_was_steered_to_an_instance(void **state)
{
	uint64_t n;

	(void)state;
	start_instances(2);
	service->wiring.endpoints[0]->slot_stats[12] =
		(struct steer_slot_stats){.primary = 7, .backup = 2, .pinned = 50, .migrated = 1};
	service->wiring.endpoints[1]->slot_stats[13].primary = 100; /* another endpoint */
	assert_int_equal(service_steered_to(service, fake_there(1, 1), &n), 0);
	assert_int_equal(n, 9);
	/* Shares are seen from the last table on. */
	publish();
	assert_int_equal(fake_there(1, 1)->shifted, 9);
	assert_int_equal(fake_there(1, 0)->shifted, 0);
	fake_steer_failure.function = "steer_slot_stats";
	fake_steer_failure.code = -EIO;
	assert_int_equal(service_steered_to(service, fake_there(1, 1), &n), -EIO);
	publish();
	assert_int_equal(fake_there(1, 1)->shifted, 0);
}

static void test_service_on_a_lower_tier_counts_nothing(void **state)
{
	uint64_t n = 5;

	(void)state;
	service->config->steering = STEERING_CBPF;
	carry_out("start", NULL);
	assert_int_equal(service_steered_to(service, fake_there(1, 0), &n), -ENODATA);
	assert_int_equal(n, 0);
}

/* ---- tiers and hooks ------------------------------------------------------------------------ */

static void test_service_opens_on_the_tier_that_works(void **state)
{
	(void)state;
	context.tiers.list[STEER_EBPF].works = false;
	strcpy(context.tiers.list[STEER_EBPF].reason, "Operation not permitted");
	order("start", NULL);
	/* Nothing of it needs bpffs, a cgroup or hooks. */
	assert_calls("open " ENDPOINT_0 " cbpf; open " ENDPOINT_1 " cbpf; " RESET_ALL
		     "attach " ENDPOINT_0 "; attach " ENDPOINT_1);
	assert_int_equal(service->wiring.tier, STEER_CBPF);
	assert_string_equal(service->endpoints.tier_reason, "ebpf: Operation not permitted");
	assert_null(service->wiring.tap);
	drive_until(n_ended == 1);
	assert_table(0, 10, STEER_NO_SLOT);
	carry_out("stop", NULL);
	/* It is found out anew when it is opened again. */
	context.tiers.list[STEER_EBPF].works = true;
	carry_out("start", NULL);
	assert_int_equal(service->wiring.tier, STEER_EBPF);
	assert_string_equal(service->endpoints.tier_reason, "");
}

static void test_service_tier_that_does_not_work_is_no_start(void **state)
{
	(void)state;
	service->config->steering = STEERING_EBPF;
	context.tiers.list[STEER_EBPF].works = false;
	strcpy(context.tiers.list[STEER_EBPF].reason, "Operation not permitted");
	refused("start", NULL);
	assert_refused(500, 1, "Cannot start",
		       "steering \"ebpf\" does not work here: Operation not permitted");
	assert_calls("");
	assert_false(service->endpoints.open);
}

static void test_service_endpoints_know_hooks_and_stickiness(void **state)
{
	(void)state;
	service->config->sticky = true;
	carry_out("start", NULL);
	for (size_t e = 0; e < 2; e++) {
		assert_true(service->wiring.endpoints[e]->sticky);
		assert_ptr_equal(service->wiring.endpoints[e]->tap, service->wiring.tap);
	}
	assert_non_null(service->wiring.tap);
	/* What waits at the anchors is counted, too. */
	assert_non_null(fake_tap_find(service->wiring.tap, STEER_ANCHOR_GENERATION, 0));
}

/* Counting by looking is as good, only slower; but nothing else makes a server share its port. */
static void test_service_without_hooks_starts_where_they_are_not_needed(void **state)
{
	(void)state;
	fake_tap_failure.function = "tap_open";
	fake_tap_failure.code = -ENOSYS;
	service->config->mode = SOCKETS_TRANSPARENT;
	refused("start", NULL);
	assert_refused(500, 1, "Cannot start",
		       "mode \"transparent\": tap_open: Function not implemented");
	assert_int_equal(fake_steers_open, 0);
	forget_calls();
	service->config->mode = SOCKETS_AUTO;
	carry_out("start", NULL);
	assert_null(service->wiring.tap);
	assert_null(strstr(calls, "cgroup"));
}

static void test_service_transparent_needs_ebpf_and_a_cgroup(void **state)
{
	(void)state;
	service->config->mode = SOCKETS_TRANSPARENT;
	context.cgroup_base[0] = '\0';
	refused("start", NULL);
	assert_refused(500, 1, "Cannot start",
		       "mode \"transparent\": it needs a cgroup v2 that batond may write to");
	strcpy(context.cgroup_base, "/cgroup/test");
	service->config->steering = STEERING_HASH;
	refused("start", NULL);
	assert_refused(500, 1, "Cannot start",
		       "mode \"transparent\": it needs tier ebpf, this is tier hash");
	service->config->steering = STEERING_AUTO;
	carry_out("start", NULL);
}

static void test_service_anchor_cgroup_that_cannot_be_made_leaves_nothing(void **state)
{
	(void)state;
	fake_cgroup.create_error = -ENOSPC;
	refused("start", NULL);
	assert_refused(500, 1, "Cannot start", "cgroup anchor.web: No space left on device");
	assert_calls("tap open /pins/test/web/tap 2; tap close");
	assert_int_equal(fake_tap_open, 0);
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
		TEST(test_service_releases_what_is_unused_after_publishing),
		TEST(test_service_counts_what_was_steered_to_an_instance),
		TEST(test_service_on_a_lower_tier_counts_nothing),
		TEST(test_service_opens_on_the_tier_that_works),
		TEST(test_service_tier_that_does_not_work_is_no_start),
		TEST(test_service_endpoints_know_hooks_and_stickiness),
		TEST(test_service_without_hooks_starts_where_they_are_not_needed),
		TEST(test_service_transparent_needs_ebpf_and_a_cgroup),
		TEST(test_service_anchor_cgroup_that_cannot_be_made_leaves_nothing),
	};
#undef TEST

	return cmocka_run_group_tests_name("service tables", tests, NULL, NULL);
}
