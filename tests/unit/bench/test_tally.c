/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench/tally.h"

static struct tally tally;

static int setup(void **state)
{
	(void)state;
	return tally_init(&tally, 1000);
}

static int teardown(void **state)
{
	(void)state;
	tally_done(&tally);
	return 0;
}

/* One request from its beginning to its end. */
static void request(enum kind kind, enum outcome outcome, uint64_t begin_us, uint64_t end_us)
{
	struct tally_mark mark;

	tally_request_begin(&tally, kind, begin_us, &mark);
	mark.phase = tally_connection_begin(&tally);
	tally_request_end(&tally, &mark, outcome, end_us, end_us - begin_us, EMFILE);
}

static void test_tally_every_outcome_is_counted_once(void **state)
{
	(void)state;
	for (enum outcome outcome = 0; outcome < _OUTCOME_COUNT; outcome++) {
		request(KIND_SHORT, outcome, 1000, 1100);
		request(KIND_POST, outcome, 1000, 1100);
	}
	for (enum outcome outcome = 0; outcome < _OUTCOME_COUNT; outcome++) {
		assert_int_equal(tally_outcome(&tally, KIND_SHORT, outcome), 1);
		assert_int_equal(tally_outcome(&tally, _KIND_COUNT, outcome), 2);
		assert_int_equal(tally_outcome(&tally, KIND_IDLE, outcome), 0);
	}
	assert_int_equal(tally_requests(&tally, _KIND_COUNT), 2 * _OUTCOME_COUNT);
	assert_int_equal(tally_lost(&tally, _KIND_COUNT), 2 * (_OUTCOME_COUNT - 2));
	assert_int_equal(tally_lost(&tally, KIND_POST), _OUTCOME_COUNT - 2);
	assert_int_equal(tally_under_way(&tally), 0);
	assert_int_equal(tally.phases[0].ok, 2);
	assert_int_equal(tally.phases[0].lost, 2 * (_OUTCOME_COUNT - 2));
	assert_int_equal(tally.phases[0].client_errors, 2);
	assert_int_equal(tally.phases[0].connections, 2 * _OUTCOME_COUNT);
	assert_int_equal(tally.outside.count, 2);
}

static void test_tally_unfinished_request_is_under_way(void **state)
{
	struct tally_mark mark;

	(void)state;
	tally_request_begin(&tally, KIND_SHORT, 1000, &mark);
	assert_int_equal(tally_under_way(&tally), 1);
	tally_request_end(&tally, &mark, OUTCOME_STUCK, 1001, 0, 0);
	assert_int_equal(tally_under_way(&tally), 0);
}

static void test_tally_exit_status_says_the_worst(void **state)
{
	(void)state;
	assert_int_equal(tally_exit_status(&tally), 0);
	request(KIND_SHORT, OUTCOME_OK, 1, 2);
	assert_int_equal(tally_exit_status(&tally), 0);
	request(KIND_SHORT, OUTCOME_CLIENT_ERROR, 1, 2);
	assert_int_equal(tally_exit_status(&tally), 3);
	request(KIND_IDLE, OUTCOME_REFUSED, 1, 2);
	assert_int_equal(tally_exit_status(&tally), 1);
}

static void test_tally_every_loss_makes_status_one(void **state)
{
	(void)state;
	for (enum outcome outcome = OUTCOME_REFUSED; outcome <= OUTCOME_OTHER; outcome++) {
		teardown(NULL);
		setup(NULL);
		request(KIND_KEEPALIVE, outcome, 1, 2);
		assert_int_equal(tally_exit_status(&tally), 1);
	}
}

/* A request is inside where any part of it was. */
static void test_tally_request_touching_a_swap_is_inside(void **state)
{
	struct tally_mark before, during, across;

	(void)state;
	tally_request_begin(&tally, KIND_SHORT, 1000, &before);
	tally_request_begin(&tally, KIND_SHORT, 1000, &across);
	assert_int_equal(tally_swap_begin(&tally, 2000), 0);
	tally_request_begin(&tally, KIND_SHORT, 2500, &during);
	tally_request_end(&tally, &before, OUTCOME_OK, 2600, 1600, 0);
	assert_int_equal(tally.inside.count, 1);
	assert_int_equal(tally_swap_end(&tally, 3000), 0);
	tally_request_end(&tally, &during, OUTCOME_OK, 3100, 600, 0);
	tally_request_end(&tally, &across, OUTCOME_OK, 3200, 2200, 0);
	assert_int_equal(tally.inside.count, 3);
	assert_int_equal(tally.outside.count, 0);
	request(KIND_SHORT, OUTCOME_OK, 3300, 3400);
	assert_int_equal(tally.outside.count, 1);
	assert_int_equal(tally.swaps[0].end_us - tally.swaps[0].begin_us, 1000);
}

static void test_tally_losses_inside_swaps_are_told_apart(void **state)
{
	(void)state;
	request(KIND_SHORT, OUTCOME_RESET, 1, 2);
	assert_int_equal(tally_swap_begin(&tally, 2000), 0);
	request(KIND_SHORT, OUTCOME_RESET, 2001, 2002);
	request(KIND_SHORT, OUTCOME_CLIENT_ERROR, 2001, 2002);
	assert_int_equal(tally.lost_inside, 1);
	assert_int_equal(tally_lost(&tally, _KIND_COUNT), 2);
}

static void test_tally_swap_out_of_order_is_refused(void **state)
{
	(void)state;
	assert_int_equal(tally_swap_end(&tally, 1), -ENOENT);
	assert_int_equal(tally_swap_begin(&tally, 1), 0);
	assert_int_equal(tally_swap_begin(&tally, 2), -EALREADY);
	assert_int_equal(tally_swap_end(&tally, 3), 0);
	assert_int_equal(tally_swap_end(&tally, 4), -ENOENT);
}

static void test_tally_swaps_are_bounded(void **state)
{
	(void)state;
	for (unsigned i = 0; i < TALLY_SWAPS_MAX; i++) {
		assert_int_equal(tally_swap_begin(&tally, 1), 0);
		assert_int_equal(tally_swap_end(&tally, 2), 0);
	}
	assert_int_equal(tally_swap_begin(&tally, 1), -ENOSPC);
}

static void test_tally_phases_are_checked_and_bounded(void **state)
{
	char name[TALLY_NAME_MAX + 1];

	(void)state;
	memset(name, 'n', sizeof(name));
	name[TALLY_NAME_MAX] = '\0';
	assert_int_equal(tally_phase(&tally, "", 1), -EINVAL);
	assert_int_equal(tally_phase(&tally, name, 1), -EINVAL);
	name[TALLY_NAME_MAX - 1] = '\0';
	assert_int_equal(tally_phase(&tally, name, 1), 0);
	assert_string_equal(tally.phases[1].name, name);
	for (unsigned i = 2; i < TALLY_PHASES_MAX; i++)
		assert_int_equal(tally_phase(&tally, "more", 1), 0);
	assert_int_equal(tally_phase(&tally, "too many", 1), -ENOSPC);
}

/* The phase is that of the connection, whenever its answers come. */
static void test_tally_bodies_belong_to_the_connections_phase(void **state)
{
	uint32_t old, new;

	(void)state;
	old = tally_connection_begin(&tally);
	assert_int_equal(tally_phase(&tally, "after", 1), 0);
	new = tally_connection_begin(&tally);
	tally_body(&tally, new, "two\n", 4);
	tally_body(&tally, old, "one", 3);
	tally_body(&tally, new, " two", 4);
	assert_int_equal(tally.phases[0].connections, 1);
	assert_int_equal(tally.phases[0].n_bodies, 1);
	assert_memory_equal(tally.phases[0].bodies[0].text, "one", 3);
	assert_int_equal(tally.phases[1].n_bodies, 1);
	assert_int_equal(tally.phases[1].bodies[0].count, 2);
	assert_int_equal(tally.phases[1].bodies[0].length, 3);
}

static void test_tally_distinct_bodies_are_bounded(void **state)
{
	char body[16];

	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < TALLY_BODIES_MAX + 3; i++) {
			int n = snprintf(body, sizeof(body), "body %u", i);

			tally_body(&tally, 0, body, (size_t)n);
		}
	}
	assert_int_equal(tally.phases[0].n_bodies, TALLY_BODIES_MAX);
	assert_int_equal(tally.phases[0].other_bodies, 6);
	for (unsigned i = 0; i < TALLY_BODIES_MAX; i++)
		assert_int_equal(tally.phases[0].bodies[i].count, 2);
}

static void test_tally_long_bodies_are_compared_by_their_beginning(void **state)
{
	char body[TALLY_BODY_KEPT + 2];

	(void)state;
	memset(body, 'b', sizeof(body));
	tally_body(&tally, 0, body, TALLY_BODY_KEPT + 1);
	tally_body(&tally, 0, body, TALLY_BODY_KEPT + 2);
	body[TALLY_BODY_KEPT - 1] = 'c';
	tally_body(&tally, 0, body, TALLY_BODY_KEPT + 2);
	tally_body(&tally, 0, "", 0);
	tally_body(&tally, 0, " \n", 2);
	assert_int_equal(tally.phases[0].n_bodies, 3);
	assert_int_equal(tally.phases[0].bodies[0].count, 2);
	assert_int_equal(tally.phases[0].bodies[2].count, 2);
	assert_int_equal(tally.phases[0].bodies[2].length, 0);
}

static void test_tally_errors_are_kept_by_number(void **state)
{
	(void)state;
	request(KIND_SHORT, OUTCOME_CLIENT_ERROR, 1, 2);
	request(KIND_SHORT, OUTCOME_OTHER, 1, 2);
	request(KIND_SHORT, OUTCOME_RESET, 1, 2);
	assert_int_equal(tally.n_errnos, 1);
	assert_int_equal(tally.errnos[0].code, EMFILE);
	assert_int_equal(tally.errnos[0].count, 2);
}

static void test_tally_samples_are_bounded(void **state)
{
	(void)state;
	for (unsigned i = 0; i < TALLY_SAMPLES_MAX; i++) {
		assert_true(tally_wants_sample(&tally));
		tally_sample(&tally, "%0300u", i);
	}
	assert_false(tally_wants_sample(&tally));
	tally_sample(&tally, "one too many");
	assert_int_equal(tally.n_samples, TALLY_SAMPLES_MAX);
	assert_int_equal(strlen(tally.samples[0]), TALLY_SAMPLE_MAX - 1);
}

/* The requests of one tally among two, with the same marks at the same times. */
static void test_tally_merged_is_as_if_one_had_counted_all(void **state)
{
	struct tally all = tally, parts[2];
	uint64_t now_us = 2000;

	(void)state;
	assert_int_equal(tally_init(&parts[0], 1000), 0);
	assert_int_equal(tally_init(&parts[1], 1000), 0);
	for (unsigned i = 0; i < 400; i++, now_us += 10) {
		char body[16];

		tally = i % 3 ? parts[0] : parts[1];
		request(i % _KIND_COUNT, i % _OUTCOME_COUNT, now_us, now_us + i);
		snprintf(body, sizeof(body), "body %u", i % 5);
		tally_body(&tally, (uint32_t)tally.n_phases - 1, body, strlen(body));
		tally.retried += i % 7 == 0;
		tally.silent_open++;
		*(i % 3 ? &parts[0] : &parts[1]) = tally;

		tally = all;
		request(i % _KIND_COUNT, i % _OUTCOME_COUNT, now_us, now_us + i);
		tally_body(&tally, (uint32_t)tally.n_phases - 1, body, strlen(body));
		tally.retried += i % 7 == 0;
		tally.silent_open++;
		if (i == 100) {
			tally_swap_begin(&tally, now_us);
			tally_swap_begin(&parts[0], now_us);
			tally_swap_begin(&parts[1], now_us);
		} else if (i == 200) {
			tally_swap_end(&tally, now_us);
			tally_swap_end(&parts[0], now_us);
			tally_swap_end(&parts[1], now_us);
			tally_phase(&tally, "after", now_us);
			tally_phase(&parts[0], "after", now_us);
			tally_phase(&parts[1], "after", now_us);
		}
		all = tally;
	}
	tally_merge(&parts[0], &parts[1]);
	assert_memory_equal(parts[0].requests, all.requests, sizeof(all.requests));
	assert_memory_equal(parts[0].outcomes, all.outcomes, sizeof(all.outcomes));
	assert_memory_equal(parts[0].connections, all.connections, sizeof(all.connections));
	assert_memory_equal(&parts[0].inside, &all.inside, sizeof(all.inside));
	assert_memory_equal(&parts[0].outside, &all.outside, sizeof(all.outside));
	assert_int_equal(parts[0].lost_inside, all.lost_inside);
	assert_int_equal(parts[0].retried, all.retried);
	assert_int_equal(parts[0].silent_open, all.silent_open);
	assert_int_equal(parts[0].end_us, all.end_us);
	assert_int_equal(parts[0].n_errnos, 1);
	assert_int_equal(parts[0].errnos[0].count, all.errnos[0].count);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(parts[0].phases[i].connections, all.phases[i].connections);
		assert_int_equal(parts[0].phases[i].ok, all.phases[i].ok);
		assert_int_equal(parts[0].phases[i].lost, all.phases[i].lost);
		assert_int_equal(parts[0].phases[i].client_errors, all.phases[i].client_errors);
		assert_int_equal(parts[0].phases[i].n_bodies, 5);
	}
	for (size_t i = 0; i < 5; i++)
		for (size_t k = 0; k < 5; k++)
			if (strcmp(parts[0].phases[0].bodies[i].text,
				   all.phases[0].bodies[k].text) == 0)
				assert_int_equal(parts[0].phases[0].bodies[i].count,
						 all.phases[0].bodies[k].count);
	tally_done(&parts[0]);
	tally_done(&parts[1]);
}

static void test_tally_merged_is_bounded(void **state)
{
	struct tally other;
	char body[16];

	(void)state;
	assert_int_equal(tally_init(&other, 1000), 0);
	for (unsigned i = 0; i < TALLY_BODIES_MAX; i++) {
		snprintf(body, sizeof(body), "a %u", i);
		tally_body(&tally, 0, body, strlen(body));
		snprintf(body, sizeof(body), "b %u", i);
		tally_body(&other, 0, body, strlen(body));
		tally_sample(&tally, "a");
		tally_sample(&other, "b");
	}
	tally_body(&other, 0, "a 3", 3);
	tally_merge(&tally, &other);
	assert_int_equal(tally.phases[0].n_bodies, TALLY_BODIES_MAX);
	assert_int_equal(tally.phases[0].bodies[3].count, 1);
	assert_int_equal(tally.phases[0].other_bodies, TALLY_BODIES_MAX + 1);
	assert_int_equal(tally.n_samples, TALLY_SAMPLES_MAX);
	tally_done(&other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_tally_every_outcome_is_counted_once),
		TEST(test_tally_unfinished_request_is_under_way),
		TEST(test_tally_exit_status_says_the_worst),
		TEST(test_tally_every_loss_makes_status_one),
		TEST(test_tally_request_touching_a_swap_is_inside),
		TEST(test_tally_losses_inside_swaps_are_told_apart),
		TEST(test_tally_swap_out_of_order_is_refused),
		TEST(test_tally_swaps_are_bounded),
		TEST(test_tally_phases_are_checked_and_bounded),
		TEST(test_tally_bodies_belong_to_the_connections_phase),
		TEST(test_tally_distinct_bodies_are_bounded),
		TEST(test_tally_long_bodies_are_compared_by_their_beginning),
		TEST(test_tally_errors_are_kept_by_number),
		TEST(test_tally_samples_are_bounded),
		TEST(test_tally_merged_is_as_if_one_had_counted_all),
		TEST(test_tally_merged_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
