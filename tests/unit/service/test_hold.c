/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "orchestrator/service/hold.h"

static struct hold hold;

/* The same numbers in every run (xorshift64*). */
static uint64_t seed;

static uint64_t random_below(uint64_t n)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return ((seed * 0x2545f4914f6cdd1d) >> 24) % n;
}

/* How much too late a connection may be found too old. */
static uint64_t tolerance_ms(uint64_t hold_ms)
{
	return hold_ms < HOLD_SAMPLES ? 1 : hold_ms / HOLD_SAMPLES;
}

/* ---- single looks --------------------------------------------------------------------------- */

static void test_hold_empty_queue_has_nobody_too_old(void **state)
{
	(void)state;
	hold_init(&hold, 1000);
	assert_int_equal(hold_interval_ms(&hold), 1000 / HOLD_SAMPLES);
	assert_int_equal(hold_look(&hold, 5, 0), 0);
	assert_int_equal(hold_look(&hold, 100000, 0), 0);
	hold_left(&hold, 0);
	assert_int_equal(hold_look(&hold, 200000, 0), 0);
}

static void test_hold_member_is_too_old_when_its_time_is_up(void **state)
{
	(void)state;
	hold_init(&hold, 1000);
	assert_int_equal(hold_look(&hold, 500, 0), 0);
	assert_int_equal(hold_look(&hold, 510, 3), 0);
	assert_int_equal(hold_look(&hold, 1509, 3), 0);
	assert_int_equal(hold_look(&hold, 1510, 3), 3);
	/* They are so until they are gone. */
	assert_int_equal(hold_look(&hold, 1510, 3), 3);
	assert_int_equal(hold_look(&hold, 9999, 3), 3);
	hold_left(&hold, 2);
	assert_int_equal(hold_look(&hold, 9999, 1), 1);
	hold_left(&hold, 1);
	assert_int_equal(hold_look(&hold, 9999, 0), 0);
}

static void test_hold_later_ones_have_their_own_time(void **state)
{
	(void)state;
	hold_init(&hold, 1000);
	hold_look(&hold, 0, 0);
	assert_int_equal(hold_look(&hold, 30, 2), 0);
	assert_int_equal(hold_look(&hold, 500, 5), 0);
	assert_int_equal(hold_look(&hold, 1030, 5), 2);
	hold_left(&hold, 2);
	assert_int_equal(hold_look(&hold, 1499, 3), 0);
	assert_int_equal(hold_look(&hold, 1500, 3), 3);
}

static void test_hold_longest_wait_is_that_of_the_first_that_is_left(void **state)
{
	(void)state;
	hold_init(&hold, 10000);
	assert_int_equal(hold_longest_ms(&hold), 0);
	hold_look(&hold, 1000, 0);
	hold_look(&hold, 1020, 2);
	assert_int_equal(hold_longest_ms(&hold), 20);
	hold_look(&hold, 1500, 4);
	assert_int_equal(hold_longest_ms(&hold), 500);
	hold_left(&hold, 2);
	assert_int_equal(hold_longest_ms(&hold), 480);
	/* Those that come later have nothing of the time of those that have left. */
	hold_left(&hold, 2);
	assert_int_equal(hold_longest_ms(&hold), 0);
	hold_look(&hold, 1600, 0);
	hold_look(&hold, 1610, 1);
	assert_int_equal(hold_longest_ms(&hold), 10);
	hold_look(&hold, 20000, 1);
	assert_int_equal(hold_longest_ms(&hold), 10000);
}

static void test_hold_sent_on_together_leave_nobody_old(void **state)
{
	(void)state;
	hold_init(&hold, 1000);
	hold_look(&hold, 0, 0);
	hold_look(&hold, 10, 7);
	hold_left(&hold, 7);
	/* Two that come in the meantime are not taken for two of the seven. */
	assert_int_equal(hold_look(&hold, 900, 2), 0);
	assert_int_equal(hold_look(&hold, 1010, 2), 0);
	assert_int_equal(hold_look(&hold, 1899, 2), 0);
	assert_int_equal(hold_look(&hold, 1900, 2), 2);
}

/* More were sent on than had ever been seen: they came after the last look. */
static void test_hold_more_may_leave_than_were_seen(void **state)
{
	(void)state;
	hold_init(&hold, 1000);
	hold_look(&hold, 10, 1);
	hold_left(&hold, 4);
	assert_int_equal(hold_look(&hold, 500, 1), 0);
	assert_int_equal(hold_look(&hold, 1010, 1), 0);
	assert_int_equal(hold_look(&hold, 1500, 1), 1);
}

static void test_hold_queue_that_shrinks_by_itself_loses_its_head(void **state)
{
	(void)state;
	hold_init(&hold, 1000);
	hold_look(&hold, 0, 0);
	hold_look(&hold, 10, 4);
	hold_look(&hold, 500, 6);
	assert_int_equal(hold_look(&hold, 600, 3), 0); /* three of the first four are gone */
	assert_int_equal(hold_look(&hold, 1010, 3), 1);
	/* Never more than there are. */
	assert_int_equal(hold_look(&hold, 1500, 2), 2);
	assert_int_equal(hold_look(&hold, 1500, 0), 0);
	assert_int_equal(hold_look(&hold, 2000, 1), 0);
	assert_int_equal(hold_look(&hold, 3000, 1), 1);
}

static void test_hold_first_look_takes_all_for_just_arrived(void **state)
{
	(void)state;
	hold_init(&hold, 1000);
	assert_int_equal(hold_look(&hold, 1000000, 9), 0);
	assert_int_equal(hold_look(&hold, 1000999, 9), 0);
	assert_int_equal(hold_look(&hold, 1001000, 9), 9);
}

static void test_hold_clock_that_goes_back_makes_nobody_older(void **state)
{
	(void)state;
	hold_init(&hold, 1000);
	hold_look(&hold, 5000, 1);
	assert_int_equal(hold_look(&hold, 10, 2), 0);
	assert_int_equal(hold_look(&hold, 5999, 2), 0);
	assert_int_equal(hold_look(&hold, 6000, 2), 2);
}

static void test_hold_interval_ends_when_the_oldest_is_due(void **state)
{
	(void)state;
	hold_init(&hold, 3200);
	hold_look(&hold, 0, 0);
	assert_int_equal(hold_interval_ms(&hold), 100);
	hold_look(&hold, 50, 1);
	assert_int_equal(hold_interval_ms(&hold), 100);
	hold_look(&hold, 3240, 1);
	assert_int_equal(hold_interval_ms(&hold), 10);
	hold_look(&hold, 3249, 1);
	assert_int_equal(hold_interval_ms(&hold), 1);
	assert_int_equal(hold_look(&hold, 3250, 1), 1);
	/* Nothing will be due by itself any more. */
	assert_int_equal(hold_interval_ms(&hold), 100);
	hold_init(&hold, 1);
	assert_int_equal(hold_interval_ms(&hold), 1);
	hold_look(&hold, 7, 1);
	assert_int_equal(hold_interval_ms(&hold), 1);
	assert_int_equal(hold_look(&hold, 8, 1), 1);
}

/* ---- against a queue that knows since when each member waits -------------------------------- */

#define QUEUE_MAX 4096

static uint64_t queue[QUEUE_MAX];
static size_t n_queue;
static uint64_t worst_ms; /* how much too late one was at most */

static void queue_leave(size_t n)
{
	n_queue -= n;
	memmove(queue, queue + n, n_queue * sizeof(queue[0]));
	hold_left(&hold, (uint32_t)n);
}

/* They come at any time since the last look, in order. */
static void queue_arrive(uint64_t after_ms, uint64_t until_ms, size_t n)
{
	uint64_t at_ms = after_ms;

	for (; n > 0 && n_queue < QUEUE_MAX; n--) {
		at_ms += random_below(until_ms - at_ms + 1);
		queue[n_queue++] = at_ms;
	}
}

/* Look, and check the answer. @late: this look comes later than was asked for. */
static uint32_t look(uint64_t now_ms, bool late)
{
	uint64_t hold_ms = hold.hold_ms;
	uint32_t n = hold_look(&hold, now_ms, (uint32_t)n_queue);

	assert_true(n <= n_queue);
	for (size_t i = 0; i < n; i++)
		if (now_ms - queue[i] < hold_ms)
			fail_msg("too early: %llu of %llu ms",
				 (unsigned long long)(now_ms - queue[i]),
				 (unsigned long long)hold_ms);
	for (size_t i = 0; i < n_queue; i++) {
		uint64_t waited_ms = now_ms - queue[i];
		uint64_t late_ms = waited_ms > hold_ms ? waited_ms - hold_ms : 0;

		/* Those that are found in time may be as late as they are allowed to. */
		if (late || late_ms < tolerance_ms(hold_ms) + (i < n))
			continue;
		fail_msg("too late: %llu of %llu ms, looks every %llu ms",
			 (unsigned long long)waited_ms, (unsigned long long)hold_ms,
			 (unsigned long long)hold_interval_ms(&hold));
	}
	if (n > 0 && !late && now_ms - queue[0] - hold_ms > worst_ms)
		worst_ms = now_ms - queue[0] - hold_ms;
	return n;
}

/* @busy: looks within what is allowed: 1 = always at the last moment, more = rather more often. */
static void simulate(uint64_t hold_ms, unsigned busy, unsigned rounds)
{
	uint64_t now_ms = 1 + random_below(1000000);

	hold_init(&hold, hold_ms);
	n_queue = 0;
	look(now_ms, false);
	for (unsigned round = 0; round < rounds; round++) {
		uint64_t allowed_ms = hold_interval_ms(&hold);
		uint64_t step_ms = 1 + random_below((allowed_ms + busy - 1) / busy);
		uint32_t old;

		assert_in_range(allowed_ms, 1, tolerance_ms(hold_ms));
		if (busy == 1)
			step_ms = allowed_ms;
		if (random_below(3) == 0)
			queue_arrive(now_ms, now_ms + step_ms, random_below(4));
		now_ms += step_ms;
		old = look(now_ms, false);
		if (random_below(100) == 0)
			queue_leave(n_queue);
		else if (random_below(50) == 0)
			queue_leave(old + random_below(n_queue - old + 1));
		else
			queue_leave(old);
	}
}

static void test_hold_members_are_reset_in_time(void **state)
{
	static const uint64_t holds[] = {1,  2,   3,   10,  31,  32,   33,   63,    64,
					 95, 127, 128, 250, 999, 1000, 5000, 60000, 600000};

	(void)state;
	seed = 0x5eed1001;
	for (size_t h = 0; h < sizeof(holds) / sizeof(holds[0]); h++) {
		worst_ms = 0;
		for (unsigned busy = 1; busy <= 64; busy *= 2)
			simulate(holds[h], busy, 4000);
		/* The bound is one that is reached, not one that nothing comes near to. */
		assert_in_range(worst_ms, tolerance_ms(holds[h]) / 2, tolerance_ms(holds[h]));
	}
}

/* Many looks in a row must not push out what is known of earlier ones. */
static void test_hold_looks_at_every_millisecond_are_no_harm(void **state)
{
	(void)state;
	seed = 0x5eed1002;
	simulate(5000, 5000, 30000);
	hold_init(&hold, 5000);
	n_queue = 0;
	look(1, false);
	for (uint64_t now_ms = 2; now_ms < 20000; now_ms++) {
		queue_arrive(now_ms, now_ms, now_ms % 8 == 0);
		queue_leave(look(now_ms, false));
	}
}

/* Two looks, one right after the other, and then none as long as is allowed: the most samples. */
static void test_hold_looks_in_pairs_fit_the_ring(void **state)
{
	size_t most = 0;

	(void)state;
	seed = 0x5eed1003;
	for (uint64_t hold_ms = 1; hold_ms < 5000; hold_ms = hold_ms * 4 / 3 + 1) {
		uint64_t now_ms = 1;

		hold_init(&hold, hold_ms);
		n_queue = 0;
		look(now_ms, false);
		for (int round = 0; round < 400; round++) {
			uint64_t step_ms = round % 2 ? 1 : hold_interval_ms(&hold);

			queue_arrive(now_ms, now_ms + step_ms, 1);
			now_ms += step_ms;
			queue_leave(look(now_ms, false));
			assert_true(hold.n <= HOLD_RING);
			if (hold.n > most)
				most = hold.n;
		}
	}
	assert_true(most > HOLD_SAMPLES);
}

static void test_hold_late_looks_are_late_but_never_early(void **state)
{
	(void)state;
	seed = 0x5eed1004;
	for (int history = 0; history < 200; history++) {
		uint64_t hold_ms = 1 + random_below(history % 2 ? 100 : 100000);
		uint64_t now_ms = 1 + random_below(1000);

		hold_init(&hold, hold_ms);
		n_queue = 0;
		look(now_ms, true);
		for (int round = 0; round < 200; round++) {
			uint64_t step_ms = random_below(hold_ms / 2 + 2);
			uint32_t old;

			queue_arrive(now_ms, now_ms + step_ms, random_below(3));
			now_ms += step_ms;
			old = look(now_ms, true);
			/* Not always are all of them reset at once. */
			queue_leave(random_below(4) ? old : random_below(old + 1));
		}
		/* And when there is time at last, nobody is forgotten. */
		now_ms += hold_ms;
		look(now_ms, true);
		assert_int_equal(look(now_ms + hold_ms, true), n_queue);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hold_empty_queue_has_nobody_too_old),
		cmocka_unit_test(test_hold_longest_wait_is_that_of_the_first_that_is_left),
		cmocka_unit_test(test_hold_member_is_too_old_when_its_time_is_up),
		cmocka_unit_test(test_hold_later_ones_have_their_own_time),
		cmocka_unit_test(test_hold_sent_on_together_leave_nobody_old),
		cmocka_unit_test(test_hold_more_may_leave_than_were_seen),
		cmocka_unit_test(test_hold_queue_that_shrinks_by_itself_loses_its_head),
		cmocka_unit_test(test_hold_first_look_takes_all_for_just_arrived),
		cmocka_unit_test(test_hold_clock_that_goes_back_makes_nobody_older),
		cmocka_unit_test(test_hold_interval_ends_when_the_oldest_is_due),
		cmocka_unit_test(test_hold_members_are_reset_in_time),
		cmocka_unit_test(test_hold_looks_at_every_millisecond_are_no_harm),
		cmocka_unit_test(test_hold_looks_in_pairs_fit_the_ring),
		cmocka_unit_test(test_hold_late_looks_are_late_but_never_early),
	};

	return cmocka_run_group_tests_name("hold", tests, NULL, NULL);
}
