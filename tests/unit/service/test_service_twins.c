/* SPDX-License-Identifier: BSD-2-Clause */
/* Endpoints whose servers bind the twin of what is declared. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "orchestrator/service/service_twins.h"
#include "tests/unit/service/takeover_fixture.h"

#define TWIN_0 "[::ffff:127.0.0.1]:80"

static struct address twin;

static int set_up_twins(void **state)
{
	assert_int_equal(address_parse(TWIN_0, &twin, NULL), 0);
	return set_up_adoption(state);
}

/* A first generation of @n instances which have joined, and are not healthy yet. */
static void begin_start(uint32_t n)
{
	service->instances = n;
	for (uint32_t k = 0; k < n; k++)
		fake(1, k)->not_healthy = true;
	order("start", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
	forget_calls();
}

static int move(uint32_t generation, uint32_t index)
{
	const struct instance *i = fake_there(generation, index);

	assert_false(i->callbacks->is_served(i->userdata, i, 0));
	return i->callbacks->move_endpoint(i->userdata, i, 0, &twin, &err);
}

/* ---- who serves ----------------------------------------------------------------------------- */

static void test_service_twins_first_instances_are_in_nobodys_way(void **state)
{
	(void)state;
	begin_start(2);
	for (uint32_t k = 0; k < 2; k++) {
		assert_false(service_is_served(service, fake_there(1, k), 0));
		assert_false(service_is_served(service, fake_there(1, k), 1));
	}
}

static void test_service_twins_what_serves_is_in_the_way_of_what_comes(void **state)
{
	(void)state;
	start_instances(2);
	/* Also of one that is to be like it. */
	assert_true(service_is_served(service, fake_there(1, 0), 0));
	restart_until_verify(2);
	assert_true(service_is_served(service, fake_there(2, 0), 0));
	assert_true(service_is_served(service, fake_there(2, 0), 1));
}

static void test_service_twins_what_leaves_is_in_nobodys_way(void **state)
{
	(void)state;
	start_instances(1);
	restart_until_verify(2);
	fake_phase(1, 0, INSTANCE_LEAVING);
	assert_false(service_is_served(service, fake_there(2, 0), 0));
}

/* Alone it may change its mind, whoever named it. */
static void test_service_twins_nobody_is_in_its_own_way(void **state)
{
	(void)state;
	start_instances(1);
	assert_false(service_is_served(service, fake_there(1, 0), 0));
}

/* ---- moving --------------------------------------------------------------------------------- */

static void test_service_twins_endpoint_is_opened_anew_and_told(void **state)
{
	struct steer *other;

	(void)state;
	begin_start(2);
	other = service->wiring.endpoints[1];
	assert_int_equal(move(1, 1), 0);
	/* Its own pins: those of before are gone with it. */
	assert_calls("open " TWIN_0 " /pins/test/web/tcp---ffff-127_0_0_1-80; reset " TWIN_0
		     "; attach " TWIN_0 "; change 1.0 endpoint 0; change 1.1 endpoint 0; "
		     "unpin " ENDPOINT_0 "; close " ENDPOINT_0);
	assert_string_equal(steer_address(service->wiring.endpoints[0])->text, TWIN_0);
	assert_ptr_equal(service->wiring.endpoints[1], other);
	assert_int_equal(fake_steers_open, 2);
	assert_string_equal(remembered_twin, TWIN_0);
	assert_event("sockets", "message",
		     "instance 1 listens on " TWIN_0 ": " ENDPOINT_0
		     " was opened anew for sockets of that family");
	assert_event("sockets", "listen", ENDPOINT_0);
}

static void test_service_twins_do_not_move_to_and_fro(void **state)
{
	(void)state;
	begin_start(2);
	assert_int_equal(move(1, 0), 0);
	assert_true(service_is_served(service, fake_there(1, 1), 0));
	assert_false(service_is_served(service, fake_there(1, 1), 1));
}

static void test_service_twins_endpoint_that_cannot_be_opened_stays(void **state)
{
	static const char *const functions[] = {"bpffs_make", "steer_open", "steer_reset",
						"steer_attach"};

	(void)state;
	begin_start(1);
	for (size_t k = 0; k < 4; k++) {
		struct steer *before = service->wiring.endpoints[0];

		fake_steer_failure.function = functions[k];
		fake_steer_failure.code = -EADDRINUSE;
		assert_int_equal(move(1, 0), -EADDRINUSE);
		fake_steer_failure.function = NULL;
		assert_ptr_equal(service->wiring.endpoints[0], before);
		assert_int_equal(fake_steers_open, 2);
		assert_null(strstr(calls, "change"));
		forget_calls();
	}
	assert_string_equal(remembered_twin, "");
	assert_int_equal(count_events("sockets"), 0);
}

static void test_service_twins_what_waited_is_counted_as_lost(void **state)
{
	(void)state;
	service->config->hold_ms = 60000;
	begin_start(1);
	service->wiring.endpoints[0]->held = 3;
	assert_int_equal(move(1, 0), 0);
	assert_int_equal(service->hold.expired[0], 3);
	assert_true(service->wiring.endpoints[0]->hold);
	assert_event("sockets", "message",
		     "instance 0 listens on " TWIN_0 ": " ENDPOINT_0
		     " was opened anew for sockets of that family; 3 connections that waited were "
		     "reset");
}

static void test_service_twins_without_state_still_move(void **state)
{
	(void)state;
	begin_start(1);
	state_error = -ENOSPC;
	assert_int_equal(move(1, 0), 0);
	assert_string_equal(steer_address(service->wiring.endpoints[0])->text, TWIN_0);
}

/* Sockets join when nobody has passed ones of the other family any more. */
static void test_service_twins_those_that_wait_are_asked_again_at_the_end(void **state)
{
	(void)state;
	begin_start(2);
	fake_there(1, 0)->postponed = true;
	fake_there(1, 1)->awaited = 1;
	assert_true(service_is_moving(service));
	look();
	assert_null(strstr(calls, "ask sockets"));
	fake_there(1, 1)->awaited = 0;
	assert_false(service_is_moving(service));
	look();
	assert_non_null(strstr(calls, "ask sockets 1.0"));
	assert_null(strstr(calls, "ask sockets 1.1"));
	/* One that is on its way out is not waited for. */
	fake_there(1, 1)->awaited = 1;
	fake_fail(1, 1, "it is gone");
	assert_false(service_is_moving(service));
}

static void test_service_twins_refused_ipv4_is_told_to_its_instance(void **state)
{
	struct tap *tap;

	(void)state;
	start_instances(2);
	tap = service->wiring.tap;
	tap->callbacks->on_ipv4(tap->userdata, 1, 1, 1, 42, "java");
	assert_calls("refuse IPv4 1.1 endpoint 1 pid 42 java");
	tap->callbacks->on_ipv4(tap->userdata, 7, 1, 1, 42, "java");
	assert_calls("");
}

/* ---- remembering ---------------------------------------------------------------------------- */

static void test_service_twins_are_remembered_until_the_next_start(void **state)
{
	(void)state;
	begin_start(1);
	assert_int_equal(move(1, 0), 0);
	give("abort", NULL);
	drive_until(n_ended == 1);
	assert_nothing_left();
	forget_calls();
	order("start", NULL);
	assert_non_null(strstr(calls, "open " TWIN_0 " /pins"));
	assert_null(strstr(calls, "open " ENDPOINT_0));
}

static void add_hello(size_t k, const char *first, bool own)
{
	struct report_socket *sockets = agents[k].hello.sockets;

	strcpy(sockets[0].address, first);
	strcpy(sockets[1].address, ENDPOINT_1);
	sockets[0].own = own;
	sockets[1].endpoint = 1;
}

/* What the sockets of those that serve are counts, whatever was noted. */
static void test_service_twins_takeover_believes_what_serves(void **state)
{
	(void)state;
	find_agent(1, AGENT_RUNNING, true);
	add_hello(0, TWIN_0, false);
	find_agent(2, AGENT_RUNNING, false);
	add_hello(1, ENDPOINT_0, true);
	assert_int_equal(adopt(), 1);
	assert_string_equal(steer_address(service->wiring.endpoints[0])->text, TWIN_0);
	assert_string_equal(remembered_twin, TWIN_0);
	assert_false(service->endpoints.taking_over);
}

static void test_service_twins_takeover_corrects_what_was_noted(void **state)
{
	(void)state;
	strcpy(remembered_twin, TWIN_0);
	find_agent(1, AGENT_RUNNING, true);
	add_hello(0, ENDPOINT_0, false);
	assert_int_equal(adopt(), 1);
	assert_string_equal(steer_address(service->wiring.endpoints[0])->text, ENDPOINT_0);
	assert_string_equal(remembered_twin, "");
}

/* In the middle of a first start: who has bound it himself knows. */
static void test_service_twins_takeover_of_a_first_start_believes_who_has_bound(void **state)
{
	(void)state;
	find_agent(1, AGENT_RUNNING, false);
	add_hello(0, ENDPOINT_0, false);
	find_agent(1, AGENT_RUNNING, false);
	add_hello(1, TWIN_0, true);
	adopt();
	assert_string_equal(remembered_twin, TWIN_0);
}

static void test_service_twins_nothing_moves_in_a_takeover(void **state)
{
	(void)state;
	begin_start(1);
	service->endpoints.taking_over = true;
	assert_true(service_is_served(service, fake_there(1, 0), 0));
	service->endpoints.taking_over = false;
}

#define TEST(name_)                                                                                \
	cmocka_unit_test_setup_teardown(test_service_twins_##name_, set_up_twins, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(first_instances_are_in_nobodys_way),
		TEST(what_serves_is_in_the_way_of_what_comes),
		TEST(what_leaves_is_in_nobodys_way),
		TEST(nobody_is_in_its_own_way),
		TEST(endpoint_is_opened_anew_and_told),
		TEST(do_not_move_to_and_fro),
		TEST(endpoint_that_cannot_be_opened_stays),
		TEST(what_waited_is_counted_as_lost),
		TEST(without_state_still_move),
		TEST(those_that_wait_are_asked_again_at_the_end),
		TEST(refused_ipv4_is_told_to_its_instance),
		TEST(are_remembered_until_the_next_start),
		TEST(takeover_believes_what_serves),
		TEST(takeover_corrects_what_was_noted),
		TEST(takeover_of_a_first_start_believes_who_has_bound),
		TEST(nothing_moves_in_a_takeover),
	};

	return cmocka_run_group_tests_name("service_twins", tests, NULL, NULL);
}
