/* SPDX-License-Identifier: BSD-2-Clause */
/* Taking over agents that an earlier daemon has left. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/takeover_fixture.h"

static void test_service_take_over_steady_one_serves_on(void **state)
{
	(void)state;
	service->instances = 2;
	find_agent(7, AGENT_RUNNING, true);
	find_agent(7, AGENT_RUNNING, true);
	assert_int_equal(adopt(), 1);
	/* The program comes last: until then the earlier daemon's goes on with its own table. */
	assert_calls(OPEN_ALL "take over 7.0; take over 7.1; " PUBLISH_ALL "; " ATTACH_ALL
			      "release unclaimed " ENDPOINT_0 "; release unclaimed " ENDPOINT_1
			      "; release leftovers 7.0; steady 7.0 on; check 7.0"
			      "; release leftovers 7.1; steady 7.1 on; check 7.1");
	assert_int_equal(service->current->number, 7);
	assert_true(service->settled);
	assert_null(service_run(service));
	for (size_t e = 0; e < 2; e++)
		for (uint32_t k = 0; k < 2; k++)
			assert_int_equal(buckets_of(e, 7, k), STEER_BUCKETS / 2);
	assert_event("adopted", "message", "generation 7 serves on");
	assert_int_equal(n_ended, 0);
}

static void test_service_take_over_steady_one_wins_and_the_others_retire(void **state)
{
	(void)state;
	find_agent(3, AGENT_LEFT, false);
	find_agent(4, AGENT_RUNNING, false);
	find_agent(5, AGENT_RUNNING, true);
	find_agent(6, AGENT_RUNNING, false);
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->current->number, 5);
	assert_retiring(&service->runs[0], 3);
	assert_retiring(&service->runs[1], 4);
	assert_retiring(&service->runs[2], 6);
	assert_int_equal(service->runs[3].id, 0);
	forget_calls();
	drive_until(n_ended == 3);
	assert_null(strstr(calls, "publish"));
	assert_null(strstr(calls, "leave 5.0"));
	assert_non_null(strstr(calls, "leave 4.0"));
	assert_non_null(strstr(calls, "done 6.0"));
	assert_int_equal(service->n_generations, 1);
	assert_int_equal(service->current->number, 5);
	/* They are not what ran before it. */
	refused("rollback", NULL);
	assert_int_equal(refusal_info(refusal.kind)->http_status, 409);
}

/* From then on its bad answers count, though this daemon has not seen it healthy. */
static void test_service_take_over_steady_one_has_passed_its_checks(void **state)
{
	(void)state;
	find_agent(7, AGENT_RUNNING, true);
	assert_int_equal(adopt(), 1);
	assert_string_equal(fake(7, 0)->recalled, "passed");
}

static void test_service_take_over_named_one_has_passed_its_checks(void **state)
{
	(void)state;
	find_agent(7, AGENT_RUNNING, false);
	find_agent(7, AGENT_RUNNING, false);
	named_before(7, 0);
	assert_int_equal(adopt(), 1);
	assert_string_equal(fake(7, 0)->recalled, "passed");
	assert_null(fake(7, 1)->recalled);
}

/* Without tables of an earlier daemon's nobody knows. */
static void test_service_take_over_without_steady_and_tables_is_to_pass(void **state)
{
	(void)state;
	context.tiers.list[STEER_EBPF].works = false;
	find_agent(7, AGENT_RUNNING, false);
	assert_int_equal(adopt(), 1);
	assert_string_equal(fake(7, 0)->recalled, "unknown");
}

/* The earlier daemon died between the shift and the commit. */
static void test_service_take_over_without_steady_takes_the_oldest_that_serves(void **state)
{
	(void)state;
	find_agent(3, AGENT_LEAVING, false);
	find_agent(4, AGENT_FAILED, false);
	find_agent(5, AGENT_RUNNING, false);
	find_agent(6, AGENT_RUNNING, false);
	find_agent(7, AGENT_RUNNING, false);
	find_agent(8, AGENT_RUNNING, false);
	for (uint32_t n = 3; n < 8; n++)
		if (n != 6) /* one that no table names has never passed its checks */
			named_before(n, 0);
	fake(4, 0)->dead = fake(5, 0)->dead = true;
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->current->number, 7);
	assert_non_null(strstr(calls, "release leftovers 7.0; steady 7.0 on"));
	assert_table(0, 70, STEER_NO_SLOT);
}

static void test_service_take_over_steady_one_that_is_leaving_does_not_count(void **state)
{
	(void)state;
	find_agent(3, AGENT_LEAVING, true);
	find_agent(4, AGENT_RUNNING, false);
	named_before(4, 0);
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->current->number, 4);
	assert_retiring(&service->runs[0], 3);
}

static void test_service_take_over_steady_one_that_is_dead_does_not_count(void **state)
{
	(void)state;
	find_agent(3, AGENT_FAILED, true);
	find_agent(4, AGENT_RUNNING, false);
	fake(3, 0)->dead = true;
	named_before(4, 0);
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->current->number, 4);
	assert_retiring(&service->runs[0], 3);
}

/* ---- nothing that serves -------------------------------------------------------------------- */

static void test_service_take_over_where_nothing_serves_is_yet_to_be_started(void **state)
{
	(void)state;
	find_agent(3, AGENT_STOPPING, false);
	find_agent(4, AGENT_LEFT, true);
	fake(3, 0)->live = 1;
	fake(3, 0)->queued = 0;
	assert_int_equal(adopt(), 0);
	assert_null(service->current);
	assert_table(0, STEER_NO_SLOT, STEER_NO_SLOT);
	assert_retiring(&service->runs[0], 3);
	assert_retiring(&service->runs[1], 4);
	assert_null(newest_event("adopted"));
	forget_calls();
	/* On the endpoints that are open already; with a number above all that lives. */
	order("start", NULL);
	assert_calls("");
	assert_int_equal(run->new->number, 5);
	assert_null(run->old);
	drive_until(service->current && service->current->number == 5);
	fake(3, 0)->live = 0;
	fake_stopped(3, 0); /* as its agent says, which has been told to by the earlier daemon */
	drive_until(service->n_generations == 1);
	assert_true(service->endpoints.open);
}

/* It serves; what has never passed its checks does not. */
static void test_service_take_over_of_an_unproven_one_is_no_service(void **state)
{
	(void)state;
	find_agent(3, AGENT_RUNNING, false);
	assert_int_equal(adopt(), 0);
	assert_null(service->current);
	assert_table(0, STEER_NO_SLOT, STEER_NO_SLOT);
	assert_retiring(&service->runs[0], 3);
}

#define REPLACE(endpoint) "reset " endpoint "; hold " endpoint " on; attach " endpoint "; "

/* Its sockets are still in the earlier daemon's maps: the program must come first then. */
static void test_service_take_over_without_its_maps_attaches_first(void **state)
{
	static const char expected[] =
		OPEN_ALL REPLACE(ENDPOINT_0) REPLACE(ENDPOINT_1) "take over 7.0; ";
	const char *published, *released;

	(void)state;
	find_agent(7, AGENT_RUNNING, true);
	fake_steer_not_taken_over = true;
	assert_int_equal(adopt(), 1);
	assert_memory_equal(calls, expected, strlen(expected));
	assert_table(0, 70, STEER_NO_SLOT);
	/* What has come meanwhile waits until a table names somebody. */
	published = strstr(calls, PUBLISH_ALL);
	released = strstr(calls, "hold " ENDPOINT_0 " off");
	assert_non_null(published);
	assert_non_null(released);
	assert_true(published < released);
	assert_non_null(strstr(released, "hold " ENDPOINT_1 " off"));
}

/* A service that holds goes on to do so, by its own rules. */
static void test_service_take_over_without_its_maps_goes_on_to_hold(void **state)
{
	(void)state;
	service->config->hold_ms = 5000;
	find_agent(7, AGENT_RUNNING, true);
	fake_steer_not_taken_over = true;
	assert_int_equal(adopt(), 1);
	assert_null(strstr(calls, "hold " ENDPOINT_0 " off"));
	assert_true(service->wiring.endpoints[0]->hold);
}

static void test_service_take_over_takes_over_the_command_of_an_upgrade(void **state)
{
	char *command[] = {(char *)"/bin/v2", NULL};

	(void)state;
	char *environment[] = {(char *)"A=b", NULL};

	find_agent(7, AGENT_RUNNING, true);
	assert_int_equal(vector_copy(command, &remembered), 0);
	assert_int_equal(vector_copy(environment, &remembered_environment), 0);
	remembered_instances = 1;
	assert_int_equal(adopt(), 1);
	order("restart", NULL);
	assert_string_equal(run->new->release->executable, "/bin/v2");
	assert_string_equal(run->new->release->environment[0], "A=b");
}

/* It may have been started from another file than the one that was read since. */
static void test_service_reconfigure_of_an_adopted_one_compares_releases(void **state)
{
	const char *order_after;

	(void)state;
	assert_int_equal(reconfigure(make_config("/bin/adopted", ENDPOINT_0), &order_after, &err),
			 0);
	find_agent(7, AGENT_RUNNING, true);
	assert_int_equal(adopt(), 1);
	assert_int_equal(reconfigure(make_config("/bin/adopted", ENDPOINT_0), &order_after, &err),
			 0);
	assert_null(order_after);
	assert_int_equal(reconfigure(make_config("/bin/other", ENDPOINT_0), &order_after, &err), 0);
	assert_string_equal(order_after, "restart");
	/* One that cannot be resolved is another one, too. */
	assert_int_equal(reconfigure(make_config("/none", ENDPOINT_0), &order_after, &err), 0);
	assert_string_equal(order_after, "restart");
}

/* The file says what it said, but that is not what runs. */
static void test_service_reconfigure_of_an_adopted_one_sees_another_release(void **state)
{
	const char *order_after;

	(void)state;
	find_agent(7, AGENT_RUNNING, true);
	assert_int_equal(adopt(), 1);
	assert_int_equal(reconfigure(make_config("/bin/web", ENDPOINT_0), &order_after, &err), 0);
	assert_string_equal(order_after, "restart");
}

/* The same release, but another of what surrounds it. */
static void test_service_reconfigure_of_an_adopted_one_compares_its_configuration(void **state)
{
	struct service_config *config = make_config("/bin/adopted", ENDPOINT_0);
	const char *order_after;

	(void)state;
	assert_int_equal(reconfigure(make_config("/bin/adopted", ENDPOINT_0), &order_after, &err),
			 0);
	find_agent(7, AGENT_RUNNING, true);
	assert_int_equal(adopt(), 1);
	config->backlog = 7;
	assert_int_equal(reconfigure(config, &order_after, &err), 0);
	assert_string_equal(order_after, "restart");
}

static void test_service_adopted_one_can_be_rolled_back_to(void **state)
{
	(void)state;
	find_agent(7, AGENT_RUNNING, true);
	assert_int_equal(adopt(), 1);
	carry_out("restart", NULL);
	assert_string_equal(service->current->release->executable, "/bin/web");
	carry_out("rollback", NULL);
	assert_string_equal(service->current->release->executable, "/bin/adopted");
}

static void test_service_numbers_are_above_adopted_ones(void **state)
{
	(void)state;
	last_number = 2; /* state.json was lost, or put back */
	find_agent(7, AGENT_RUNNING, true);
	find_agent(9, AGENT_RUNNING, false);
	assert_int_equal(adopt(), 1);
	order("restart", NULL);
	assert_int_equal(run->new->number, 10);
	assert_int_equal(last_number, 10);
	assert_int_equal(run->old->number, 7);
}

static void test_service_numbers_that_run_out_end_the_search(void **state)
{
	(void)state;
	find_agent(7, AGENT_RUNNING, true);
	assert_int_equal(adopt(), 1);
	state_error = -EOVERFLOW;
	refused("restart", NULL);
	assert_int_equal(refusal_info(refusal.kind)->http_status, 500);
	assert_int_equal(service->current->number, 7);
}

static void test_service_take_over_takes_as_many_generations_as_fit(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= SERVICE_GENERATIONS_MAX; n++)
		find_agent(n, AGENT_RUNNING, n == 1);
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->n_generations, SERVICE_GENERATIONS_MAX);
}

static void test_service_take_over_failures_say_why(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= SERVICE_GENERATIONS_MAX + 1; n++)
		find_agent(n, AGENT_RUNNING, false);
	fake_steer_failure.function = "steer_open";
	fake_steer_failure.address = ENDPOINT_1;
	fake_steer_failure.code = -EADDRINUSE;
	assert_int_equal(adopt(), -EADDRINUSE);
	assert_string_equal(err.text, "steer_open " ENDPOINT_1 ": Address already in use");
	assert_int_equal(fake_steers_open, 0);
	fake_steer_failure.function = NULL;
	assert_int_equal(adopt(), -E2BIG);
	assert_string_equal(err.text, "more than 8 generations are alive");
	assert_null(service->current);
	assert_null(service_run(service));
}

/* They have been taken over: what is to go goes, what serves is looked after. */
static void test_service_take_over_that_cannot_publish_goes_on(void **state)
{
	(void)state;
	find_agent(1, AGENT_RUNNING, true);
	find_agent(2, AGENT_RUNNING, false);
	fake_steer_failure.function = "steer_publish";
	fake_steer_failure.code = -EIO;
	assert_int_equal(adopt(), 1);
	assert_non_null(strstr(calls, "; attach "));
	assert_non_null(strstr(calls, "steady 1.0 on"));
	assert_int_equal(service_run(service)->order, RUN_ORDER_RETIRE);
}

/* An earlier daemon has told it, and nobody wants to hear it again from each that comes. */
static void test_service_take_over_does_not_tell_of_an_old_failover(void **state)
{
	(void)state;
	find_agent(7, AGENT_RUNNING, true);
	fake_steer_old_backups = 5;
	assert_int_equal(adopt(), 1);
	watch_now();
	assert_null(newest_event("failover"));
	assert_int_equal(service->failover.count, 0);
	service->wiring.endpoints[0]->slot_stats[70].backup = 7;
	watch_now();
	assert_int_equal(service->failover.carried, 2);
}

/* Without a table that outlives its daemon the oldest that serves must be right. */
static void test_service_take_over_on_a_lower_tier_needs_no_table(void **state)
{
	(void)state;
	context.tiers.list[STEER_EBPF].works = false;
	find_agent(3, AGENT_RUNNING, false);
	find_agent(4, AGENT_RUNNING, false);
	fake_steer_not_taken_over = true; /* there is nothing to take over */
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->current->number, 3);
	assert_retiring(&service->runs[0], 4);
	assert_null(strstr(calls, "reset"));
	assert_null(service->wiring.tap);
}

/* Connections must find the hold on when the new program takes over. */
static void test_service_take_over_holds_from_the_start(void **state)
{
	(void)state;
	service->config->hold_ms = 5000;
	find_agent(7, AGENT_RUNNING, true);
	assert_int_equal(adopt(), 1);
	assert_true(strstr(calls, "hold " ENDPOINT_1 " on") < strstr(calls, PUBLISH_ALL));
	assert_true(service->hold.on);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_adoption, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_take_over_steady_one_serves_on),
		TEST(test_service_take_over_steady_one_has_passed_its_checks),
		TEST(test_service_take_over_named_one_has_passed_its_checks),
		TEST(test_service_take_over_without_steady_and_tables_is_to_pass),
		TEST(test_service_take_over_steady_one_wins_and_the_others_retire),
		TEST(test_service_take_over_without_steady_takes_the_oldest_that_serves),
		TEST(test_service_take_over_steady_one_that_is_leaving_does_not_count),
		TEST(test_service_take_over_steady_one_that_is_dead_does_not_count),
		TEST(test_service_take_over_where_nothing_serves_is_yet_to_be_started),
		TEST(test_service_take_over_of_an_unproven_one_is_no_service),
		TEST(test_service_take_over_without_its_maps_attaches_first),
		TEST(test_service_take_over_without_its_maps_goes_on_to_hold),
		TEST(test_service_take_over_takes_over_the_command_of_an_upgrade),
		TEST(test_service_reconfigure_of_an_adopted_one_compares_releases),
		TEST(test_service_reconfigure_of_an_adopted_one_sees_another_release),
		TEST(test_service_reconfigure_of_an_adopted_one_compares_its_configuration),
		TEST(test_service_adopted_one_can_be_rolled_back_to),
		TEST(test_service_numbers_are_above_adopted_ones),
		TEST(test_service_numbers_that_run_out_end_the_search),
		TEST(test_service_take_over_takes_as_many_generations_as_fit),
		TEST(test_service_take_over_failures_say_why),
		TEST(test_service_take_over_that_cannot_publish_goes_on),
		TEST(test_service_take_over_does_not_tell_of_an_old_failover),
		TEST(test_service_take_over_on_a_lower_tier_needs_no_table),
		TEST(test_service_take_over_holds_from_the_start),
	};
#undef TEST

	return cmocka_run_group_tests_name("service takeover", tests, NULL, NULL);
}
