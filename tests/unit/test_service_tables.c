/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tables of a service name, and when. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service_fixture.h"

/* ---- tables --------------------------------------------------------------------------------- */

static struct steer_table *table_of(size_t e)
{
	return &service->wiring.endpoints[e]->table;
}

/* What must become of @before where generation @primary is backed up by @backup (0: by none). */
static void expect_table(size_t e, const struct steer_table *before, uint32_t primary,
			 uint32_t backup, struct steer_table *ret)
{
	const struct fake_generation *p = &fake_generations[primary],
				     *b = &fake_generations[backup];
	struct table_share shares[CONFIG_INSTANCES_MAX];

	for (size_t k = 0; k < p->n_slots; k++)
		shares[k] = (struct table_share){p->slots[e][k], p->weights[k] ? p->weights[k] : 1};
	table_compute(shares, p->n_slots, b->slots[e], backup ? b->n_slots : 0, before, ret);
}

static void give_slots(uint32_t number, uint16_t first, size_t n)
{
	for (size_t k = 0; k < n; k++)
		for (size_t e = 0; e < 2; e++)
			fake_generations[number].slots[e][k] = (uint16_t)(first + 2 * k + e);
	fake_generations[number].n_slots = n;
}

static void test_service_publish_computes_each_endpoints_table(void **state)
{
	struct steer_table before[2], expected;

	(void)state;
	carry_out("start", NULL);
	give_slots(2, 30, 3);
	fake_generations[2].weights[0] = 2;
	fake_generations[1].queued = 1;
	for (size_t e = 0; e < 2; e++)
		before[e] = *table_of(e);
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_SETTLING);
	assert_ptr_equal(service->primary, run->new);
	assert_int_equal(service->current->number, 1);
	for (size_t e = 0; e < 2; e++) {
		expect_table(e, &before[e], 2, 1, &expected);
		assert_memory_equal(table_of(e), &expected, sizeof(expected));
		assert_int_equal(table_count(table_of(e), (uint16_t)(30 + e)), STEER_BUCKETS / 2);
		before[e] = expected;
	}
	fake_generations[1].queued = 0;
	drive_until(n_ended == 2);
	for (size_t e = 0; e < 2; e++) {
		expect_table(e, &before[e], 2, 0, &expected);
		assert_memory_equal(table_of(e), &expected, sizeof(expected));
	}
}

/* Clients that need not move stay where they are. */
static void test_service_publish_goes_on_from_the_table_that_is_there(void **state)
{
	struct steer_table before;
	size_t moved = 0;

	(void)state;
	give_slots(1, 30, 2);
	carry_out("start", NULL);
	before = *table_of(0);
	give_slots(1, 30, 3);
	assert_int_equal(service_publish(service, service->current, NULL, &err), 0);
	for (size_t k = 0; k < STEER_BUCKETS; k++)
		moved += table_of(0)->buckets[k].primary != before.buckets[k].primary;
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
	struct steer_table before, expected;
	unsigned published;

	(void)state;
	give_slots(1, 30, 2);
	carry_out("start", NULL);
	before = *table_of(0);
	published = service->wiring.endpoints[0]->published;
	fake_generations[1].n_slots = 1;
	changed();
	drive_until(service->wiring.endpoints[0]->published > published);
	expect_table(0, &before, 1, 0, &expected);
	assert_memory_equal(table_of(0), &expected, sizeof(expected));
	published = service->wiring.endpoints[0]->published;
	fake_generations[1].dead = true;
	changed();
	sd_event_run(context.event, 0);
	sd_event_run(context.event, 0);
	assert_int_equal(service->wiring.endpoints[0]->published, published);
	before = *table_of(0);
	fake_generations[1].dead = false;
	fake_generations[1].n_slots = 2;
	changed();
	drive_until(service->wiring.endpoints[0]->published > published);
	expect_table(0, &before, 1, 0, &expected);
	assert_memory_equal(table_of(0), &expected, sizeof(expected));
}

/* The same instances with other sockets: a server that binds them itself has begun anew. */
static void test_service_publishes_anew_when_sockets_change(void **state)
{
	unsigned published;

	(void)state;
	carry_out("start", NULL);
	published = service->wiring.endpoints[0]->published;
	changed();
	sd_event_run(context.event, 0);
	sd_event_run(context.event, 0);
	assert_int_equal(service->wiring.endpoints[0]->published, published);
	give_slots(1, 30, 1);
	fake_generations[1].sockets_version++;
	changed();
	drive_until(service->wiring.endpoints[0]->published > published);
	assert_table(0, 30, STEER_NO_SLOT);
	assert_table(1, 31, STEER_NO_SLOT);
}

static void test_service_publishes_anew_when_a_backup_is_gone(void **state)
{
	struct steer_table before, expected;

	(void)state;
	give_slots(1, 30, 2);
	carry_out("start", NULL);
	fake_generations[1].queued = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_SETTLING);
	before = *table_of(0);
	/* The first of the two is gone. */
	give_slots(1, 32, 1);
	fake_generations[1].sockets_version++;
	changed();
	expect_table(0, &before, 2, 1, &expected);
	assert_memory_not_equal(table_of(0), &expected, sizeof(expected));
	drive_until(memcmp(table_of(0), &expected, sizeof(expected)) == 0);
}

/* Slots that a table still named can be free now, whoever's they were. */
static void test_service_releases_what_is_unused_after_publishing(void **state)
{
	unsigned before;

	(void)state;
	carry_out("start", NULL);
	before = fake_generations[1].unused_released;
	changed();
	drive_until(fake_generations[1].unused_released > before);
	fake_generations[1].live = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	before = fake_generations[1].unused_released;
	changed();
	drive_until(fake_generations[1].unused_released > before &&
		    fake_generations[2].unused_released > 0);
}

/* ---- tiers and hooks ------------------------------------------------------------------------ */

static void test_service_opens_on_the_tier_that_works(void **state)
{
	(void)state;
	context.tiers.list[STEER_EBPF].works = false;
	strcpy(context.tiers.list[STEER_EBPF].reason, "Operation not permitted");
	order("start", NULL);
	/* Nothing of it needs bpffs, a cgroup or hooks. */
	assert_calls("open " ENDPOINT_0 " cbpf; open " ENDPOINT_1 " cbpf; " RESET_ALL ATTACH_ALL
		     "new 1");
	assert_int_equal(service->wiring.tier, STEER_CBPF);
	assert_string_equal(service->tier_reason, "ebpf: Operation not permitted");
	assert_null(service->wiring.hooks);
	drive_until(n_ended == 1);
	assert_table(0, 10, STEER_NO_SLOT);
	carry_out("stop", NULL);
	/* It is found out anew when it is opened again. */
	context.tiers.list[STEER_EBPF].works = true;
	carry_out("start", NULL);
	assert_int_equal(service->wiring.tier, STEER_EBPF);
	assert_string_equal(service->tier_reason, "");
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
	assert_false(service->open);
}

static void test_service_endpoints_know_hooks_and_stickiness(void **state)
{
	(void)state;
	service->config->sticky = true;
	carry_out("start", NULL);
	for (size_t e = 0; e < 2; e++) {
		assert_true(service->wiring.endpoints[e]->sticky);
		assert_ptr_equal(service->wiring.endpoints[e]->hooks, service->wiring.hooks);
	}
	assert_non_null(service->wiring.hooks);
	/* What waits at the anchors is counted, too. */
	assert_non_null(fake_hooks_find(service->wiring.hooks, STEER_ANCHOR_GENERATION, 0));
}

/* Counting by looking is as good, only slower; but nothing else makes a server share its port. */
static void test_service_without_hooks_starts_where_they_are_not_needed(void **state)
{
	(void)state;
	fake_hooks_failure.function = "hooks_open";
	fake_hooks_failure.code = -ENOSYS;
	service->config->mode = SOCKETS_TRANSPARENT;
	refused("start", NULL);
	assert_refused(500, 1, "Cannot start",
		       "mode \"transparent\": hooks_open: Function not implemented");
	assert_int_equal(fake_steers_open, 0);
	forget_calls();
	service->config->mode = SOCKETS_AUTO;
	carry_out("start", NULL);
	assert_null(service->wiring.hooks);
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
	assert_refused(500, 1, "Cannot start", "cgroup web.anchor: No space left on device");
	assert_calls("hooks open /pins/test/web/hooks 2; hooks close");
	assert_int_equal(fake_hooks_open, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_publish_computes_each_endpoints_table),
		TEST(test_service_publish_goes_on_from_the_table_that_is_there),
		TEST(test_service_publish_without_the_table_that_is_there_makes_a_new_one),
		TEST(test_service_publish_without_primary_empties_the_tables),
		TEST(test_service_publish_of_one_that_does_not_listen_is_refused),
		TEST(test_service_publish_that_fails_keeps_the_old_primary),
		TEST(test_service_publish_that_fails_half_way_is_taken_back),
		TEST(test_service_publishes_anew_when_instances_change),
		TEST(test_service_publishes_anew_when_sockets_change),
		TEST(test_service_publishes_anew_when_a_backup_is_gone),
		TEST(test_service_releases_what_is_unused_after_publishing),
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
