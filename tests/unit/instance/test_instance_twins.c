/* SPDX-License-Identifier: BSD-2-Clause */
/* Servers that bind the twin of a declared address, and what becomes of their instances. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/instance/instance_fixture.h"

#define TWIN_0 "[::ffff:127.0.0.1]:80"
#define TWIN_1 "[::ffff:127.0.0.1]:81"

#define ADVICE_STOP "or `baton stop web` and `baton start web`"

static struct report_socket *add_twin(uint32_t endpoint, uint64_t cookie)
{
	struct report_socket *socket = add_socket(endpoint, cookie);

	strcpy(socket->address, endpoint == 0 ? TWIN_0 : TWIN_1);
	socket->own = true;
	return socket;
}

static void hear_set(uint32_t serial)
{
	report.serial = serial;
	hear(REPORT_SOCKETS, report.n_sockets);
}

/* The agent's answer to ORDER_FAMILY: endpoint 0 is mapped, endpoint 1 as it was. */
static void hear_answer(uint32_t serial)
{
	add_twin(0, 103);
	add_socket(1, 102);
	hear_set(serial);
}

/* ---- following ------------------------------------------------------------------------------ */

static void test_instance_twin_of_the_first_server_has_the_endpoint_opened_anew(void **state)
{
	(void)state;
	run_instance();
	instance_check(i);
	forget_calls();
	hear_answer(2);
	/* What it had there is in no slot any more, and its checks begin anew. */
	assert_calls("move 0 " TWIN_0 "; checker_stop 0; checker_start 0; order family 0 twin");
	assert_true(i->postponed);
	assert_int_equal(i->sockets.n, 1);
	assert_int_equal(i->sockets.list[0].cookie, 102);
	assert_int_equal(i->phase, INSTANCE_JOINED);
	assert_false(instance_has_failed(i));
	/* Nothing joins before the agent has let go of what it had passed. */
	hear_answer(3);
	assert_calls("join " TWIN_0 " fd 3 slot 5; checker_retarget 0 x1; checker_retarget 1 x1");
	assert_int_equal(i->sockets.n, 2);
	assert_true(instance_is_serving(i));
	assert_notes("");
	/* From then on it is what it should be. */
	hear_answer(4);
	assert_calls("rejoin " TWIN_0 " 5; rejoin " ADDRESS_1 " 6");
}

static void test_instance_twin_before_it_has_joined_is_followed_too(void **state)
{
	(void)state;
	config.mode = SOCKETS_NATIVE;
	assert_started();
	hear(REPORT_HELLO, 1);
	forget_calls();
	add_twin(0, 103);
	add_twin(1, 104);
	hear_set(2);
	assert_calls("move 0 " TWIN_0 "; order family 0 twin; move 1 " TWIN_1
		     "; order family 1 twin");
	for (uint32_t serial = 3; serial < 5; serial++) {
		assert_false(instance_has_joined(i));
		add_twin(0, 103);
		add_twin(1, 104);
		hear_set(serial);
	}
	assert_calls("join " TWIN_0 " fd 3 slot 4; join " TWIN_1 " fd 4 slot 6");
	assert_true(instance_has_joined(i));
}

/* Another instance's agent may still hold passed sockets of the other family. */
static void test_instance_twin_waits_for_the_others_and_is_asked_again(void **state)
{
	(void)state;
	run_instance();
	moving = true;
	hear_answer(2);
	forget_calls();
	hear_answer(3);
	assert_calls("");
	assert_int_equal(i->awaited, 0);
	assert_true(i->postponed);
	moving = false;
	instance_ask_sockets(i);
	assert_calls("order family 0 twin");
	instance_ask_sockets(i);
	assert_calls("");
	hear_answer(4);
	assert_calls("join " TWIN_0 " fd 3 slot 5");
}

/* It was passed before another instance found out: nobody will accept from it there. */
static void test_instance_twin_that_was_passed_is_nothing(void **state)
{
	(void)state;
	endpoint_0.address = config.listen[0];
	assert_true(address_twin(&config.listen[0], &endpoint_0.address));
	assert_started();
	hear_hello();
	assert_calls("join " ADDRESS_1 " fd 2 slot 6");
	assert_false(instance_has_joined(i));
	assert_false(instance_has_failed(i));
	assert_int_equal(i->sockets.n, 1);
}

/* Its own socket of the right family is what counts. */
static void test_instance_twin_beside_the_right_one_is_nothing(void **state)
{
	(void)state;
	run_instance();
	served = true;
	add_socket(0, 101);
	add_twin(0, 103);
	add_socket(1, 102);
	hear_set(2);
	assert_calls("rejoin " ADDRESS_0 " 4; rejoin " ADDRESS_1 " 6");
	assert_false(instance_has_failed(i));
}

static void test_instance_twin_of_an_endpoint_that_cannot_be_moved_is_a_failure(void **state)
{
	(void)state;
	move_failure = -EADDRINUSE;
	run_instance();
	hear_answer(2);
	assert_true(instance_has_failed(i));
	assert_string_equal(i->failure, "move: Address already in use");
}

static void test_instance_twin_is_told_to_the_agent_of_later_generations(void **state)
{
	(void)state;
	assert_true(address_twin(&config.listen[0], &endpoint_0.address));
	assert_started();
	assert_true(fake_agent.spec.twins[0]);
	assert_false(fake_agent.spec.twins[1]);
	assert_string_equal(fake_agent.spec.listen[0].text, ADDRESS_0);
}

/* ---- refusing ------------------------------------------------------------------------------- */

static void test_instance_twin_where_others_serve_is_refused(void **state)
{
	(void)state;
	run_instance();
	served = true;
	hear_answer(2);
	/* An IPv6 socket beside IPv4 ones gets nothing: nobody has to be kept from it. */
	assert_calls("");
	assert_true(instance_has_failed(i));
	assert_string_equal(i->failure,
			    "listens on " TWIN_0 ", an IPv6 socket, but other servers of it listen "
			    "on " ADDRESS_0 ", an IPv4 socket: the kernel moves no connection "
			    "between the two; have it use IPv4 sockets (Java: "
			    "-Djava.net.preferIPv4Stack=true), " ADVICE_STOP);
}

/* An IPv4 socket takes everything: clients are to try again, when it is gone. */
static void test_instance_ipv4_beside_mapped_is_refused_and_deaf(void **state)
{
	(void)state;
	assert_true(address_twin(&config.listen[0], &endpoint_0.address));
	assert_true(address_twin(&config.listen[1], &endpoint_1.address));
	served = true;
	assert_started();
	hear(REPORT_HELLO, 1);
	forget_calls();
	add_socket(0, 103)->own = true;
	add_twin(1, 104);
	hear_set(2);
	assert_calls("deafen fd 3");
	assert_string_equal(i->failure,
			    "listens on " ADDRESS_0 ", an IPv4 socket, but other servers of it "
			    "listen on " TWIN_0 ", an IPv6 socket: the kernel moves no connection "
			    "between the two; have it bind " TWIN_0 ", " ADVICE_STOP);
	/* What it then ends with is no cause. */
	i->asked = true;
	report.exit_code = 1;
	hear(REPORT_EXITED, 0);
	assert_non_null(strstr(i->failure, "an IPv4 socket"));
}

static void test_instance_refused_by_the_tap_has_failed_unless_it_serves(void **state)
{
	(void)state;
	assert_true(address_twin(&config.listen[0], &endpoint_0.address));
	assert_started();
	instance_refuse_ipv4(i, 0, 123, "node");
	assert_int_equal(n_changes, 1);
	assert_true(instance_has_failed(i));
	assert_string_equal(i->failure,
			    "was kept from binding an IPv4 socket (pid 123 \"node\"), since other "
			    "servers of it listen on " TWIN_0 ", an IPv6 socket: the kernel moves "
			    "no connection between the two; have it bind " TWIN_0 ", " ADVICE_STOP);
	instance_done(i);
	reset_instance();
	forget_calls();
	endpoint_0.address = config.listen[0];
	run_instance();
	i->role = INSTANCE_IN;
	assert_true(address_twin(&config.listen[0], &endpoint_0.address));
	instance_refuse_ipv4(i, 0, 124, "node");
	assert_false(instance_has_failed(i));
	assert_non_null(strstr(notes, "sockets: instance 0: was kept from binding an IPv4 socket"));
}

static void test_instance_start_guards_mapped_endpoints_that_are_served(void **state)
{
	(void)state;
	wiring.tap = &hooks;
	assert_true(address_twin(&config.listen[1], &endpoint_1.address));
	for (int k = 0; k < 2; k++) {
		served = k;
		assert_int_equal(instance_start(i, &release, &err), 0);
		assert_false(hooks.guard[0]);
		assert_int_equal(hooks.guard[1], k);
		instance_done(i);
		reset_instance();
	}
}

#define TEST(name_) cmocka_unit_test_setup_teardown(test_instance_##name_, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(twin_of_the_first_server_has_the_endpoint_opened_anew),
		TEST(twin_before_it_has_joined_is_followed_too),
		TEST(twin_waits_for_the_others_and_is_asked_again),
		TEST(twin_that_was_passed_is_nothing),
		TEST(twin_beside_the_right_one_is_nothing),
		TEST(twin_of_an_endpoint_that_cannot_be_moved_is_a_failure),
		TEST(twin_is_told_to_the_agent_of_later_generations),
		TEST(twin_where_others_serve_is_refused),
		TEST(ipv4_beside_mapped_is_refused_and_deaf),
		TEST(refused_by_the_tap_has_failed_unless_it_serves),
		TEST(start_guards_mapped_endpoints_that_are_served),
	};

	return cmocka_run_group_tests_name("instance_twins", tests, NULL, NULL);
}
