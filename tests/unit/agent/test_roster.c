/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "agent/roster.h"

#define NOW 100000

static struct listeners listeners;
static struct roster_view view;
static uint32_t serial;

static int setup(void **state)
{
	(void)state;
	listeners_done(&listeners);
	view = (struct roster_view){
		.mode = SOCKETS_AUTO,
		.alive = true,
		.patient = true,
		.now_ms = NOW,
	};
	serial = 1;
	return 0;
}

static struct listener *add(uint32_t endpoint, bool own)
{
	const struct listener listener = {
		.fd = 7,
		.cookie = listeners.n + 1,
		.endpoint = endpoint,
		.own = own,
		.listens = true,
	};

	assert_int_equal(listeners_add(&listeners, &listener), 0);
	return &listeners.list[listeners.n - 1];
}

/* A digit each: do they count? */
static void check(const char *expected)
{
	(void)roster_update(&listeners, &view, &serial);
	assert_int_equal(strlen(expected), listeners.n);
	for (size_t i = 0; i < listeners.n; i++)
		if (listeners.list[i].counts != (expected[i] == '1'))
			fail_msg("%zu of %s", i, expected);
}

static void lose(struct listener *listener)
{
	listener->lost_ms = view.now_ms;
	view.now_ms += ROSTER_LOST_MS;
}

static void test_roster_passed_ones_count_while_nothing_else_does(void **state)
{
	(void)state;
	add(0, false);
	add(1, false);
	check("11");
	assert_true(roster_is_complete(&listeners, 2));
	assert_false(roster_is_complete(&listeners, 3));
}

static void test_roster_own_one_replaces_the_passed_one_of_its_endpoint(void **state)
{
	(void)state;
	add(0, false);
	add(1, false);
	add(0, true);
	add(0, true);
	check("0111");
	/* And when both are gone, the passed one is there still. */
	lose(&listeners.list[2]);
	check("0101");
	lose(&listeners.list[3]);
	check("1100");
}

static void test_roster_descriptors_that_are_named_count_beside_own_ones(void **state)
{
	(void)state;
	view.named = true;
	add(0, false);
	add(0, true);
	check("11");
}

static void test_roster_what_does_not_listen_does_not_count(void **state)
{
	struct listener *passed = add(0, false);

	(void)state;
	for (int mode = 0; mode < 2; mode++) {
		view.mode = mode ? SOCKETS_INHERIT : SOCKETS_AUTO;
		passed->listens = passed->counts = false;
		check("0");
		passed->listens = true;
		check("1");
	}
}

/* It may listen again at any time; where nothing else is there, nothing else can be sent to. */
static void test_roster_what_stops_listening_counts_until_another_one_does(void **state)
{
	(void)state;
	for (int mode = 0; mode < 2; mode++) {
		listeners.n = 0;
		view.mode = mode ? SOCKETS_INHERIT : SOCKETS_NATIVE;
		add(0, !mode);
		add(0, !mode);
		add(1, !mode);
		check("111");
		listeners.list[0].listens = listeners.list[2].listens = false;
		check("011");
		listeners.list[0].listens = true;
		check("111");
	}
	/* Shut down and closed is gone. */
	view.mode = SOCKETS_NATIVE;
	listeners.list[2].own = true;
	lose(&listeners.list[2]);
	check("110");
}

/* On its way from one process to another it is held by none for a moment. */
static void test_roster_lost_for_a_moment_counts_still(void **state)
{
	struct listener *passed = add(0, false), *own = add(1, true);

	(void)state;
	check("11");
	passed->lost_ms = own->lost_ms = view.now_ms;
	view.now_ms += ROSTER_LOST_MS - 1;
	check("11");
	assert_true(roster_is_unsure(&listeners, view.now_ms));
	view.now_ms++;
	check("00");
	assert_false(roster_is_unsure(&listeners, view.now_ms));
	passed->lost_ms = own->lost_ms = 0;
	check("11");
}

/* The agent's duplicate goes on listening, with nobody to accept. */
static void test_roster_inherit_counts_while_somebody_holds_it(void **state)
{
	(void)state;
	view.mode = SOCKETS_INHERIT;
	view.alive = false; /* not yet */
	add(0, false);
	add(1, false);
	check("11");
	view.alive = true;
	check("11");
	listeners.list[0].lost_ms = view.now_ms;
	view.now_ms += ROSTER_LOST_MS - 1; /* it may be on its way to another process */
	check("11");
	view.now_ms++;
	check("01");
	/* What has ended holds nothing, but the next run will. */
	lose(&listeners.list[1]);
	view.alive = false;
	check("01");
	/* Another socket is made for the first. */
	view.alive = true;
	listeners.list[0].earlier = true;
	listeners.list[0].lost_ms = listeners.list[1].lost_ms = 0;
	check("01");
}

static void test_roster_dead_server_changes_nothing(void **state)
{
	(void)state;
	add(0, false);
	add(0, true);
	add(1, false);
	check("011");
	view.alive = false;
	for (size_t i = 0; i < 3; i++)
		lose(&listeners.list[i]);
	check("011");
	assert_int_equal(serial, 2);
}

static void test_roster_earlier_ones_count_until_there_are_others(void **state)
{
	struct listener *first = add(0, true), *second = add(1, true);

	(void)state;
	check("11");
	/* Started again: nobody holds them, and nobody will. */
	first->earlier = second->earlier = true;
	check("11");
	add(0, true);
	check("011");
	add(1, true);
	check("0011");
	/* And never again. */
	lose(&listeners.list[2]);
	check("0001");
}

static void test_roster_earlier_ones_do_not_count_for_ever(void **state)
{
	struct listener *own = add(0, true);

	(void)state;
	check("1");
	own->earlier = true;
	check("1");
	view.patient = false;
	check("0");
}

/* It was replaced in the run before, and was not passed again. */
static void test_roster_earlier_one_that_did_not_count_never_does(void **state)
{
	struct listener *passed = add(0, false), *own = add(0, true);

	(void)state;
	check("01");
	passed->earlier = own->earlier = true;
	check("01");
	view.patient = false;
	check("00");
}

static void test_roster_passed_again_replaces_nothing_but_its_own_like(void **state)
{
	struct listener *passed = add(0, false), *own = add(1, true);

	(void)state;
	check("11");
	own->earlier = true;
	check("11");
	passed->earlier = false;
	check("11");
}

static void test_roster_no_more_count_than_an_instance_can_have(void **state)
{
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < PROTOCOL_SET_MAX + 5; i++)
		add(0, true);
	assert_true(roster_update(&listeners, &view, &serial));
	for (size_t i = 0; i < listeners.n; i++)
		n += listeners.list[i].counts;
	assert_int_equal(n, PROTOCOL_SET_MAX);
}

/* ---- serials, and what may go --------------------------------------------------------------- */

static void test_roster_each_change_has_its_serial(void **state)
{
	(void)state;
	add(0, false);
	assert_true(roster_update(&listeners, &view, &serial));
	assert_int_equal(serial, 2);
	assert_false(roster_update(&listeners, &view, &serial));
	assert_int_equal(serial, 2);
	serial = UINT32_MAX;
	add(1, false);
	assert_true(roster_update(&listeners, &view, &serial));
	assert_int_equal(serial, 1);
}

static void test_roster_only_what_went_out_by_then_may_go(void **state)
{
	struct listener *first = add(0, false), *second = add(1, false);

	(void)state;
	check("11");
	add(0, true);
	check("011"); /* 3 */
	add(1, true);
	check("0011"); /* 4 */
	assert_int_equal(serial, 4);
	assert_false(roster_may_go(first, 2));
	assert_true(roster_may_go(first, 3));
	assert_false(roster_may_go(second, 3));
	assert_true(roster_may_go(second, 4));
	assert_true(roster_may_go(second, 0));
	assert_false(roster_may_go(&listeners.list[2], 4));
	assert_false(roster_may_go(&listeners.list[2], 0));
}

/* It does not listen yet, and no set has ever had it. */
static void test_roster_what_was_never_in_stays(void **state)
{
	struct listener *passed = add(0, false);

	(void)state;
	passed->listens = false;
	check("0");
	assert_false(roster_may_go(passed, 0));
}

static void test_roster_what_came_back_stays(void **state)
{
	struct listener *own = add(0, true);

	(void)state;
	check("1");
	lose(own);
	check("0");
	assert_true(roster_may_go(own, 3));
	own->lost_ms = 0;
	check("1");
	assert_false(roster_may_go(own, 3));
	assert_false(roster_may_go(own, 0));
}

/* ---- whatever happens ----------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static void change_something(uint32_t *seed)
{
	struct listener *listener =
		listeners.n > 0 ? &listeners.list[next_random(seed) % listeners.n] : NULL;

	view.now_ms += next_random(seed) % 60;
	switch (next_random(seed) % 8) {
	case 0:
		if (listeners.n < 100)
			add(next_random(seed) % 3, next_random(seed) % 2);
		break;
	case 1:
		if (listener)
			listener->lost_ms = listener->lost_ms ? 0 : view.now_ms;
		break;
	case 2:
		if (listener)
			listener->listens = !listener->listens;
		break;
	case 3:
		view.alive = !view.alive;
		break;
	case 4: /* started again */
		for (size_t i = 0; i < listeners.n; i++) {
			listeners.list[i].earlier = listeners.list[i].own;
			listeners.list[i].lost_ms = 0;
		}
		view.alive = view.patient = true;
		break;
	case 5:
		view.patient = next_random(seed) % 2;
		break;
	case 6:
		view.named = next_random(seed) % 2;
		break;
	default: /* released */
		for (size_t i = listeners.n; i-- > 0;)
			if (roster_may_go(&listeners.list[i], serial)) {
				listeners.list[i].fd = -1;
				listeners_release(&listeners, i);
			}
		break;
	}
}

static void check_invariants(const struct listeners *before)
{
	size_t n = 0;

	for (size_t i = 0; i < listeners.n; i++) {
		const struct listener *listener = &listeners.list[i];

		n += listener->counts;
		/* Nobody is newly sent to what does not listen, or to what has been closed. */
		assert_false(listener->counts && !before->list[i].counts && !listener->listens);
		assert_false(listener->counts && roster_may_go(listener, 0));
		/* What has counted and does no longer can be let go of. */
		if (before->list[i].counts && !listener->counts)
			assert_true(roster_may_go(listener, serial));
		/* Without a server nothing comes and nothing goes, but what stops listening. */
		if (!view.alive && listener->listens && before->list[i].listens)
			assert_int_equal(listener->counts, before->list[i].counts);
	}
	assert_true(n <= PROTOCOL_SET_MAX);
}

static void test_roster_random_events_keep_the_rules(void **state)
{
	static struct listener copies[100];
	struct listeners before = {.list = copies};
	uint32_t seed = 2463534242;

	(void)state;
	for (int run = 0; run < 300; run++) {
		setup(NULL);
		view.mode = run % 2 ? SOCKETS_AUTO : SOCKETS_NATIVE;
		for (int i = 0; i < 300; i++) {
			uint32_t last = serial;
			bool changed;

			change_something(&seed);
			before.n = listeners.n;
			if (listeners.n > 0)
				memcpy(copies, listeners.list, listeners.n * sizeof(copies[0]));
			changed = roster_update(&listeners, &view, &serial);
			assert_int_equal(serial, last + changed);
			check_invariants(&before);
		}
	}
}

#define TEST(function) cmocka_unit_test_setup(function, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_roster_passed_ones_count_while_nothing_else_does),
		TEST(test_roster_own_one_replaces_the_passed_one_of_its_endpoint),
		TEST(test_roster_descriptors_that_are_named_count_beside_own_ones),
		TEST(test_roster_what_does_not_listen_does_not_count),
		cmocka_unit_test_setup(
			test_roster_what_stops_listening_counts_until_another_one_does, setup),
		TEST(test_roster_lost_for_a_moment_counts_still),
		TEST(test_roster_inherit_counts_while_somebody_holds_it),
		TEST(test_roster_dead_server_changes_nothing),
		TEST(test_roster_earlier_ones_count_until_there_are_others),
		TEST(test_roster_earlier_ones_do_not_count_for_ever),
		TEST(test_roster_earlier_one_that_did_not_count_never_does),
		TEST(test_roster_passed_again_replaces_nothing_but_its_own_like),
		TEST(test_roster_no_more_count_than_an_instance_can_have),
		TEST(test_roster_each_change_has_its_serial),
		TEST(test_roster_only_what_went_out_by_then_may_go),
		TEST(test_roster_what_was_never_in_stays),
		TEST(test_roster_what_came_back_stays),
		TEST(test_roster_random_events_keep_the_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
