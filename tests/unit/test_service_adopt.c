/* SPDX-License-Identifier: BSD-2-Clause */
/* Taking over what an earlier daemon has left: who serves on, and what becomes of the rest. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service_fixture.h"

static struct adopt_agent agents[12];
static struct adopt_agent *found[12];
static size_t n_found;

static void find_agent(uint32_t generation, enum agent_state state, bool steady)
{
	agents[n_found] = (struct adopt_agent){
		.hello = {.generation = generation, .state = state, .steady = steady}};
	found[n_found] = &agents[n_found];
	n_found++;
}

static int set_up_adoption(void **state)
{
	n_found = 0;
	return set_up(state);
}

static void assert_retiring(const struct run *r, uint32_t number)
{
	assert_string_equal(r->order, "retire");
	assert_true(r->machine.retire);
	assert_null(r->new);
	assert_int_equal(r->old->number, number);
}

static void test_service_adopt_steady_one_serves_on(void **state)
{
	(void)state;
	find_agent(7, AGENT_RUNNING, true);
	find_agent(7, AGENT_RUNNING, true);
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	/* The program comes last: until then the earlier daemon's goes on with its own table. */
	assert_calls(OPEN_ALL "adopt 7 x2; " PUBLISH_ALL "; " ATTACH_ALL
			      "release unclaimed " ENDPOINT_0 "; release unclaimed " ENDPOINT_1
			      "; release leftovers 7; steady 7 on; check 7");
	assert_int_equal(service->current->number, 7);
	assert_true(service->settled);
	assert_null(service_run(service));
	assert_table(0, 70, STEER_NO_SLOT);
	assert_table(1, 71, STEER_NO_SLOT);
	assert_event("adopted", "message", "generation 7 serves on");
	assert_int_equal(n_ended, 0);
}

static void test_service_adopt_steady_one_wins_and_the_others_retire(void **state)
{
	(void)state;
	find_agent(3, AGENT_LEFT, false);
	find_agent(4, AGENT_RUNNING, false);
	find_agent(5, AGENT_RUNNING, true);
	find_agent(6, AGENT_RUNNING, false);
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	assert_int_equal(service->current->number, 5);
	assert_retiring(&service->runs[0], 3);
	assert_retiring(&service->runs[1], 4);
	assert_retiring(&service->runs[2], 6);
	assert_int_equal(service->runs[3].id, 0);
	forget_calls();
	drive_until(n_ended == 3);
	assert_null(strstr(calls, "publish"));
	assert_null(strstr(calls, "leave 5"));
	assert_non_null(strstr(calls, "leave 4"));
	assert_non_null(strstr(calls, "free 6"));
	assert_int_equal(service->n_generations, 1);
	assert_int_equal(service->current->number, 5);
	/* They are not what ran before it. */
	refused("rollback", NULL);
	assert_int_equal(problem.status, 409);
}

/* The earlier daemon died between the shift and the commit. */
static void test_service_adopt_without_steady_takes_the_oldest_that_serves(void **state)
{
	(void)state;
	find_agent(3, AGENT_LEAVING, false);
	find_agent(4, AGENT_FAILED, false);
	find_agent(5, AGENT_RUNNING, false);
	find_agent(6, AGENT_RUNNING, false);
	find_agent(7, AGENT_RUNNING, false);
	find_agent(8, AGENT_RUNNING, false);
	for (size_t n = 3; n < 8; n++)
		fake_generations[n].named = true;
	fake_generations[4].dead = fake_generations[5].dead = true;
	/* One that no table names has never passed its checks. */
	fake_generations[6].named = false;
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	assert_int_equal(service->current->number, 7);
	assert_non_null(strstr(calls, "release leftovers 7; steady 7 on"));
	assert_table(0, 70, STEER_NO_SLOT);
}

static void test_service_adopt_steady_one_that_is_leaving_does_not_count(void **state)
{
	(void)state;
	find_agent(3, AGENT_LEAVING, true);
	find_agent(4, AGENT_RUNNING, false);
	fake_generations[4].named = true;
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	assert_int_equal(service->current->number, 4);
	assert_retiring(&service->runs[0], 3);
}

static void test_service_adopt_steady_one_that_is_dead_does_not_count(void **state)
{
	(void)state;
	find_agent(3, AGENT_FAILED, true);
	find_agent(4, AGENT_RUNNING, false);
	fake_generations[3].dead = true;
	fake_generations[4].named = true;
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	assert_int_equal(service->current->number, 4);
	assert_retiring(&service->runs[0], 3);
}

/* One instance on its way out and the generation is. */
static void test_service_adopt_half_left_is_leaving(void **state)
{
	(void)state;
	find_agent(3, AGENT_RUNNING, true);
	find_agent(3, AGENT_LEFT, true);
	find_agent(4, AGENT_RUNNING, false);
	fake_generations[4].named = true;
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	assert_int_equal(service->current->number, 4);
}

static void test_service_adopt_where_nothing_serves_is_yet_to_be_started(void **state)
{
	(void)state;
	find_agent(3, AGENT_STOPPING, false);
	find_agent(4, AGENT_LEFT, true);
	fake_generations[3].live = 1;
	fake_generations[3].queued = 0;
	assert_int_equal(service_adopt(service, found, n_found, &err), 0);
	assert_null(service->current);
	assert_null(service->primary);
	assert_table(0, STEER_NO_SLOT, STEER_NO_SLOT);
	assert_retiring(&service->runs[0], 3);
	assert_retiring(&service->runs[1], 4);
	assert_null(newest_event("adopted"));
	forget_calls();
	/* On the endpoints that are open already; with a number above all that lives. */
	order("start", NULL);
	assert_calls("new 5");
	assert_null(run->old);
	drive_until(service->current && service->current->number == 5);
	fake_generations[3].live = 0;
	drive_until(service->n_generations == 1);
	assert_true(service->open);
}

/* It serves; what has never passed its checks does not. */
static void test_service_adopt_of_an_unproven_one_is_no_service(void **state)
{
	(void)state;
	find_agent(3, AGENT_RUNNING, false);
	assert_int_equal(service_adopt(service, found, n_found, &err), 0);
	assert_null(service->current);
	assert_table(0, STEER_NO_SLOT, STEER_NO_SLOT);
	assert_retiring(&service->runs[0], 3);
}

/* Its sockets are still in the earlier daemon's maps: the program must come first then. */
static void test_service_adopt_without_its_maps_attaches_first(void **state)
{
	(void)state;
	find_agent(7, AGENT_RUNNING, true);
	fake_steer_not_taken_over = true;
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	assert_memory_equal(calls,
			    OPEN_ALL "reset " ENDPOINT_0 "; attach " ENDPOINT_0
				     "; reset " ENDPOINT_1 "; attach " ENDPOINT_1 "; adopt 7 x1; ",
			    strlen(OPEN_ALL "reset " ENDPOINT_0 "; attach " ENDPOINT_0
					    "; reset " ENDPOINT_1 "; attach " ENDPOINT_1
					    "; adopt 7 x1; "));
	assert_table(0, 70, STEER_NO_SLOT);
}

static void test_service_adopt_takes_over_the_command_of_an_upgrade(void **state)
{
	char *command[] = {(char *)"/bin/v2", NULL};

	(void)state;
	find_agent(7, AGENT_RUNNING, true);
	assert_int_equal(vector_copy(command, &remembered), 0);
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	order("restart", NULL);
	assert_string_equal(run->new->release->executable, "/bin/v2");
}

/* Of what runs only the release is known. */
static void test_service_reconfigure_of_an_adopted_one_compares_releases(void **state)
{
	bool changed_release;

	(void)state;
	find_agent(7, AGENT_RUNNING, true);
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	assert_int_equal(service_reconfigure(service, make_config("/bin/adopted", ENDPOINT_0),
					     &changed_release, &err),
			 0);
	assert_false(changed_release);
	assert_int_equal(service_reconfigure(service, make_config("/bin/other", ENDPOINT_0),
					     &changed_release, &err),
			 0);
	assert_true(changed_release);
	/* One that cannot be resolved is another one, unless the file says the same as before. */
	assert_int_equal(service_reconfigure(service, make_config("/none", ENDPOINT_0),
					     &changed_release, &err),
			 0);
	assert_true(changed_release);
	assert_int_equal(service_reconfigure(service, make_config("/none", ENDPOINT_0),
					     &changed_release, &err),
			 0);
	assert_false(changed_release);
}

static void test_service_adopted_one_can_be_rolled_back_to(void **state)
{
	(void)state;
	find_agent(7, AGENT_RUNNING, true);
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
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
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	order("restart", NULL);
	assert_int_equal(run->new->number, 10);
	assert_int_equal(last_number, 10);
	assert_int_equal(run->old->number, 7);
}

static void test_service_numbers_that_run_out_end_the_search(void **state)
{
	(void)state;
	find_agent(7, AGENT_RUNNING, true);
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	state_error = -EOVERFLOW;
	refused("restart", NULL);
	assert_int_equal(problem.status, 500);
	assert_int_equal(service->current->number, 7);
}

static void test_service_adopt_takes_as_many_generations_as_fit(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= SERVICE_GENERATIONS_MAX; n++)
		find_agent(n, AGENT_RUNNING, n == 1);
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	assert_int_equal(service->n_generations, SERVICE_GENERATIONS_MAX);
}

static void test_service_adopt_failures_say_why(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= SERVICE_GENERATIONS_MAX + 1; n++)
		find_agent(n, AGENT_RUNNING, false);
	fake_steer_failure.function = "steer_open";
	fake_steer_failure.address = ENDPOINT_1;
	fake_steer_failure.code = -EADDRINUSE;
	assert_int_equal(service_adopt(service, found, n_found, &err), -EADDRINUSE);
	assert_string_equal(err.text, "steer_open " ENDPOINT_1 ": Address already in use");
	assert_int_equal(fake_steers_open, 0);
	fake_steer_failure.function = NULL;
	assert_int_equal(service_adopt(service, found, n_found, &err), -E2BIG);
	assert_string_equal(err.text, "more than 8 generations are alive");
	assert_null(service->current);
	assert_null(service_run(service));
}

/* They have been taken over: what is to go goes, what serves is looked after. */
static void test_service_adopt_that_cannot_publish_goes_on(void **state)
{
	(void)state;
	find_agent(1, AGENT_RUNNING, true);
	find_agent(2, AGENT_RUNNING, false);
	fake_steer_failure.function = "steer_publish";
	fake_steer_failure.code = -EIO;
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	assert_non_null(strstr(calls, "; attach "));
	assert_non_null(strstr(calls, "steady 1 on"));
	assert_string_equal(service_run(service)->order, "retire");
}

/* An earlier daemon has told it, and nobody wants to hear it again from each that comes. */
static void test_service_adopt_does_not_tell_of_an_old_failover(void **state)
{
	(void)state;
	find_agent(7, AGENT_RUNNING, true);
	agents[0].hello.n_sockets = 1;
	fake_steer_old_backups = 5;
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	watch_now();
	assert_null(newest_event("failover"));
	assert_int_equal(service->failover.count, 0);
	service->wiring.endpoints[0]->slot_stats[0].backup = 7;
	watch_now();
	assert_int_equal(service->failover.carried, 2);
}

/* Without a table that outlives its daemon the oldest that serves must be right. */
static void test_service_adopt_on_a_lower_tier_needs_no_table(void **state)
{
	(void)state;
	context.tiers.list[STEER_EBPF].works = false;
	find_agent(3, AGENT_RUNNING, false);
	find_agent(4, AGENT_RUNNING, false);
	fake_steer_not_taken_over = true; /* there is nothing to take over */
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	assert_int_equal(service->current->number, 3);
	assert_retiring(&service->runs[0], 4);
	assert_null(strstr(calls, "reset"));
	assert_null(service->wiring.hooks);
}

/* Connections must find the hold on when the new program takes over. */
static void test_service_adopt_holds_from_the_start(void **state)
{
	(void)state;
	service->config->hold_ms = 5000;
	find_agent(7, AGENT_RUNNING, true);
	assert_int_equal(service_adopt(service, found, n_found, &err), 1);
	assert_true(strstr(calls, "hold " ENDPOINT_1 " on") < strstr(calls, PUBLISH_ALL));
	assert_true(service->holding);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_adoption, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_adopt_steady_one_serves_on),
		TEST(test_service_adopt_steady_one_wins_and_the_others_retire),
		TEST(test_service_adopt_without_steady_takes_the_oldest_that_serves),
		TEST(test_service_adopt_steady_one_that_is_leaving_does_not_count),
		TEST(test_service_adopt_steady_one_that_is_dead_does_not_count),
		TEST(test_service_adopt_half_left_is_leaving),
		TEST(test_service_adopt_where_nothing_serves_is_yet_to_be_started),
		TEST(test_service_adopt_of_an_unproven_one_is_no_service),
		TEST(test_service_adopt_without_its_maps_attaches_first),
		TEST(test_service_adopt_takes_over_the_command_of_an_upgrade),
		TEST(test_service_reconfigure_of_an_adopted_one_compares_releases),
		TEST(test_service_adopted_one_can_be_rolled_back_to),
		TEST(test_service_numbers_are_above_adopted_ones),
		TEST(test_service_numbers_that_run_out_end_the_search),
		TEST(test_service_adopt_takes_as_many_generations_as_fit),
		TEST(test_service_adopt_failures_say_why),
		TEST(test_service_adopt_that_cannot_publish_goes_on),
		TEST(test_service_adopt_does_not_tell_of_an_old_failover),
		TEST(test_service_adopt_on_a_lower_tier_needs_no_table),
		TEST(test_service_adopt_holds_from_the_start),
	};
#undef TEST

	return cmocka_run_group_tests_name("service adopt", tests, NULL, NULL);
}
