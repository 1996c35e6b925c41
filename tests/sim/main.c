/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simulate: runs random worlds until so many steps are done.
 *
 *	simulate [--steps N] [--seed N] [--transitions]
 *
 * Without a seed it takes one from the clock, and prints it. The exit status is 1 if an
 * invariant did not hold. --transitions prints which of tests/model/transitions.h were taken.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/sim.h"

static uint64_t fresh_seed(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return hash_of((uint64_t)now.tv_sec, (uint64_t)now.tv_nsec, 0) >> 16;
}

/* "10000000"; false: it is no number. */
static bool read_number(const char *text, uint64_t *ret)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	*ret = strtoull(text, &end, 10);
	return *end == '\0';
}

static int usage(void)
{
	fprintf(stderr, "usage: simulate [--steps N] [--seed N] [--transitions]\n");
	return 2;
}

int main(int argc, char **argv)
{
	uint64_t steps = 10000000, seed = fresh_seed();
	bool transitions = false;
	size_t never;

	for (int k = 1; k < argc; k++) {
		if (strcmp(argv[k], "--transitions") == 0)
			transitions = true;
		else if (strcmp(argv[k], "--steps") == 0 && read_number(argv[k + 1], &steps))
			k++;
		else if (strcmp(argv[k], "--seed") == 0 && read_number(argv[k + 1], &seed))
			k++;
		else
			return usage();
	}
	printf("simulate: %" PRIu64 " steps, seed %" PRIu64 "\n", steps, seed);
	fflush(stdout);
	if (sim_run(seed, steps) < 0)
		return 1;
	never = coverage_print(transitions ? stdout : NULL);
	printf("simulate: all invariants held; %zu transitions were never taken\n", never);
	return 0;
}
