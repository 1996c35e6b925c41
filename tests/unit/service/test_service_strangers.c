/* SPDX-License-Identifier: BSD-2-Clause */
/* Who else listens on a service's addresses. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <unistd.h>

#include "tests/unit/service/service_fixture.h"

#define STRANGER_PID 4000000 /* nobody's */

static void start(void)
{
	context.occupants = FAKE_OCCUPANTS;
	carry_out("start", NULL);
	watch_now();
}

static void watch_times(unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		watch_now();
}

static void test_service_stranger_is_told_once_and_when_it_has_gone(void **state)
{
	(void)state;
	start();
	fake_occupants_add(ENDPOINT_1, 999, STRANGER_PID);
	watch_times(1);
	assert_int_equal(count_events("stranger"), 0); /* it may be on its way to us */
	watch_times(5);
	assert_int_equal(count_events("stranger"), 1);
	assert_event("stranger", "message",
		     "pid 4000000 \"name\" listens on " ENDPOINT_1
		     ", too, and baton has not started it: it gets no connections; end it");
	assert_event("stranger", "listen", ENDPOINT_1);
	/* Once it is known nobody is searched. */
	assert_int_equal(fake_occupants.searches, 1);
	fake_occupants.n = 0;
	watch_times(2);
	assert_int_equal(count_events("stranger"), 2);
	assert_event("stranger", "message",
		     "pid 4000000 \"name\" listens on " ENDPOINT_1 " no more");
}

static void test_service_stranger_takes_its_share_where_nothing_steers(void **state)
{
	(void)state;
	service->config->steering = STEERING_HASH;
	start();
	fake_occupants_add(ENDPOINT_0, 999, STRANGER_PID);
	watch_times(3);
	assert_event("stranger", "message",
		     "pid 4000000 \"name\" listens on " ENDPOINT_0
		     ", too, and baton has not started it: it gets its share of the connections; "
		     "end it");
}

/* Those of instances, of this process, and those that only come by. */
static void test_service_own_sockets_are_no_strangers(void **state)
{
	struct instance *i;

	(void)state;
	start();
	i = service->current->instances.list[0];
	fake_occupants_add(ENDPOINT_0, i->sockets.list[0].cookie, STRANGER_PID);
	fake_occupants_add(ENDPOINT_0, 997, getpid());
	fake_occupants_add(ENDPOINT_0, 998, i->pid);
	watch_times(5);
	assert_int_equal(count_events("stranger"), 0);
	fake_occupants_add(ENDPOINT_1, 999, STRANGER_PID);
	watch_times(1);
	fake_occupants.n--;
	watch_times(5);
	assert_int_equal(count_events("stranger"), 0);
}

/* The daemon's own sockets in the group are known: nobody is searched for them. */
static void test_service_sockets_of_the_daemon_cost_no_search(void **state)
{
	(void)state;
	start();
	fake_occupants_add(ENDPOINT_0, FAKE_OWN_COOKIE, getpid());
	watch_times(20);
	assert_int_equal(count_events("stranger"), 0);
	assert_int_equal(fake_occupants.searches, 0);
}

static void test_service_stranger_whom_nobody_finds_is_told_later(void **state)
{
	(void)state;
	start();
	fake_occupants_add(ENDPOINT_0, 999, 0);
	watch_times(8);
	assert_int_equal(count_events("stranger"), 0);
	watch_times(5);
	assert_int_equal(count_events("stranger"), 1);
}

static void test_service_strangers_that_cannot_be_looked_for_stay_known(void **state)
{
	(void)state;
	start();
	fake_occupants_add(ENDPOINT_0, 999, STRANGER_PID);
	watch_times(3);
	fake_occupants.error = -ETIMEDOUT;
	watch_times(3);
	fake_occupants.error = 0;
	watch_times(3);
	assert_int_equal(count_events("stranger"), 1);
}

static void test_service_strangers_are_no_more_than_there_is_room_for(void **state)
{
	(void)state;
	start();
	for (uint64_t k = 0; k < STRANGERS_MAX + 5; k++)
		fake_occupants_add(ENDPOINT_0, 900 + k, STRANGER_PID);
	watch_times(5);
	assert_int_equal(count_events("stranger"), STRANGERS_MAX);
}

/* By the cgroup that made the socket, or by the socket itself. */
static void test_service_child_that_was_left_behind_is_known_by_its_generation(void **state)
{
	uint64_t cookie;

	(void)state;
	start();
	cookie = service->current->instances.list[0]->sockets.list[0].cookie;
	carry_out("restart", NULL);
	fake_occupants_add(ENDPOINT_0, cookie, STRANGER_PID);
	watch_times(3);
	assert_event("stranger", "message",
		     "pid 4000000 \"name\" keeps a listening socket of generation 1 on " ENDPOINT_0
		     ", but has left its cgroup: it gets no connections; end it");
}

static void test_service_child_that_a_stop_leaves_behind_is_told(void **state)
{
	(void)state;
	start();
	fake_occupants_add(ENDPOINT_0, 999, STRANGER_PID);
	carry_out("stop", NULL);
	assert_int_equal(count_events("stranger"), 1);
	assert_event("stranger", "message",
		     "pid 4000000 \"name\" listens on " ENDPOINT_0
		     ", too, and baton has not started it: connections go there; end it");
}

/* One look for all: the agents hear of it, which need not look by themselves. */
static void test_service_agents_hear_once_that_others_listen(void **state)
{
	(void)state;
	start();
	watch_times(1);
	forget_calls();
	watch_times(3);
	assert_calls_of("hint late", "");
	fake_occupants_add(ENDPOINT_1, 999, STRANGER_PID);
	watch_times(1);
	assert_calls_of("hint late", "hint late 1.0");
	watch_times(3);
	assert_calls_of("hint late", "");
	/* If nobody can tell, nobody hears. */
	fake_occupants.error = -ENOMEM;
	fake_occupants.n = 0;
	watch_times(1);
	assert_calls_of("hint late", "");
	fake_occupants.error = 0;
	watch_times(1);
	assert_calls_of("hint late", "hint late 1.0");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_stranger_is_told_once_and_when_it_has_gone),
		TEST(test_service_stranger_takes_its_share_where_nothing_steers),
		TEST(test_service_own_sockets_are_no_strangers),
		TEST(test_service_sockets_of_the_daemon_cost_no_search),
		TEST(test_service_stranger_whom_nobody_finds_is_told_later),
		TEST(test_service_strangers_that_cannot_be_looked_for_stay_known),
		TEST(test_service_strangers_are_no_more_than_there_is_room_for),
		TEST(test_service_child_that_was_left_behind_is_known_by_its_generation),
		TEST(test_service_child_that_a_stop_leaves_behind_is_told),
		TEST(test_service_agents_hear_once_that_others_listen),
	};
#undef TEST

	return cmocka_run_group_tests_name("service strangers", tests, NULL, NULL);
}
