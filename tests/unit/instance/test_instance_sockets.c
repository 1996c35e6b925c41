/* SPDX-License-Identifier: BSD-2-Clause */
/* Sets of listening sockets that change while an instance runs, and agents that lie about them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/instance/instance_fixture.h"

/* Hand over the set in @report, with a descriptor for each socket. */
static void hear_set(uint32_t serial)
{
	report.serial = serial;
	hear(REPORT_SOCKETS, report.n_sockets);
}

/* The server's own, on both endpoints: cookies 103 and 104 in slots 5 and 7. */
static void hear_own(uint32_t serial)
{
	add_socket(0, 103)->own = true;
	add_socket(1, 104)->own = true;
	hear_set(serial);
}

static void name_slot(struct steer *steer, uint16_t slot)
{
	steer->table.buckets[1000].backup = slot;
}

static void unname_all(void)
{
	memset(&endpoint_0.table, 0xff, sizeof(endpoint_0.table));
	memset(&endpoint_1.table, 0xff, sizeof(endpoint_1.table));
}

/* Still the two of its hello. */
static void assert_set_unchanged(void)
{
	assert_int_equal(i->sockets.n, 2);
	assert_int_equal(i->sockets.list[0].cookie, 101);
	assert_int_equal(i->sockets.list[0].slot, 4);
	assert_int_equal(i->sockets.list[1].cookie, 102);
	assert_int_equal(i->sockets.list[1].slot, 6);
	assert_int_equal(i->sockets_version, 1);
	assert_int_equal(i->unused.n, 0);
	assert_true(instance_is_serving(i));
}

/* ---- sets that change ----------------------------------------------------------------------- */

static void test_instance_sockets_of_a_larger_set_are_joined_and_checked(void **state)
{
	(void)state;
	run_instance();
	instance_check(i);
	forget_calls();
	add_socket(0, 101);
	add_socket(0, 105);
	add_socket(0, 106);
	add_socket(1, 102);
	hear_set(2);
	assert_calls("join " ADDRESS_0 " fd 5 slot 5; join " ADDRESS_0 " fd 6 slot 6; "
		     "checker_retarget 0 x3; checker_retarget 1 x1");
	assert_int_equal(i->sockets.n, 4);
	assert_int_equal(i->sockets_version, 2);
	assert_int_equal(targets[0].sockets[2].slot, 6);
	assert_int_equal(targets[0].sockets[2].cookie, 106);
	assert_int_equal(targets[1].sockets[0].cookie, 102);
	assert_int_equal(n_changes, 1);
	assert_notes("");
}

/* One may have stopped listening and begun again: it is put back where it was. */
static void test_instance_sockets_of_the_same_set_are_put_back(void **state)
{
	(void)state;
	run_instance();
	instance_check(i);
	forget_calls();
	add_socket(1, 102); /* in any order */
	add_socket(0, 101);
	hear_set(2);
	assert_calls("rejoin " ADDRESS_1 " 6; rejoin " ADDRESS_0 " 4");
	assert_int_equal(i->sockets_version, 1);
	assert_int_equal(i->sockets.n, 2);
	/* Of which set an order speaks is another matter. */
	assert_int_equal(i->sockets_serial, 2);
}

/* The server has bound them itself: those that were passed to it are nobody's. */
static void test_instance_sockets_that_are_gone_keep_their_slots_while_named(void **state)
{
	(void)state;
	run_instance();
	name_slot(&endpoint_0, 4);
	hear_own(7);
	assert_calls("join " ADDRESS_0 " fd 3 slot 5; join " ADDRESS_1 " fd 4 slot 7");
	assert_int_equal(i->sockets.n, 2);
	assert_int_equal(i->unused.n, 2);
	assert_true(instance_is_serving(i));
	instance_release_unused(i);
	/* The agent would close them all. */
	assert_calls("release " ADDRESS_1 " slot 6");
	assert_int_equal(i->unused.n, 1);
	instance_release_unused(i);
	assert_calls("");
	unname_all();
	instance_release_unused(i);
	assert_calls("release " ADDRESS_0 " slot 4; order release serial 7");
	assert_int_equal(i->unused.n, 0);
	instance_release_unused(i);
	assert_calls("");
	instance_done(i);
	assert_calls("release " ADDRESS_0 " slot 5; release " ADDRESS_1 " slot 7; agentlink_free; "
		     "cgroup_remove " CGROUP);
	reset_instance();
}

static void test_instance_sockets_that_come_back_are_not_joined_again(void **state)
{
	(void)state;
	run_instance();
	hear_own(2);
	forget_calls();
	add_socket(0, 101);
	add_socket(1, 104);
	hear_set(3);
	assert_calls("");
	assert_int_equal(i->sockets.list[0].slot, 4);
	assert_int_equal(i->sockets_version, 3);
	assert_int_equal(i->unused.n, 2);
	instance_release_unused(i);
	assert_calls("release " ADDRESS_1 " slot 6; release " ADDRESS_0
		     " slot 5; order release serial 3");
}

static void test_instance_sockets_without_agent_are_released_without_an_order(void **state)
{
	(void)state;
	run_instance();
	instance_steady(i, true);
	fake_cgroup.populated = 1;
	hear_own(2);
	lose_agent();
	forget_calls();
	instance_release_unused(i);
	assert_calls("release " ADDRESS_0 " slot 4; release " ADDRESS_1 " slot 6");
}

/* One endpoint after the other, as a server binds them. */
static void test_instance_sockets_have_joined_once_each_endpoint_has_one(void **state)
{
	(void)state;
	assert_started();
	hear(REPORT_HELLO, 1); /* none is passed in mode "native" */
	assert_false(instance_has_joined(i));
	assert_false(instance_has_failed(i));
	assert_null(instance_mode(i));
	add_socket(1, 104);
	hear_set(2);
	assert_false(instance_has_joined(i));
	assert_false(instance_is_serving(i));
	add_socket(1, 104);
	add_socket(0, 103);
	hear_set(3);
	assert_true(instance_has_joined(i));
	assert_true(instance_is_serving(i));
	/* It exits, and its sockets with it; the next one makes others. */
	report.restarting = true;
	hear(REPORT_EXITED, 0);
	hear_set(4);
	assert_int_equal(i->sockets.n, 0);
	assert_int_equal(i->sockets_version, 3);
	assert_true(instance_has_joined(i));
	assert_false(instance_is_serving(i));
	assert_null(instance_mode(i));
	add_socket(0, 105);
	hear_set(5);
	assert_true(instance_is_serving(i));
}

/* A check that was begun without a socket has one later. */
static void test_instance_sockets_that_come_late_are_checked(void **state)
{
	(void)state;
	assert_started();
	add_socket(0, 101);
	hear(REPORT_HELLO, 1);
	forget_calls();
	instance_check(i);
	assert_calls("checker_start 0; checker_start 1");
	assert_int_equal(targets[0].n_sockets, 1);
	assert_int_equal(targets[1].n_sockets, 0);
	add_socket(0, 101);
	add_socket(1, 102);
	hear_set(2);
	assert_calls("join " ADDRESS_1 " fd 2 slot 6; checker_retarget 0 x1; "
		     "checker_retarget 1 x1");
	assert_int_equal(targets[1].sockets[0].slot, 6);
}

/* More than can be remembered: a slot that is named, but empty, has a backup. */
static void test_instance_sockets_that_change_for_ever_free_the_last_ones(void **state)
{
	(void)state;
	run_instance();
	unname_all();
	for (uint64_t k = 0; k < PROTOCOL_SET_MAX; k++) {
		add_socket(0, 200 + k);
		add_socket(1, 102);
		forget_calls();
		hear_set(2);
		assert_null(strstr(calls, "release"));
	}
	assert_int_equal(i->unused.n, PROTOCOL_SET_MAX);
	forget_calls();
	add_socket(0, 2000);
	add_socket(1, 102);
	hear_set(3);
	assert_calls("join " ADDRESS_0 " fd 1900 slot 1029; release " ADDRESS_0 " slot 1028");
	assert_int_equal(i->unused.n, PROTOCOL_SET_MAX);
	assert_int_equal(i->sockets.n, 2);
	forget_calls();
	instance_release_unused(i);
	assert_int_equal(i->unused.n, 0);
	assert_non_null(strstr(calls, "order release serial 3"));
}

static void test_instance_sockets_fill_a_report(void **state)
{
	(void)state;
	run_instance();
	for (uint64_t k = 0; k < PROTOCOL_SOCKETS_MAX; k++)
		add_socket(k % 2 ? 1 : 0, 110 + k);
	instance_check(i);
	hear_set(2);
	assert_int_equal(i->sockets.n, PROTOCOL_SOCKETS_MAX);
	assert_int_equal(targets[0].n_sockets, PROTOCOL_SOCKETS_MAX / 2);
	assert_notes("");
}

/* The part of a set that has the sockets with these cookies, all of endpoint 0. */
static void hear_part(uint64_t first_cookie, size_t n, uint32_t first, uint32_t more)
{
	report.n_sockets = 0;
	for (size_t k = 0; k < n; k++)
		add_socket(0, first_cookie + k);
	report.first = first;
	report.more = more;
	report.serial = 9;
	hear(REPORT_SOCKETS, report.n_sockets);
	report.first = report.more = 0;
}

/* Each part counts at once; what is missing is known when the set is whole. */
static void test_instance_sockets_of_a_large_set_come_in_parts(void **state)
{
	(void)state;
	run_instance();
	hear_part(1000, 64, 0, 66);
	assert_int_equal(i->sockets.n, 2 + 64);
	assert_int_not_equal(i->sockets_serial, 9);
	hear_part(1064, 64, 64, 2);
	assert_int_equal(i->sockets.n, 2 + 128);
	hear_part(1128, 2, 128, 0);
	assert_int_equal(i->sockets.n, 130);
	assert_int_equal(i->unused.n, 2);
	assert_int_equal(i->sockets_serial, 9);
	/* The same set again changes nothing. */
	forget_calls();
	hear_part(1000, 64, 0, 66);
	hear_part(1064, 64, 64, 2);
	hear_part(1128, 2, 128, 0);
	assert_int_equal(i->sockets.n, 130);
	assert_null(strstr(calls, "release " ADDRESS_0));
	/* Nor does one of which a part is missing. */
	hear_part(1000, 64, 0, 66);
	hear_part(1128, 2, 128, 0);
	assert_int_equal(i->sockets.n, 130);
	/* A smaller one: what is not in it is gone. */
	hear_part(1000, 64, 0, 0);
	assert_int_equal(i->sockets.n, 64);
	assert_notes("");
}

/* On its way out it joins nothing any more. */
static void test_instance_sockets_of_one_that_goes_are_ignored(void **state)
{
	(void)state;
	run_instance();
	for (int phase = INSTANCE_FAILED; phase < INSTANCE_STOPPED; phase++) {
		i->phase = (enum instance_phase)phase;
		hear_own(2);
		assert_calls("");
		assert_int_equal(i->sockets.n, 2);
		assert_int_equal(i->sockets_version, 1);
	}
}

static void test_instance_sockets_find_drift_put_right(void **state)
{
	(void)state;
	run_instance();
	fake_steer_join.drift = true;
	add_socket(0, 101);
	add_socket(1, 102);
	add_socket(1, 103);
	hear_set(2);
	assert_notes("drift: the program of " ADDRESS_1 "'s group had been replaced; put right");
}

/* ---- how it comes by them ------------------------------------------------------------------- */

static void test_instance_mode_is_what_its_sockets_say(void **state)
{
	(void)state;
	assert_null(instance_mode(i));
	run_instance();
	assert_string_equal(instance_mode(i), "inherit");
	add_socket(0, 101);
	add_socket(1, 104)->own = true;
	hear_set(2);
	assert_string_equal(instance_mode(i), "native");
	fake_tap_forced = 104;
	assert_string_equal(instance_mode(i), "native"); /* there is nobody to ask */
	wiring.tap = &hooks;
	assert_string_equal(instance_mode(i), "transparent");
	fake_tap_forced = 105; /* another's */
	assert_string_equal(instance_mode(i), "native");
	wiring.tap = NULL;
}

/* ---- strangers ------------------------------------------------------------------------------ */

static void add_stranger(const char *address)
{
	strcpy(report.strangers[report.n_strangers++], address);
}

#define UNDECLARED(address)                                                                        \
	"undeclared: instance 0 listens on " address                                               \
	", which the service does not declare: left alone"

static void test_instance_strangers_are_told_once(void **state)
{
	(void)state;
	run_instance();
	add_sockets(&report);
	add_stranger("127.0.0.1:9000");
	hear_set(2);
	assert_notes(UNDECLARED("127.0.0.1:9000"));
	forget_calls();
	add_sockets(&report);
	add_stranger("[::]:9001");
	add_stranger("127.0.0.1:9000");
	hear_set(3);
	assert_notes(UNDECLARED("[::]:9001"));
	assert_int_equal(i->n_strangers, 2);
	assert_string_equal(i->strangers[0], "[::]:9001");
	assert_int_equal(i->sockets_version, 1);
	/* One that was gone is news again. */
	add_sockets(&report);
	hear_set(4);
	assert_int_equal(i->n_strangers, 0);
	assert_notes("");
	add_sockets(&report);
	add_stranger("127.0.0.1:9000");
	hear_set(5);
	assert_notes(UNDECLARED("127.0.0.1:9000"));
}

/* A hello after a reconnect says nothing new either. */
static void test_instance_strangers_of_a_hello_are_told_once(void **state)
{
	(void)state;
	assert_started();
	add_sockets(&report);
	add_stranger("127.0.0.1:9000");
	hear(REPORT_HELLO, 3);
	assert_notes(UNDECLARED("127.0.0.1:9000"));
	add_sockets(&report);
	add_stranger("127.0.0.1:9000");
	hear(REPORT_HELLO, 3);
	assert_notes("");
}

/* ---- agents that lie ------------------------------------------------------------------------ */

static void endpoint_that_is_not_there(void)
{
	add_socket(0, 103);
	add_socket(1, 104)->endpoint = 2;
}

static void endpoint_far_out(void)
{
	add_socket(0, 103);
	add_socket(1, 104)->endpoint = UINT32_MAX;
}

static void endpoint_of_another_address(void)
{
	add_socket(0, 103);
	add_socket(1, 104)->endpoint = 0;
}

static void another_cookie(void)
{
	add_socket(0, 103);
	add_socket(1, 104);
	report_fds[1] = 99;
}

static void one_twice(void)
{
	add_socket(0, 103);
	strcpy(add_socket(0, 103)->address, ADDRESS_0);
}

static void one_more_endpoint(void)
{
	add_socket(0, 103);
	add_socket(1, 104);
	strcpy(add_socket(1, 105)->address, "127.0.0.1:82");
}

static const struct {
	void (*add)(void);
	const char *reason;
} lies[] = {
	{endpoint_that_is_not_there, "the agent's socket for " ADDRESS_1 " is of no endpoint"},
	{endpoint_far_out, "the agent's socket for " ADDRESS_1 " is of no endpoint"},
	{endpoint_of_another_address, "the agent's socket for " ADDRESS_1 " is of no endpoint"},
	{another_cookie, "the agent's socket for " ADDRESS_1 " is not the one it names"},
	{one_twice, "the agent names a socket for " ADDRESS_0 " twice"},
	{one_more_endpoint, "the agent's socket for 127.0.0.1:82 is of no endpoint"},
};

/* What is given back after each. */
static void assert_nothing_kept(void)
{
	unsigned joined = 0, released = 0;

	for (const char *at = calls; (at = strstr(at, "join ")); at++)
		joined++;
	for (const char *at = calls; (at = strstr(at, "release ")); at++)
		released++;
	assert_true(joined >= 1);
	assert_int_equal(joined, released);
	forget_calls();
}

/* A server that serves must not end because of what its agent says. */
static void test_instance_lies_about_a_running_one_change_nothing(void **state)
{
	(void)state;
	run_instance();
	instance_check(i);
	forget_calls();
	for (size_t k = 0; k < sizeof(lies) / sizeof(lies[0]); k++) {
		char expected[256];

		lies[k].add();
		i->refusal[0] = '\0'; /* the same one is told once only */
		hear_set(2);
		snprintf(expected, sizeof(expected), "sockets: instance 0: %s", lies[k].reason);
		assert_notes(expected);
		assert_nothing_kept();
		assert_set_unchanged();
		assert_int_equal(i->sockets_serial, 0);
		assert_false(instance_has_failed(i));
	}
	add_sockets(&report);
	hear(REPORT_SOCKETS, 1);
	assert_notes("sockets: instance 0: the agent sent 1 descriptors for 2 sockets");
	assert_calls("");
	assert_set_unchanged();
}

/* They may have stopped listening and begun again, which takes them out of their slots. */
static void test_instance_same_set_again_joins_anew(void **state)
{
	uint32_t version;

	(void)state;
	run_instance();
	version = i->sockets_version;
	add_sockets(&report);
	hear_set(2);
	assert_calls("rejoin " ADDRESS_0 " 4; rejoin " ADDRESS_1 " 6");
	assert_int_equal(i->sockets_version, version);
	assert_int_equal(i->sockets_serial, 2);
	fake_steer_failure.function = "steer_rejoin";
	fake_steer_failure.address = ADDRESS_1;
	fake_steer_failure.code = -EIO;
	add_sockets(&report);
	hear_set(3);
	assert_calls("rejoin " ADDRESS_0 " 4");
	assert_notes("sockets: instance 0: steer_rejoin " ADDRESS_1 ": Input/output error");
	assert_false(instance_has_failed(i));
}

static void test_instance_lies_at_first_are_its_end(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(lies) / sizeof(lies[0]); k++) {
		assert_started();
		lies[k].add();
		hear(REPORT_HELLO, report.n_sockets);
		assert_true(instance_has_failed(i));
		assert_string_equal(i->failure, lies[k].reason);
		assert_nothing_kept();
		assert_int_equal(i->sockets.n, 0);
		instance_done(i);
		forget_calls();
		reset_instance();
	}
}

/* What it has already stays as it is, whatever the agent says of it now. */
static void test_instance_lies_about_a_known_socket_do_not_move_it(void **state)
{
	(void)state;
	run_instance();
	add_socket(1, 101);
	add_socket(0, 102);
	hear_set(2);
	assert_calls("rejoin " ADDRESS_0 " 4; rejoin " ADDRESS_1 " 6");
	assert_int_equal(i->sockets.list[0].endpoint, 0);
	assert_int_equal(i->sockets.list[0].slot, 4);
	assert_int_equal(i->sockets.list[1].endpoint, 1);
	assert_true(instance_is_serving(i));
}

/* Nobody accepts from the old ones any more; what can be steered is. */
static void test_instance_sockets_without_a_free_slot_do_not_hold_up_the_others(void **state)
{
	(void)state;
	run_instance();
	fake_steer_failure.function = "steer_join";
	fake_steer_failure.address = ADDRESS_1;
	fake_steer_failure.code = -ENOSPC;
	hear_own(2);
	assert_notes("sockets: instance 0: steer_join " ADDRESS_1 ": No space left on device");
	assert_calls("join " ADDRESS_0 " fd 3 slot 5");
	assert_int_equal(i->sockets.n, 1);
	assert_int_equal(i->sockets.list[0].cookie, 103);
	assert_int_equal(i->unused.n, 2);
	assert_int_equal(i->sockets_version, 2);
}

static void hear_failing_hello(void)
{
	fake_steer_failure.function = "steer_join";
	fake_steer_failure.address = ADDRESS_1;
	fake_steer_failure.code = -EINVAL;
	report.tells = true;
	report.pid = 600;
	hear_hello();
}

/* Its sockets are closed before it has ended: the exit is the reason. */
static void test_instance_whose_sockets_cannot_join_is_told_by_its_exit(void **state)
{
	(void)state;
	assert_started();
	hear_failing_hello();
	assert_false(instance_has_failed(i));
	assert_int_equal(i->phase, INSTANCE_STARTING);
	assert_true(i->asked);
	report.exit_code = 7;
	hear(REPORT_EXITED, 0);
	assert_true(instance_has_failed(i));
	assert_string_equal(i->failure, "exited with status 7");
	assert_nothing_kept();
}

static void test_instance_whose_sockets_cannot_join_and_that_runs_on_fails_by_that(void **state)
{
	(void)state;
	assert_started();
	hear_failing_hello();
	hear(REPORT_TOLD, 0);
	assert_false(instance_has_failed(i));
	drive_until(instance_has_failed(i));
	assert_string_equal(i->failure, "steer_join " ADDRESS_1 ": Invalid argument");
	assert_nothing_kept();
}

static void test_instance_whose_next_sockets_join_is_well(void **state)
{
	(void)state;
	assert_started();
	hear_failing_hello();
	fake_steer_failure.function = NULL;
	add_sockets(&report);
	hear_set(2);
	assert_true(instance_has_joined(i));
	assert_string_equal(i->trouble, "");
	assert_false(instance_has_failed(i));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_instance_sockets_of_a_larger_set_are_joined_and_checked),
		TEST(test_instance_sockets_of_the_same_set_are_put_back),
		TEST(test_instance_sockets_that_are_gone_keep_their_slots_while_named),
		TEST(test_instance_sockets_that_come_back_are_not_joined_again),
		TEST(test_instance_sockets_without_agent_are_released_without_an_order),
		TEST(test_instance_sockets_have_joined_once_each_endpoint_has_one),
		TEST(test_instance_sockets_that_come_late_are_checked),
		TEST(test_instance_sockets_that_change_for_ever_free_the_last_ones),
		TEST(test_instance_sockets_fill_a_report),
		TEST(test_instance_sockets_of_a_large_set_come_in_parts),
		TEST(test_instance_sockets_of_one_that_goes_are_ignored),
		TEST(test_instance_sockets_find_drift_put_right),
		TEST(test_instance_mode_is_what_its_sockets_say),
		TEST(test_instance_strangers_are_told_once),
		TEST(test_instance_strangers_of_a_hello_are_told_once),
		TEST(test_instance_lies_about_a_running_one_change_nothing),
		TEST(test_instance_same_set_again_joins_anew),
		TEST(test_instance_lies_at_first_are_its_end),
		TEST(test_instance_lies_about_a_known_socket_do_not_move_it),
		TEST(test_instance_sockets_without_a_free_slot_do_not_hold_up_the_others),
		TEST(test_instance_whose_sockets_cannot_join_is_told_by_its_exit),
		TEST(test_instance_whose_sockets_cannot_join_and_that_runs_on_fails_by_that),
		TEST(test_instance_whose_next_sockets_join_is_well),
	};
#undef TEST

	return cmocka_run_group_tests_name("instance sockets", tests, NULL, NULL);
}
