/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "tests/sim/sim.h"

#define RETRY_MS 1000
#define HEAL_MS  500

/* ---- the table ------------------------------------------------------------------------------ */

static bool is_backup(const struct world *w, const struct instance *i)
{
	return i->victim && !i->unnamed && i->served && !w->runs[i->run].machine.retire;
}

bool service_publish(struct world *w)
{
	w->table_is_old = w->failing_publishes > 0;
	if (w->table_is_old) {
		trace(w, "the table cannot be published");
		w->failing_publishes--;
		w->retry_ms = w->now_ms + RETRY_MS;
		return false;
	}
	w->retry_ms = NEVER;
	w->table_is_holed = false;
	for_each_used (i, w) {
		i->named = i->serves;
		i->backup = is_backup(w, i);
		if (i->named)
			w->has_been_up = true, w->all_died = false;
	}
	return true;
}

/* ---- rollouts ------------------------------------------------------------------------------- */

struct run *service_busy(struct world *w)
{
	for_each_run (run, w)
		if (!run->decided)
			return run;
	return NULL;
}

/* Nobody is replaced or removed while the table does not name all who serve. */
static bool can_take_orders(struct world *w)
{
	return !w->is_stopped && !w->quitting && !w->table_is_old && !service_busy(w);
}

static bool is_free(const struct instance *i)
{
	return i->used && i->run < 0 && i->serves;
}

/* How many serve, and take part in no rollout. */
uint32_t service_count(const struct world *w)
{
	uint32_t n = 0;

	for (size_t k = 0; k < INSTANCES_MAX; k++)
		n += is_free(&w->instances[k]);
	return n;
}

static uint32_t count_all(const struct world *w)
{
	uint32_t n = 0;

	for (size_t k = 0; k < INSTANCES_MAX; k++)
		n += w->instances[k].used;
	return n;
}

/* A slot for a rollout, unless there is too much about already. */
static struct run *get_run(struct world *w)
{
	struct run *run = run_new(w);

	if (!run || count_all(w) + 3 * WANTED_MAX + 3 > INSTANCES_MAX)
		return NULL;
	*run = (struct run){0};
	return run;
}

/* The last ones first: they are the youngest. Returns how many there were to take. */
static uint32_t take(struct world *w, struct run *run, uint32_t n)
{
	uint32_t taken = 0;

	for (size_t k = INSTANCES_MAX; k > 0 && taken < n; k--) {
		struct instance *i = &w->instances[k - 1];

		if (!is_free(i))
			continue;
		i->run = run_index(w, run);
		i->side = ROLLOUT_OLD;
		i->served = true;
		taken++;
	}
	return taken;
}

void service_release(struct world *w, struct run *run)
{
	for_each_used (i, w) {
		if (i->run != run_index(w, run) || i->victim || !i->serves)
			continue;
		i->run = -1;
		instance_steady(w, i, true);
	}
}

static void launch(struct world *w, uint32_t generation, uint32_t n)
{
	struct run *run = get_run(w);

	if (!run)
		return;
	run->generation[ROLLOUT_NEW] = generation;
	run_begin(w, run, &w->plan->policy, 0, n, false);
}

static void retire(struct world *w, struct instance *one)
{
	struct run *run = get_run(w);
	uint32_t n = 0;

	if (!run)
		return;
	for_each_used (i, w)
		if (one ? i == one : i->run < 0 && !i->serves) {
			i->run = run_index(w, run);
			i->side = ROLLOUT_OLD;
			n++;
		}
	if (n > 0)
		run_begin(w, run, &w->plan->policy, n, 0, true);
}

/* ---- orders --------------------------------------------------------------------------------- */

void service_replace(struct world *w, uint32_t n_new)
{
	uint32_t n = service_count(w);
	struct run *run;

	if (!can_take_orders(w) || n == 0)
		return;
	run = get_run(w);
	if (!run)
		return;
	run->generation[ROLLOUT_OLD] = w->current;
	run->generation[ROLLOUT_NEW] = w->next_generation++;
	take(w, run, n);
	run_begin(w, run, &w->plan->policy, n, n_new ? n_new : w->wanted, false);
}

void service_scale(struct world *w, uint32_t n)
{
	uint32_t count = service_count(w);
	struct run *run;

	if (!can_take_orders(w) || count == 0)
		return;
	w->wanted = n;
	if (n > count) {
		launch(w, w->current, n - count);
	} else if (n < count) {
		run = get_run(w);
		if (run)
			run_begin(w, run, &w->plan->policy, take(w, run, count - n), 0, false);
	}
}

void service_start(struct world *w, uint32_t n)
{
	if (!w->is_stopped || service_busy(w))
		return;
	w->is_stopped = w->quitting = w->has_been_up = w->all_died = false;
	w->wanted = n;
	w->current = w->next_generation++;
	launch(w, w->current, n);
}

static void end_all(struct world *w)
{
	uint32_t n = service_count(w);
	struct run *run = n > 0 ? get_run(w) : NULL;

	if (n > 0 && !run)
		return;
	w->is_stopped = true;
	w->quitting = false;
	if (run) {
		take(w, run, n);
		run_begin(w, run, &w->plan->policy, n, 0, false);
	}
}

void service_stop(struct world *w)
{
	if (!w->is_stopped && !service_busy(w))
		end_all(w);
}

/* What is under way is cut short first. */
void service_quit(struct world *w)
{
	if (w->is_stopped)
		return;
	w->quitting = true;
	for_each_run (run, w)
		run_feed(w, run, ROLLOUT_QUIT);
}

/* ---- a new daemon --------------------------------------------------------------------------- */

static bool can_serve(const struct world *w, const struct instance *i)
{
	return !w->is_stopped && i->passed && (i->named || i->backup) && !i->told_leave &&
	       !i->told_stop && i->agent_alive && i->agent.state != AGENT_FAILED;
}

/* The one that was noted as serving, else the oldest of those that the table names. */
static uint32_t find_current(struct world *w)
{
	uint32_t oldest = 0;

	for_each_used (i, w) {
		if (!can_serve(w, i))
			continue;
		if (i->generation == w->current)
			return w->current;
		if (oldest == 0 || i->generation < oldest)
			oldest = i->generation;
	}
	return oldest;
}

void service_take_over(struct world *w)
{
	uint32_t current = find_current(w);
	bool had_live = false;

	memset(w->runs, 0, sizeof(w->runs));
	w->quitting = false;
	w->retry_ms = w->heal_ms = NEVER;
	for_each_used (i, w) {
		had_live |=
			i->serves && i->named && i->agent_alive && i->agent.state != AGENT_FAILED;
		i->run = -1;
		i->serves = current != 0 && can_serve(w, i) && i->generation == current;
		i->served |= i->serves;
		i->batch = i->victim = i->unnamed = false;
		if (i->serves)
			instance_steady(w, i, true);
	}
	if (had_live && current == 0 && !w->is_stopped)
		world_fail(w, "the new daemon finds nobody who can serve");
	if (current != 0)
		w->current = current;
	else
		w->all_died = true;
	service_publish(w);
	retire(w, NULL);
}

/* ---- looking after those that serve --------------------------------------------------------- */

static void remove_failed(struct world *w)
{
	bool changed = false, any = false;

	for_each_used (i, w) {
		if (i->run >= 0 || !i->serves || !instance_has_failed(i)) {
			any |= i->serves;
			continue;
		}
		trace_instance(w, i, "has failed for good");
		w->table_is_holed |= i->named;
		i->serves = false;
		changed = true;
	}
	if (!changed)
		return;
	service_publish(w);
	if (!any)
		w->all_died = true;
}

static void reap(struct world *w)
{
	for_each_used (i, w) {
		if (i->run >= 0 || i->serves)
			continue;
		if (i->lost || instance_is_gone(i)) {
			instance_kill(w, i);
			i->used = false;
		} else {
			retire(w, i);
		}
	}
}

void service_look(struct world *w)
{
	bool idle = !service_busy(w);

	remove_failed(w);
	reap(w);
	if (w->quitting && idle)
		end_all(w);
	if (!idle || w->is_stopped || w->quitting || service_count(w) >= w->wanted)
		w->heal_ms = NEVER;
	else if (w->heal_ms == NEVER)
		w->heal_ms = w->now_ms + HEAL_MS;
}

uint64_t service_due(const struct world *w)
{
	return w->retry_ms < w->heal_ms ? w->retry_ms : w->heal_ms;
}

void service_tick(struct world *w)
{
	uint32_t count = service_count(w);

	if (w->retry_ms <= w->now_ms) {
		service_publish(w);
		return;
	}
	w->heal_ms = NEVER;
	if (count == 0)
		w->current = w->next_generation++;
	if (count < w->wanted)
		launch(w, w->current, w->wanted - count);
}
