/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>

#include "tests/sim/sim.h"

/* splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
uint64_t hash_of(uint64_t seed, uint64_t who, uint64_t what)
{
	uint64_t z = seed + who * 0x9e3779b97f4a7c15 + what * 0xd1342543de82ef95;

	for (int n = 0; n < 2; n++) {
		z += 0x9e3779b97f4a7c15;
		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
		z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
		z ^= z >> 31;
	}
	return z;
}

struct dice {
	uint64_t seed, n;
};

static uint32_t roll(struct dice *dice, uint32_t sides)
{
	return (uint32_t)(hash_of(dice->seed, dice->n++, 1) % sides);
}

static const struct {
	const char *name;
	uint32_t weight; /* how often, among all */
} ops[_OP_COUNT] = {
	[OP_RESTART] = {"restart", 22},
	[OP_SCALE] = {"scale", 6},
	[OP_STOP] = {"stop", 2},
	[OP_START] = {"start", 4},
	[OP_ABORT] = {"abort", 9},
	[OP_PROMOTE] = {"promote", 14},
	[OP_QUIT] = {"quit", 2},
	[OP_CRASH] = {"crash", 8},
	[OP_CRASH_SIDE] = {"crash-side", 5},
	[OP_HANG] = {"hang", 3},
	[OP_SICK] = {"sick", 6},
	[OP_WELL] = {"well", 4},
	[OP_KILL_AGENT] = {"kill-agent", 4},
	[OP_HANG_AGENT] = {"hang-agent", 2},
	[OP_FAIL_PUBLISH] = {"fail-publish", 8},
	[OP_CLOCK] = {"clock", 2},
	[OP_DAEMON] = {"daemon", 3},
	[OP_STALL] = {"stall", 4},
};

const char *op_name(enum op_type type)
{
	return ops[type].name;
}

static enum op_type draw_type(struct dice *dice)
{
	uint32_t all = 0, n;

	for (int k = 0; k < _OP_COUNT; k++)
		all += ops[k].weight;
	n = roll(dice, all);
	for (int k = 0; k < _OP_COUNT; k++) {
		if (n < ops[k].weight)
			return (enum op_type)k;
		n -= ops[k].weight;
	}
	return OP_RESTART;
}

static uint32_t draw_arg(struct dice *dice, enum op_type type)
{
	switch (type) {
	case OP_RESTART:
		return roll(dice, 2) ? 0 : 1 + roll(dice, WANTED_MAX);
	case OP_SCALE:
		return 1 + roll(dice, WANTED_MAX);
	case OP_FAIL_PUBLISH:
		return 1 + roll(dice, 2);
	case OP_CLOCK:
		return 1 + roll(dice, 100000);
	case OP_STALL:
		return 1 + roll(dice, 1500);
	default:
		return roll(dice, INSTANCES_MAX);
	}
}

static void draw_steps(struct dice *dice, struct rollout_config *p)
{
	uint32_t weight = 0;

	p->n_steps = 0;
	for (uint32_t n = roll(dice, 4); n > 0 && weight < 99; n--) {
		weight += 1 + roll(dice, 99 - weight);
		p->steps[p->n_steps++] = (struct rollout_weight){
			.weight = weight,
			.manual = roll(dice, 3) == 0,
			.dwell_ms = roll(dice, 500),
		};
	}
	p->steps[p->n_steps++] = (struct rollout_weight){.weight = 100};
}

static void draw_rollout(struct dice *dice, struct rollout_config *p)
{
	*p = (struct rollout_config){
		.strategy = (enum rollout_strategy)roll(dice, 4),
		.max_surge = roll(dice, 4),
		.max_unavailable = roll(dice, 4),
		.promote_timeout_ms = 2000,
		.settle_timeout_ms = 100,
		.bake_ms = roll(dice, 2) ? roll(dice, 2000) : 0,
	};
	draw_steps(dice, p);
}

static void draw_policy(struct dice *dice, struct plan *plan)
{
	draw_rollout(dice, &plan->rollout);
	plan->gates = roll(dice, 3) ? roll(dice, 8) : 0;
	plan->before_start = roll(dice, 4) == 0;
	plan->stays[0] = roll(dice, 5) == 0;
	plan->stays[1] = roll(dice, 5) == 0;
	plan->joins_at_once = roll(dice, 5) == 0;
	plan->counted = roll(dice, 2);
	plan->force = roll(dice, 3) == 0;
	plan->idle_timeout_ms = roll(dice, 2) ? 200 : 0;
	plan->delay_auto = roll(dice, 3) > 0;
	plan->delay_ms = roll(dice, 3) ? roll(dice, 300) : 0;
	/* Both are refused: nobody stands by, and all clients would wait. */
	if (plan->rollout.strategy == ROLLOUT_STOP_FIRST) {
		plan->rollout.bake_ms = 0;
		plan->gates = 0;
	}
	/* That is refused: there are no shares without tables. */
	if (plan->joins_at_once && plan->rollout.strategy == ROLLOUT_CANARY)
		plan->rollout.strategy = ROLLOUT_BLUE_GREEN;
}

void plan_draw(struct plan *plan, uint64_t seed)
{
	struct dice dice = {.seed = seed};
	uint64_t at_ms = 1500;

	*plan = (struct plan){
		.seed = seed,
		.n_first = 1 + roll(&dice, WANTED_MAX),
		.trouble = roll(&dice, 3) * roll(&dice, 16),
		.restarts =
			{
				.restart_max = roll(&dice, 2) ? roll(&dice, 5) : 0,
				.restart_window_ms = roll(&dice, 2) ? 20000 : 0,
				.restart_delay_ms = 1 + roll(&dice, 300),
				.restart_delay_max_ms = 1000,
			},
	};
	draw_policy(&dice, plan);
	plan->n_ops = 1 + roll(&dice, OPS_MAX);
	for (size_t k = 0; k < plan->n_ops; k++) {
		struct op *op = &plan->ops[k];

		op->type = k == 0 ? OP_RESTART : draw_type(&dice);
		op->arg = draw_arg(&dice, op->type);
		op->at_ms = at_ms;
		/* Often in the midst of the last one, sometimes long after. */
		at_ms += roll(&dice, roll(&dice, 4) ? 300 : 6000);
	}
}

void plan_print(const struct plan *plan, FILE *out)
{
	const struct rollout_config *p = &plan->rollout;

	fprintf(out,
		"world %" PRIu64
		": %u instances, %s, max_surge %u, max_unavailable %u, bake %u ms, "
		"gates %u%s%s%s%s%s%s, delay %s%u ms, trouble %u%%\n",
		plan->seed, plan->n_first, rollout_strategy_name(p->strategy), p->max_surge,
		p->max_unavailable, (unsigned)p->bake_ms, plan->gates,
		plan->before_start ? ", before_start" : "", plan->stays[0] ? ", even stay" : "",
		plan->stays[1] ? ", odd stay" : "", plan->joins_at_once ? ", joins at once" : "",
		plan->counted ? ", counted" : "", plan->force ? ", force" : "",
		plan->delay_auto ? "auto " : "", (unsigned)plan->delay_ms, plan->trouble);
	for (size_t k = 0; p->strategy == ROLLOUT_CANARY && k < p->n_steps; k++)
		fprintf(out, "  step %zu: %u%%%s\n", k, p->steps[k].weight,
			p->steps[k].manual ? ", manual" : "");
	for (size_t k = 0; k < plan->n_ops; k++)
		fprintf(out, "  %" PRIu64 " ms: %s %u\n", plan->ops[k].at_ms,
			op_name(plan->ops[k].type), plan->ops[k].arg);
}
