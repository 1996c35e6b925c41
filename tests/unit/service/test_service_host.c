/* SPDX-License-Identifier: BSD-2-Clause */
/* What rollouts ask of their service. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

static void test_service_host_commit_makes_the_new_side_the_current_one(void **state)
{
	struct run committed = {.order = RUN_ORDER_RESTART};

	(void)state;
	carry_out("start", NULL);
	restart_until_verify(2);
	committed.new = run->new;
	committed.old = run->old;
	snprintf(service->refusal, sizeof(service->refusal), "no such program");
	snprintf(service->healing.degraded, sizeof(service->healing.degraded), "one is gone");
	service_host_ops.commit(service, &committed);
	assert_int_equal(service->current->number, 2);
	assert_int_equal(remembered_serving, 2);
	assert_string_equal(service->refusal, "");
	assert_string_equal(service->healing.degraded, "");
	service->current = run->old;
}

static void test_service_host_commit_of_some_instances_changes_nothing(void **state)
{
	struct run committed = {.order = RUN_ORDER_SCALE, .partial = true};

	(void)state;
	carry_out("start", NULL);
	remembered_serving = 0;
	service_host_ops.commit(service, &committed);
	assert_int_equal(service->current->number, 1);
	assert_int_equal(remembered_serving, 0);
}

static void test_service_host_publish_keeps_the_shares_unless_told_others(void **state)
{
	struct run_shares shares = {.weight = 10};

	(void)state;
	start_instances(2);
	shares.canary = service->current;
	assert_int_equal(service_host_ops.publish(service, &shares, &err), 0);
	assert_int_equal(service->published.shares.weight, 10);
	assert_int_equal(service_host_ops.publish(service, NULL, &err), 0);
	assert_ptr_equal(service->published.shares.canary, service->current);
	assert_int_equal(service->published.shares.weight, 10);
	assert_calls(PUBLISH_ALL "; " PUBLISH_ALL);
}

static void test_service_host_answers_as_the_service_does(void **state)
{
	uint64_t n = 1;

	(void)state;
	start_instances(2);
	assert_int_equal(service_host_ops.named(service), 2);
	fake(1, 0)->unhealthy = true;
	assert_int_equal(service_host_ops.named(service), 1);
	service->wiring.endpoints[0]->slot_stats[10].primary = 7;
	assert_int_equal(service_host_ops.steered_to(service, fake_there(1, 0), &n), 0);
	assert_int_equal(n, 7);
	assert_int_equal(
		service_host_ops.check_sockets(service, &service->current->instances, &err), 0);
	fake_there(1, 1)->sockets.n = 0;
	assert_int_equal(
		service_host_ops.check_sockets(service, &service->current->instances, &err),
		-ENOENT);
}

static void test_service_host_tells_events_and_looks_again(void **state)
{
	(void)state;
	service_host_ops.tell(service,
			      &(struct event){.kind = EVENT_CHANGED, .message = "it has changed"});
	assert_event("changed", "message", "it has changed");
	service_host_ops.poke(service);
	assert_true(sd_event_run(context.event, 0) > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_host_commit_makes_the_new_side_the_current_one),
		TEST(test_service_host_commit_of_some_instances_changes_nothing),
		TEST(test_service_host_publish_keeps_the_shares_unless_told_others),
		TEST(test_service_host_answers_as_the_service_does),
		TEST(test_service_host_tells_events_and_looks_again),
	};
#undef TEST

	return cmocka_run_group_tests_name("service host", tests, NULL, NULL);
}
