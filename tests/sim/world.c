/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "tests/sim/sim.h"

static struct world *world;

struct world *world_now(void)
{
	return world;
}

/* ---- what happens next ---------------------------------------------------------------------- */

struct next {
	uint64_t at_ms;
	struct node *node;
	enum due due;
	bool daemon, service, wakes;
	const struct op *op;
};

static void earliest_of_nodes(struct world *w, struct next *next)
{
	for_each_used (n, w)
		for (int due = 0; due < _DUE_COUNT; due++)
			if (n->due_ms[due] < next->at_ms)
				*next = (struct next){
					.at_ms = n->due_ms[due], .node = n, .due = (enum due)due};
}

/* A daemon that is held up does it later. */
static uint64_t not_before(const struct world *w, uint64_t at_ms)
{
	return at_ms < w->stalled_ms ? w->stalled_ms : at_ms;
}

static struct next earliest(struct world *w)
{
	struct next next = {.at_ms = NEVER};
	uint64_t at_ms;

	if (w->next_op < w->plan->n_ops) {
		next.op = &w->plan->ops[w->next_op];
		next.at_ms = next.op->at_ms;
	}
	earliest_of_nodes(w, &next);
	at_ms = not_before(w, daemon_due(w));
	if (at_ms < next.at_ms)
		next = (struct next){.at_ms = at_ms, .daemon = true};
	at_ms = not_before(w, service_due(w));
	if (at_ms < next.at_ms)
		next = (struct next){.at_ms = at_ms, .service = true};
	if (w->stalled_ms > 0 && w->stalled_ms < next.at_ms)
		next = (struct next){.at_ms = w->stalled_ms, .wakes = true};
	return next;
}

static void happen(struct world *w, const struct next *next)
{
	if (w->stalled_ms > 0 && w->now_ms >= w->stalled_ms) {
		w->stalled_ms = 0;
		w->woke_ms = w->now_ms;
	}
	if (next->op) {
		w->next_op++;
		operators_do(w, next->op);
	} else if (next->node) {
		node_happen(w, next->node, next->due);
	} else if (next->daemon) {
		daemon_happen(w);
	} else if (next->service) {
		service_tick(w);
	}
}

/* It looks when there is nothing else to do; sometimes there is. */
static bool is_time_to_look(struct world *w)
{
	if (w->stalled_ms > 0)
		return false;
	return earliest(w).at_ms > w->now_ms || hash_of(w->plan->seed, w->steps, 3) % 4 != 0;
}

bool world_step(struct world *w)
{
	struct next next = earliest(w);

	if (next.at_ms == NEVER)
		for_each_run (run, w)
			world_fail(w, "rollout %u waits for nothing", run->id);
	if (next.at_ms == NEVER)
		return false;
	if (next.at_ms > w->now_ms)
		w->now_ms = next.at_ms;
	happen(w, &next);
	w->steps++;
	for_each_used (n, w)
		node_judge(n);
	if (is_time_to_look(w)) {
		service_look(w);
		invariants_of_table(w);
		for_each_run (run, w)
			invariants_of_look(w, run);
	}
	invariants_of_world(w);
	return true;
}

void world_forget_runs(struct world *w)
{
	for (size_t k = 0; k < sizeof(w->runs) / sizeof(w->runs[0]); k++)
		run_done(&w->runs[k]);
}

void world_done(struct world *w)
{
	world_forget_runs(w);
	for (size_t k = 0; k < GENERATIONS_MAX; k++)
		instances_done(&w->generations[k].instances);
}

void world_init(struct world *w, const struct plan *plan, bool tracing)
{
	world = w;
	memset(w, 0, sizeof(*w));
	w->plan = plan;
	w->tracing = tracing;
	w->now_ms = 1;
	w->next_serial = w->next_generation = w->next_run = 1;
	w->retry_ms = w->heal_ms = NEVER;
	w->is_stopped = true;
	service_init(w);
	service_start(w, plan->n_first);
	service_look(w);
}
