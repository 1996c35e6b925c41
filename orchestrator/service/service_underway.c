/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/service/service_internal.h"
#include "orchestrator/service/underway.h"

/* ---- noting --------------------------------------------------------------------------------- */

/* What a takeover begins by itself the next one begins by itself, too. */
static bool is_worth_noting(const struct run *run)
{
	return service_run_is_used(run) && run->order != RUN_ORDER_RETIRE &&
	       run->order != RUN_ORDER_RESTORE;
}

static void note_run(const struct service *s, const struct run *run, struct underway *ret)
{
	const struct rollout *m = &run->machine;

	ret->id = run->id;
	ret->order = run->order;
	ret->generation = run->new_number;
	ret->replaces = run->old_number;
	ret->partial = run->partial;
	ret->quits = s->shutting_down;
	ret->shifted = m->shifted;
	ret->undone = m->outcome != ROLLOUT_DONE || m->turn != ROLLOUT_NO_CAUSE;
	ret->committed = m->committed;
	ret->instances_before = run->instances_before;
	ret->instances_wanted = run->instances_wanted;
	ret->began_ms = run->began_ms;
	ret->cut = run->cut;
	ret->cut_by_server = run->cut_by_server;
	ret->unexpected = run->unexpected;
	snprintf(ret->step, sizeof(ret->step), "%s", rollout_state_name(m->state));
	if (ret->undone)
		snprintf(ret->reason, sizeof(ret->reason), "%s", run->reason);
}

static void note_queued(const struct service_next *next, struct underway *ret)
{
	const struct order_call call = {.order = &next->order};

	ret->id = next->id;
	ret->order = order_purpose(&call);
	snprintf(ret->step, sizeof(ret->step), UNDERWAY_QUEUED);
}

static void list_all(const struct service *s, struct underway_list *ret)
{
	_Static_assert(SERVICE_RUNS_MAX + 1 < UNDERWAY_MAX, "all that can be under way fits");
	const struct underway_list *found = s->underway.found;

	ret->paused = s->hold.paused;
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (is_worth_noting(&s->runs[k]))
			note_run(s, &s->runs[k], &ret->list[ret->n++]);
	if (s->queue.next.used)
		note_queued(&s->queue.next, &ret->list[ret->n++]);
	for (size_t k = 0; found && k < found->n && ret->n < UNDERWAY_MAX; k++)
		ret->list[ret->n++] = found->list[k];
}

static bool any_worth_noting(const struct service *s)
{
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (is_worth_noting(&s->runs[k]))
			return true;
	return s->hold.paused || s->queue.next.used || s->underway.found;
}

static bool is_noted(const struct service *s, const struct underway_list *list)
{
	const struct underway_list *noted = s->underway.noted;

	return noted && noted->n == list->n && noted->paused == list->paused &&
	       memcmp(noted->list, list->list, list->n * sizeof(list->list[0])) == 0;
}

static void write_list(struct service *s, const struct underway_list *list)
{
	char path[PATHS_MAX];
	struct error err;
	int r;

	underway_path(&s->context->paths, service_id(s), path);
	r = underway_write(path, list, &err);
	if (r < 0 && !s->underway.failed)
		log_warning("%s: if batond died now, the next one could not tell how its rollouts "
			    "have ended: %s",
			    s->config->name, err.text);
	if (r == 0 && s->underway.failed)
		log_info("%s: %s can be written again", s->config->name, path);
	s->underway.failed = r < 0;
}

void service_note_underway(struct service *s)
{
	struct underway_list *list;

	if (!s->underway.noted && !any_worth_noting(s))
		return;
	list = calloc(1, sizeof(*list));
	if (!list)
		return;
	list_all(s, list);
	if (is_noted(s, list) && !s->underway.failed) {
		free(list);
		return;
	}
	write_list(s, list);
	free(s->underway.noted);
	s->underway.noted = list;
}

/* ---- finding -------------------------------------------------------------------------------- */

void service_recall_underway(struct service *s)
{
	struct underway_list *found = calloc(1, sizeof(*found));
	char path[PATHS_MAX];
	struct error err;

	if (!found)
		return;
	underway_path(&s->context->paths, service_id(s), path);
	if (underway_read(path, found, &err) < 0)
		log_warning("%s: %s", s->config->name, err.text);
	s->underway.was_paused = found->paused;
	s->underway.noted = found->n > 0 || found->paused ? calloc(1, sizeof(*found)) : NULL;
	if (s->underway.noted)
		*s->underway.noted = *found;
	if (found->n == 0) {
		free(found);
		return;
	}
	s->underway.found = found;
	for (size_t k = 0; k < found->n; k++) {
		const struct underway *u = &found->list[k];

		if (u->id > s->context->last_rollout)
			s->context->last_rollout = u->id;
		/* It is carried on, or has failed: till then the number before counts. */
		if (u->order == RUN_ORDER_SCALE && u->instances_before > 0)
			s->instances = u->instances_before;
	}
}

void service_describe_underway(const struct service *s, char *ret, size_t size)
{
	const struct underway_list *found = s->underway.found;
	size_t n = 0;

	ret[0] = '\0';
	for (size_t k = 0; found && k < found->n && n < size; k++)
		n += (size_t)snprintf(ret + n, size - n, "%srollout %u (%s), at step %s",
				      k ? "; " : "", found->list[k].id,
				      run_order_name(found->list[k].order), found->list[k].step);
}

/* ---- judging -------------------------------------------------------------------------------- */

static bool is_queued(const struct underway *u)
{
	return strcmp(u->step, UNDERWAY_QUEUED) == 0;
}

static enum rollout_outcome judge(const struct service *s, const struct underway *u)
{
	const struct generation *now = s->current;
	bool came;

	if (is_queued(u))
		came = false;
	else if (u->generation == 0)
		/* What was to go is gone, or not. */
		came = !u->partial && (!now || now->number != u->replaces);
	else if (u->partial)
		came = u->committed;
	else
		came = now ? now->number == u->generation ||
				       (u->committed && now->number > u->generation)
			   : u->committed;
	if (came)
		return ROLLOUT_DONE;
	return u->shifted ? ROLLOUT_ROLLED_BACK : ROLLOUT_FAILED;
}

static void describe_end(const struct underway *u, enum rollout_outcome outcome, char *ret,
			 size_t size)
{
	if (outcome == ROLLOUT_DONE)
		ret[0] = '\0';
	else if (u->reason[0])
		snprintf(ret, size, "%s", u->reason);
	else if (is_queued(u))
		snprintf(ret, size, "batond ended before it began");
	else
		snprintf(ret, size, "batond ended in the middle of step %s", u->step);
}

static void fill_end(const struct service *s, const struct underway *u, struct run_result *ret)
{
	*ret = (struct run_result){
		.id = u->id,
		.order = u->order,
		.outcome = judge(s, u),
		.partial = u->partial,
		.generation = u->generation,
		.replaces = u->replaces,
		.cut = u->cut,
		.cut_by_server = u->cut_by_server,
		.unexpected = u->unexpected,
		.began_ms = u->began_ms,
		.found = true,
	};
	snprintf(ret->step, sizeof(ret->step), "%s", u->step);
	describe_end(u, ret->outcome, ret->reason, sizeof(ret->reason));
}

/* The number that it was to set is not wanted any more. */
static void forget_scale(struct service *s, const struct underway *u)
{
	struct error err;

	if (u->order != RUN_ORDER_SCALE || u->instances_before == 0)
		return;
	if (state_set_instances(s->context->state, service_id(s), u->instances_before, &err) < 0)
		log_warning("%s: %s", s->config->name, err.text);
}

/* An order to stop, or to scale, that nothing has undone: it can begin once more as it was. */
static bool carry_on(struct service *s, const struct underway *u)
{
	bool stop = u->order == RUN_ORDER_STOP;
	bool scale = u->order == RUN_ORDER_SCALE && u->instances_wanted > 0;

	if (!s->current || s->queue.next.used || u->undone || u->quits || !(stop || scale))
		return false;
	s->queue.next = (struct service_next){
		.used = true,
		.order = {.type = stop ? SERVICE_ORDER_STOP : SERVICE_ORDER_SCALE,
			  .instances = scale ? u->instances_wanted : 0},
		.id = u->id,
	};
	return true;
}

static bool stops(const struct service *s, const struct underway *u)
{
	return u->order == RUN_ORDER_STOP && !u->quits && !s->current && !is_queued(u);
}

static void forget_found(struct service_underway *all)
{
	free(all->found);
	free(all->ends);
	all->found = NULL;
	all->ends = NULL;
	all->judged = false;
}

bool service_judge_underway(struct service *s)
{
	struct service_underway *all = &s->underway;
	struct underway_list *found = all->found;
	bool stopped = false;
	size_t kept = 0;

	if (!found || all->judged)
		return false;
	all->ends = calloc(found->n, sizeof(*all->ends));
	for (size_t k = 0; k < found->n; k++) {
		if (carry_on(s, &found->list[k]))
			continue;
		forget_scale(s, &found->list[k]);
		stopped |= stops(s, &found->list[k]);
		if (all->ends)
			fill_end(s, &found->list[k], &all->ends[kept]);
		found->list[kept++] = found->list[k];
	}
	found->n = kept;
	all->judged = true;
	all->until = s->context->last_rollout;
	if (kept == 0)
		forget_found(all);
	if (stopped)
		s->stopped = s->settled = true;
	service_poke(s);
	return stopped;
}

/* ---- the end -------------------------------------------------------------------------------- */

void service_count_underway(struct service *s, const struct run_result *result)
{
	struct service_underway *all = &s->underway;

	if (!all->judged || !all->ends || result->id > all->until)
		return;
	for (size_t k = 0; k < all->found->n; k++) {
		struct run_result *end = &all->ends[k];

		end->cut += result->cut;
		end->cut_by_server += result->cut_by_server;
		end->unexpected += result->unexpected;
		if (result->cut_why[0])
			memcpy(end->cut_why, result->cut_why, sizeof(end->cut_why));
	}
}

/* What stops first was left with nothing that serves: the start that waits, or runs, is its end. */
static bool is_starting(struct service *s)
{
	return s->config->rollout.strategy == ROLLOUT_STOP_FIRST && !s->current &&
	       (s->queue.next.used || service_undecided_run(s));
}

static bool is_busy(struct service *s)
{
	if (is_starting(s))
		return true;
	for (size_t k = 0; k < SERVICE_RUNS_MAX; k++)
		if (service_run_is_used(&s->runs[k]) && s->runs[k].id <= s->underway.until)
			return true;
	return false;
}

bool service_end_underway(struct service *s, struct run_result *ret)
{
	struct service_underway *all = &s->underway;
	struct run_serving serving;
	size_t last;

	if (!all->judged || is_busy(s))
		return false;
	if (all->found->n == 0 || !all->ends) {
		forget_found(all);
		return false;
	}
	/* The oldest first. */
	*ret = all->ends[0];
	last = --all->found->n;
	memmove(&all->ends[0], &all->ends[1], last * sizeof(all->ends[0]));
	memmove(&all->found->list[0], &all->found->list[1], last * sizeof(all->found->list[0]));
	service_who_serves(s, &serving);
	run_result_finish(ret, &serving);
	return true;
}

void service_underway_done(struct service *s, bool forget)
{
	if (forget && s->underway.noted)
		write_list(s, &(struct underway_list){});
	free(s->underway.noted);
	forget_found(&s->underway);
	s->underway.noted = NULL;
}
