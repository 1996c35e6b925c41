/* SPDX-License-Identifier: BSD-2-Clause */
/* A short run of the simulator (tests/sim/sim.h); "make simulate" is the long one. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "tests/sim/sim.h"

#define STEPS 100000 /* of each of the two; 200,000 in all */

static void test_simulate_fixed_seed_keeps_the_invariants(void **state)
{
	(void)state;
	assert_int_equal(sim_run(20260412, STEPS), 0);
}

static void test_simulate_fresh_seed_keeps_the_invariants(void **state)
{
	struct timespec now;
	uint64_t seed;

	(void)state;
	clock_gettime(CLOCK_REALTIME, &now);
	seed = hash_of((uint64_t)now.tv_sec, (uint64_t)now.tv_nsec, 0) >> 16;
	print_message("seed %" PRIu64 "\n", seed);
	assert_int_equal(sim_run(seed, STEPS), 0);
}

/* What is drawn follows from the seed alone, and so does what comes of it. */
static void test_simulate_same_seed_takes_the_same_steps(void **state)
{
	struct plan one, two;
	char failure[256];

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		memset(&one, 1, sizeof(one));
		plan_draw(&one, seed);
		plan_draw(&two, seed);
		assert_int_equal(one.n_ops, two.n_ops);
		assert_memory_equal(one.ops, two.ops, one.n_ops * sizeof(one.ops[0]));
		assert_int_equal(plan_run(&one, false, failure, sizeof(failure)),
				 plan_run(&two, false, failure, sizeof(failure)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_simulate_fixed_seed_keeps_the_invariants),
		cmocka_unit_test(test_simulate_fresh_seed_keeps_the_invariants),
		cmocka_unit_test(test_simulate_same_seed_takes_the_same_steps),
	};

	return cmocka_run_group_tests_name("simulate", tests, NULL, NULL);
}
