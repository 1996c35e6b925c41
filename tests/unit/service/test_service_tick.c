/* SPDX-License-Identifier: BSD-2-Clause */
/* What a service looks at twice a second. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/hold_fixture.h"

/* Who was sent to the anchor while the table was being published. */
static void test_service_hold_releases_who_came_at_the_wrong_moment(void **state)
{
	(void)state;
	service->config->hold_ms = 60000;
	carry_out("start", NULL);
	wait_there(0, 1);
	watch_now();
	assert_int_equal(service->wiring.endpoints[1]->held, 0);
	assert_released(1, 1);
	/* Not where waiting is what they are to do. */
	pause_service(true);
	wait_there(0, 1);
	watch_now();
	assert_int_equal(service->wiring.endpoints[1]->held, 1);
}

/* Where it is not open nothing is looked at. */
static void test_service_watch_ends_with_the_endpoints(void **state)
{
	(void)state;
	assert_null(service->tick.source);
	carry_out("start", NULL);
	assert_non_null(service->tick.source);
	carry_out("stop", NULL);
	assert_null(service->tick.source);
}

static void test_service_tick_tends_every_endpoint_again_and_again(void **state)
{
	(void)state;
	carry_out("start", NULL);
	for (unsigned k = 0; k < 3; k++) {
		unsigned before = service->wiring.endpoints[1]->tended;

		watch_now();
		assert_int_equal(service->wiring.endpoints[1]->tended, before + 1);
	}
}

static void test_service_tick_looks_whether_sockets_are_in_their_slots(void **state)
{
	(void)state;
	carry_out("start", NULL);
	for (unsigned k = 0; k < 3; k++) {
		unsigned before = fake(1, 0)->slots_looked;

		watch_now();
		assert_int_equal(fake(1, 0)->slots_looked, before + 1);
	}
}

/* The culprit is known only for a moment. */
static void test_service_tick_comes_at_once_when_a_program_has_changed(void **state)
{
	unsigned before;

	(void)state;
	carry_out("start", NULL);
	before = service->wiring.endpoints[0]->tended;
	service_on_program(service, 1, 0, 77, "intruder");
	assert_non_null(strstr(service->drift.culprit.text, "pid 77 \"intruder\""));
	turn();
	assert_int_equal(service->wiring.endpoints[0]->tended, before + 1);
	assert_string_equal(service->drift.culprit.text, "");
}

static void test_service_tick_of_new_endpoints_remembers_nothing(void **state)
{
	(void)state;
	service->drift.drifted[1] = true;
	service->hold.on = true;
	carry_out("start", NULL);
	assert_false(service->drift.drifted[1]);
	assert_false(service->hold.on);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_hold_releases_who_came_at_the_wrong_moment),
		TEST(test_service_watch_ends_with_the_endpoints),
		TEST(test_service_tick_tends_every_endpoint_again_and_again),
		TEST(test_service_tick_looks_whether_sockets_are_in_their_slots),
		TEST(test_service_tick_comes_at_once_when_a_program_has_changed),
		TEST(test_service_tick_of_new_endpoints_remembers_nothing),
	};
#undef TEST

	return cmocka_run_group_tests_name("service tick", tests, NULL, NULL);
}
