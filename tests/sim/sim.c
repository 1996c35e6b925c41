/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

/* A service that fails again and again is watched for so long after its last order. */
#define AFTERMATH_MS    60000
#define WORLD_STEPS_MAX 20000

/* ---- one world ------------------------------------------------------------------------------ */

static bool is_over(struct world *w)
{
	const struct plan *plan = w->plan;
	uint64_t last_ms = plan->n_ops > 0 ? plan->ops[plan->n_ops - 1].at_ms : 0;

	if (w->next_op < plan->n_ops)
		return false;
	/* What was begun in the meantime comes to its end, too. */
	for_each_run (run, w)
		if (watch_of(run)->begun_ms <= last_ms + AFTERMATH_MS)
			return false;
	return true;
}

static sigjmp_buf ended;

/* Nothing needs to be put in order: the next world begins with new memory. */
void world_leave(void)
{
	siglongjmp(ended, 1);
}

static void on_abort(int signal)
{
	(void)signal;
	world_fail(world_now(), "an assertion does not hold");
}

uint64_t plan_run(const struct plan *plan, bool tracing, char *ret_failure, size_t size)
{
	static struct world world;
	struct sigaction action = {.sa_handler = on_abort}, before;

	sigaction(SIGABRT, &action, &before);
	if (sigsetjmp(ended, 1) == 0) {
		world_init(&world, plan, tracing);
		while (!is_over(&world) && world_step(&world))
			if (world.steps == WORLD_STEPS_MAX)
				world_fail(&world, "the world does not come to its end");
	}
	sigaction(SIGABRT, &before, NULL);
	world_done(&world);
	snprintf(ret_failure, size, "%s", world.failure);
	return world.steps;
}

/* ---- many ----------------------------------------------------------------------------------- */

static void report(struct plan *plan, const char *failure)
{
	char again[256];

	fprintf(stderr, "simulate: seed %" PRIu64 ": %s\n", plan->seed, failure);
	plan_shrink(plan, failure);
	fprintf(stderr, "The least that fails likewise:\n");
	plan_print(plan, stderr);
	plan_run(plan, true, again, sizeof(again));
	fprintf(stderr, "Again: make simulate SEED=%" PRIu64 " STEPS=1\n", plan->seed);
}

int sim_run(uint64_t seed, uint64_t steps)
{
	struct plan plan;
	char failure[256];

	for (uint64_t n = 0; n < steps; seed++) {
		plan_draw(&plan, seed);
		n += 1 + plan_run(&plan, false, failure, sizeof(failure));
		if (failure[0] != '\0') {
			report(&plan, failure);
			return -1;
		}
	}
	return 0;
}
