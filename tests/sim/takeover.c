/* SPDX-License-Identifier: BSD-2-Clause */
/* A new daemon: what orchestrator/service/ does with what an earlier one has left. */
#include <string.h>

#include "tests/sim/sim.h"

static bool could_serve(const struct world *w, const struct node *n)
{
	return !w->is_stopped && n->passed && (n->named || n->backup) && !n->told_leave &&
	       !n->told_stop && n->agent_alive && n->agent.state != AGENT_FAILED;
}

/* The one that was noted as serving, else the oldest of those that the table names. */
static struct generation *find_current(struct world *w)
{
	uint32_t oldest = 0;

	for_each_used (n, w) {
		if (!could_serve(w, n))
			continue;
		if (n->generation == w->serving)
			return service_generation(w, w->serving);
		if (oldest == 0 || n->generation < oldest)
			oldest = n->generation;
	}
	return oldest ? service_generation(w, oldest) : NULL;
}

/* It finds agents, and what they say. */
static void see_anew(struct world *w)
{
	world_forget_runs(w);
	daemon_forget(w);
	w->shares = (struct run_shares){};
	w->stalled_ms = 0;
	w->quitting = false;
	w->retry_ms = w->heal_ms = NEVER;
	for (size_t k = 0; k < GENERATIONS_MAX; k++)
		w->generations[k].instances.n = 0;
	for_each_used (n, w) {
		struct generation *g = service_generation(w, n->generation);

		if (!n->agent_alive) {
			node_kill(w, n);
			node_free(n);
			continue;
		}
		node_see_anew(n, g);
		instances_add(&g->instances, n->instance);
	}
}

/* Those that were told to be steady, or all that the table names if none was. */
static bool find_staying(struct world *w)
{
	bool any_steady = false, any = false;

	for_each_used (n, w)
		any_steady |= could_serve(w, n) && n->generation == w->serving && n->steady;
	for_each_used (n, w) {
		n->leftover = !could_serve(w, n) || n->generation != w->serving ||
			      (any_steady && !n->steady);
		if (n->leftover)
			continue;
		any = true;
		n->instance->role = INSTANCE_IN;
	}
	return any;
}

void service_take_over(struct world *w)
{
	bool had_live = false;

	for_each_used (n, w)
		had_live |= n->instance->role == INSTANCE_IN && n->named && n->agent_alive &&
			    n->agent.state != AGENT_FAILED;
	see_anew(w);
	w->current = find_current(w);
	w->serving = w->current ? w->current->number : 0;
	if (!find_staying(w)) {
		if (had_live && !w->is_stopped)
			world_fail(w, "the new daemon finds nobody who can serve");
		w->all_died = true;
	}
	service_publish(w);
	for_each_used (n, w) {
		if (n->leftover)
			continue;
		instance_steady(n->instance, true);
		instance_check(n->instance);
	}
	service_drop_generations(w);
}

/* All that is left over of one generation. */
static void retire(struct world *w, struct generation *g)
{
	cleanup(instances_done) struct instances goes = {};

	for_each_instance (n, &g->instances)
		if (n->leftover)
			instances_add(&goes, n->instance);
	if (!service_begin(
		    w, &(struct run_plan){
			       .order = RUN_ORDER_RETIRE, .old = g, .goes = &goes, .retire = true}))
		return;
	for_each_instance (n, &goes)
		n->leftover = false;
}

void service_retire(struct world *w)
{
	for_each_used (n, w)
		if (n->leftover)
			retire(w, service_generation(w, n->generation));
}
