/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

#include "orchestrator/service/waiting_line.h"

#define N 6

static struct waiting_line line;
static struct turn turn[N];
static unsigned called[N]; /* how often it was worth another try */

static void on_turn(void *userdata)
{
	called[*(size_t *)userdata]++;
}

static int setup(void **state)
{
	static size_t index[N];

	(void)state;
	line = (struct waiting_line){.max = 2};
	for (size_t k = 0; k < N; k++) {
		index[k] = k;
		called[k] = 0;
		turn[k] = (struct turn){.on_turn = on_turn, .userdata = &index[k]};
	}
	return 0;
}

static bool ask(size_t k)
{
	waiting_line_ask(&line, &turn[k]);
	return waiting_line_take(&line, &turn[k]);
}

static void test_waiting_line_no_more_than_max_are_taken(void **state)
{
	(void)state;
	assert_true(ask(0));
	assert_true(ask(1));
	assert_true(ask(1)); /* it is taken already */
	assert_int_equal(line.taken, 2);
	assert_false(waiting_line_is_free(&line, &turn[2]));
	assert_false(ask(2));
	assert_int_equal(line.taken, 2);
	assert_true(waiting_line_is_free(&line, &turn[1]));
}

static void test_waiting_line_without_a_limit_all_are_taken(void **state)
{
	(void)state;
	line.max = 0;
	for (size_t k = 0; k < N; k++)
		assert_true(ask(k));
	assert_int_equal(line.taken, N);
}

static void test_waiting_line_the_first_who_asked_is_called_first(void **state)
{
	(void)state;
	for (size_t k = 0; k < N; k++)
		ask(k);
	waiting_line_end(&line, &turn[1]);
	assert_int_equal(called[2], 1);
	assert_int_equal(called[3], 0);
	/* Another one that tries does not overtake. */
	assert_false(ask(3));
	assert_false(waiting_line_is_free(&line, &turn[1]));
	assert_true(ask(2));
	assert_int_equal(called[3], 0);
	/* The one that has ended asks anew: it is the last. */
	assert_false(ask(1));
	waiting_line_end(&line, &turn[0]);
	waiting_line_end(&line, &turn[2]);
	assert_true(ask(3));
	assert_int_equal(called[4], 1);
	assert_true(ask(4));
	waiting_line_end(&line, &turn[3]);
	assert_true(ask(5));
	waiting_line_end(&line, &turn[4]);
	assert_int_equal(called[1], 1);
	assert_true(ask(1));
}

/* Of two places that are free at once both are called, one after the other. */
static void test_waiting_line_who_takes_a_turn_calls_the_next(void **state)
{
	(void)state;
	for (size_t k = 0; k < 4; k++)
		ask(k);
	waiting_line_end(&line, &turn[0]);
	waiting_line_end(&line, &turn[1]);
	assert_int_equal(called[3], 0);
	assert_true(ask(2));
	assert_int_equal(called[3], 1);
	assert_true(ask(3));
}

static void test_waiting_line_who_steps_back_hinders_nobody_and_keeps_its_number(void **state)
{
	(void)state;
	for (size_t k = 0; k < 5; k++)
		ask(k);
	waiting_line_step_back(&line, &turn[2]);
	waiting_line_end(&line, &turn[0]);
	assert_int_equal(called[2], 0);
	assert_true(ask(3));
	/* Back in the line, before the one that asked later. */
	assert_false(ask(2));
	waiting_line_end(&line, &turn[1]);
	assert_false(ask(4));
	assert_true(ask(2));
	/* It has taken its turn, and gives it back. */
	waiting_line_step_back(&line, &turn[2]);
	assert_int_equal(line.taken, 1);
	assert_true(ask(4));
}

static void test_waiting_line_the_number_can_change(void **state)
{
	(void)state;
	for (size_t k = 0; k < N; k++)
		ask(k);
	waiting_line_set_max(&line, 1);
	waiting_line_end(&line, &turn[0]);
	assert_int_equal(called[2], 0);
	waiting_line_set_max(&line, 3);
	assert_int_equal(called[2], 1);
	assert_true(ask(2));
	assert_true(ask(3));
	assert_false(ask(4));
	waiting_line_set_max(&line, 0);
	assert_true(ask(4));
	assert_true(ask(5));
}

static void test_waiting_line_who_waits_can_leave_from_any_place(void **state)
{
	(void)state;
	for (size_t k = 0; k < N; k++)
		ask(k);
	waiting_line_end(&line, &turn[5]);
	waiting_line_end(&line, &turn[2]);
	waiting_line_end(&line, &turn[2]);
	assert_ptr_equal(line.first, &turn[3]);
	assert_ptr_equal(line.end, &turn[4]);
	waiting_line_end(&line, &turn[3]);
	waiting_line_end(&line, &turn[4]);
	assert_null(line.first);
	assert_null(line.end);
	assert_int_equal(line.taken, 2);
}

/* Whatever happens: no more than the limit are taken, the line is in order, and nobody is stuck. */
static void test_waiting_line_random(void **state)
{
	(void)state;
	srandom(14);
	for (unsigned step = 0; step < 200000; step++) {
		size_t k = (size_t)random() % N, n_taken = 0;
		uint64_t last = 0;

		switch (random() % 4) {
		case 0:
		case 1:
			ask(k);
			break;
		case 2:
			waiting_line_end(&line, &turn[k]);
			break;
		default:
			waiting_line_step_back(&line, &turn[k]);
			break;
		}
		for (size_t j = 0; j < N; j++)
			n_taken += turn[j].taken;
		assert_int_equal(n_taken, line.taken);
		assert_true(line.taken <= line.max);
		for (const struct turn *t = line.first; t; t = t->after) {
			assert_true(t->waits && !t->taken && t->number > last);
			last = t->number;
		}
		if (line.first && line.taken < line.max)
			assert_true(waiting_line_is_free(&line, line.first));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_waiting_line_no_more_than_max_are_taken, setup),
		cmocka_unit_test_setup(test_waiting_line_without_a_limit_all_are_taken, setup),
		cmocka_unit_test_setup(test_waiting_line_the_first_who_asked_is_called_first,
				       setup),
		cmocka_unit_test_setup(test_waiting_line_who_takes_a_turn_calls_the_next, setup),
		cmocka_unit_test_setup(
			test_waiting_line_who_steps_back_hinders_nobody_and_keeps_its_number,
			setup),
		cmocka_unit_test_setup(test_waiting_line_the_number_can_change, setup),
		cmocka_unit_test_setup(test_waiting_line_who_waits_can_leave_from_any_place, setup),
		cmocka_unit_test_setup(test_waiting_line_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
