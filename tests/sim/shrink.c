/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "tests/sim/sim.h"

#define ATTEMPTS_MAX 3000

/* But for the numbers: those of instances and rollouts change with the plan. */
static bool is_same(const char *a, const char *b)
{
	for (;;) {
		a += strspn(a, "0123456789");
		b += strspn(b, "0123456789");
		if (*a != *b)
			return false;
		if (*a++ == '\0')
			return true;
		b++;
	}
}

struct shrinking {
	struct plan *plan;
	const char *failure;
	unsigned attempts;
};

/* Takes @smaller if it fails likewise. */
static bool try(struct shrinking *s, const struct plan *smaller)
{
	char failure[256];

	if (memcmp(smaller, s->plan, sizeof(*smaller)) == 0 || s->attempts == ATTEMPTS_MAX)
		return false;
	s->attempts++;
	plan_run(smaller, false, failure, sizeof(failure));
	if (!failure[0] || !is_same(failure, s->failure))
		return false;
	*s->plan = *smaller;
	return true;
}

/* @n operations from @first on are left out. */
static bool try_without(struct shrinking *s, size_t first, size_t n)
{
	struct plan p = *s->plan;

	if (first + n > p.n_ops)
		return false;
	memmove(p.ops + first, p.ops + first + n, (p.n_ops - first - n) * sizeof(p.ops[0]));
	p.n_ops -= n;
	memset(p.ops + p.n_ops, 0, n * sizeof(p.ops[0]));
	return try(s, &p);
}

static bool drop_operations(struct shrinking *s)
{
	bool any = false;

	for (size_t n = OPS_MAX / 2; n > 0; n /= 2)
		for (size_t first = s->plan->n_ops; first > 0; first--)
			any |= try_without(s, first - 1, n);
	return any;
}

static bool simplify(struct shrinking *s)
{
	bool any = false;
	struct plan p;

#define TRY(field, value) (p = *s->plan, p.field = (value), any |= try(s, &p))
	for (uint32_t n = 1; n < s->plan->n_first; n++)
		TRY(n_first, n);
	TRY(trouble, 0);
	TRY(gates, 0);
	TRY(before_start, false);
	TRY(rollout.bake_ms, 0);
	TRY(stays[0], false);
	TRY(delay_ms, 0);
	TRY(stays[1], false);
	TRY(joins_at_once, false);
	TRY(counted, false);
	TRY(force, false);
	TRY(idle_timeout_ms, 0);
	TRY(rollout.strategy, ROLLOUT_BLUE_GREEN);
	TRY(rollout.max_surge, 1);
	TRY(rollout.max_unavailable, 0);
	TRY(restarts.restart_max, 0);
	for (size_t k = 0; k < s->plan->n_ops; k++)
		for (uint32_t arg = 0; arg < 2 && arg < s->plan->ops[k].arg; arg++)
			TRY(ops[k].arg, arg);
#undef TRY
	return any;
}

void plan_shrink(struct plan *plan, const char *failure)
{
	struct shrinking s = {.plan = plan, .failure = failure};

	while (drop_operations(&s) || simplify(&s))
		;
}
