/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/sim/sim.h"

static const struct {
	enum rollout_state from;
	enum rollout_event event;
	enum rollout_state to;
} known[] = {
#define T(from, event, to) {ROLLOUT_##from, ROLLOUT_##event, ROLLOUT_##to},
#include "tests/model/transitions.h"
#undef T
};

#define N_KNOWN (sizeof(known) / sizeof(known[0]))

static uint64_t taken[N_KNOWN];
static uint16_t first[_ROLLOUT_STATE_COUNT][_ROLLOUT_EVENT_COUNT][_ROLLOUT_STATE_COUNT];

static void build_index(void)
{
	for (size_t k = 0; k < N_KNOWN; k++)
		first[known[k].from][known[k].event][known[k].to] = (uint16_t)(k + 1);
}

bool coverage_note(enum rollout_state from, enum rollout_event event, enum rollout_state to)
{
	uint16_t k;

	if (!first[known[0].from][known[0].event][known[0].to])
		build_index();
	k = first[from][event][to];
	if (k == 0)
		return false;
	taken[k - 1]++;
	return true;
}

size_t coverage_print(FILE *out)
{
	size_t never = 0;

	for (size_t k = 0; k < N_KNOWN; k++) {
		if (taken[k] == 0) {
			never++;
			continue;
		}
		if (out)
			fprintf(out, "taken %zu %s %s %s %llu\n", k,
				rollout_state_name(known[k].from),
				rollout_event_name(known[k].event), rollout_state_name(known[k].to),
				(unsigned long long)taken[k]);
	}
	return never;
}
