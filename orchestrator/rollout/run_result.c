/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a rollout has ended.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/duration.h"
#include "common/exit_status.h"
#include "orchestrator/rollout/run_internal.h"

static bool leaves_nothing(const struct run_result *r)
{
	return r->serving.instances == 0 && !r->serving.ending &&
	       (r->outcome != ROLLOUT_DONE || (r->generation && !r->partial));
}

static enum exit_status exit_of(const struct run_result *r)
{
	if (leaves_nothing(r))
		return EXIT_STATUS_DOWN;
	if (r->outcome == ROLLOUT_FAILED)
		return EXIT_STATUS_NOT_HEALTHY;
	if (r->outcome == ROLLOUT_ROLLED_BACK)
		return EXIT_STATUS_ROLLED_BACK;
	return r->unexpected > 0 || r->held.refused > 0 ? EXIT_STATUS_CUT : EXIT_STATUS_DONE;
}

/* Of a rollout that stops first. */
static size_t describe_waited(const struct run_result *r, size_t n, char *ret, size_t size)
{
	char gap[DURATION_TEXT_MAX];

	if (r->held.refused > 0 && n < size)
		n += (size_t)snprintf(ret + n, size - n,
				      "%s%llu connection%s refused after waiting for \"hold\"",
				      n > 0 ? ", " : "", (unsigned long long)r->held.refused,
				      r->held.refused == 1 ? " was" : "s were");
	if (r->gap_ms > 0 && n < size)
		n += (size_t)snprintf(ret + n, size - n,
				      "%sfor %s nothing listened: what came was refused, which "
				      "\"gap\" allows",
				      n > 0 ? ", " : "", duration_format(r->gap_ms, gap));
	return n;
}

static void describe_lost(struct run_result *r)
{
	const size_t size = sizeof(r->lost);
	size_t n = 0;

	r->lost[0] = '\0';
	if (r->cut > 0)
		n = (size_t)snprintf(r->lost, size, "%llu connection%s cut at the deadline",
				     (unsigned long long)r->cut, r->cut == 1 ? " was" : "s were");
	if (r->cut_by_server > 0 && n < size)
		n += (size_t)snprintf(r->lost + n, size - n,
				      "%s%llu connection%s cut by the server%s", n > 0 ? ", " : "",
				      (unsigned long long)r->cut_by_server,
				      r->cut_by_server == 1 ? " was" : "s were", r->cut_why);
	describe_waited(r, n, r->lost, size);
}

void run_result_finish(struct run_result *r, const struct run_serving *serving)
{
	r->serving = *serving;
	r->exit = (int)exit_of(r);
	r->took_ms = r->began_ms ? clock_monotonic_ms() - r->began_ms : 0;
	r->realtime_ms = clock_realtime_ms();
	describe_lost(r);
}

void run_result(const struct run *run, const struct run_serving *serving, struct run_result *ret)
{
	assert(run->id > 0 && run->machine.state == ROLLOUT_ENDED);
	*ret = (struct run_result){
		.id = run->id,
		.order = run->order,
		.outcome = run->machine.outcome,
		.partial = run->partial,
		.generation = run->new_number,
		.replaces = run->old_number,
		.n_new = run->machine.has_new ? run->machine.wanted[ROLLOUT_NEW] : 0,
		.n_old = run->machine.has_old ? run->machine.wanted[ROLLOUT_OLD] : 0,
		.missing = run->machine.outcome == ROLLOUT_DONE && run->machine.has_new
				   ? run->n_new - run->machine.wanted[ROLLOUT_NEW]
				   : 0,
		.started_again = run->started_again && rollout_stops_first(&run->machine),
		.cut = run->cut,
		.cut_by_server = run->cut_by_server,
		.unexpected = run->unexpected,
		.began_ms = run->began_ms,
	};
	run->host->ops->held(run->host->userdata, run, &ret->held);
	if (!rollout_stops_first(&run->machine))
		ret->held.refused = 0;
	if (run->gap_since_ms > 0)
		ret->gap_ms = clock_monotonic_ms() - run->gap_since_ms;
	ret->gap_ms += run->gap_ms;
	memcpy(ret->cut_why, run->cut_why, sizeof(ret->cut_why));
	memcpy(ret->step, run->step, sizeof(ret->step));
	memcpy(ret->reason, run->reason, sizeof(ret->reason));
	memcpy(ret->probe, run->probe, sizeof(ret->probe));
	if (run->machine.outcome != ROLLOUT_DONE) {
		ret->words = run->words;
		ret->culprit = run->culprit;
	}
	run_result_finish(ret, serving);
}

/* Who serves, in words: "generation 3 serves", "generation 3 serves with 1 of 2 instances". */
static void describe_serving(const struct run_result *r, const char *verb, char *ret, size_t size)
{
	const struct run_serving *now = &r->serving;

	if (now->ending && now->instances > 0)
		snprintf(ret, size, "generation %u is being stopped", now->generation);
	else if (now->instances == 0)
		snprintf(ret, size, "nothing serves");
	else if (now->instances < now->wanted)
		snprintf(ret, size, "generation %u %s with %u of %u instances", now->generation,
			 verb, now->instances, now->wanted);
	else
		snprintf(ret, size, "generation %u %s", now->generation, verb);
}

static const char *keeps(const struct run_result *r)
{
	if (!r->partial && r->serving.generation != r->replaces)
		return "serves";
	return !r->partial && (r->outcome == ROLLOUT_ROLLED_BACK || r->started_again)
		       ? "serves again"
		       : "keeps serving";
}

static void describe_partial(const struct run_result *r, char *ret, size_t size)
{
	size_t n = 0;

	ret[0] = '\0';
	if (r->n_new > 0)
		n = (size_t)snprintf(ret, size, "%u instance%s came", r->n_new,
				     r->n_new > 1 ? "s" : "");
	if (r->n_old > 0 && n < size)
		n += (size_t)snprintf(ret + n, size - n, "%s%u instance%s went", n ? ", " : "",
				      r->n_old, r->n_old > 1 ? "s" : "");
	if (n < size)
		n += (size_t)snprintf(ret + n, size - n, "; ");
	if (n < size)
		describe_serving(r, "serves", ret + n, size - n);
}

static void describe_done(const struct run_result *r, char *ret, size_t size)
{
	char now[96];

	describe_serving(r, "serves", now, sizeof(now));
	if (r->partial)
		describe_partial(r, ret, size);
	else if (!r->generation)
		snprintf(ret, size, "generation %u is gone", r->replaces);
	else if (!r->replaces)
		snprintf(ret, size, "%s", now);
	else
		snprintf(ret, size, "%s, generation %u is gone", now, r->replaces);
}

static void describe_result(const struct run_result *r, char *ret, size_t size)
{
	if (r->outcome == ROLLOUT_DONE)
		describe_done(r, ret, size);
	else
		describe_serving(r, keeps(r), ret, size);
}

static void add_lost(const struct run_result *r, char *ret, size_t size)
{
	size_t n = strlen(ret);

	snprintf(ret + n, size - n, "; %s", r->lost);
}

static void add_missing(const struct run_result *r, char *ret, size_t size)
{
	size_t n = strlen(ret);

	snprintf(ret + n, size - n, "; %u instance%s could not be started", r->missing,
		 r->missing > 1 ? "s" : "");
}

static void add_held(const struct run_result *r, char *ret, size_t size)
{
	char longest[DURATION_TEXT_MAX];
	size_t n = strlen(ret);

	duration_format(r->held.longest_ms, longest);
	if (r->held.longest_ms == 0)
		snprintf(ret + n, size - n, "; %llu connections waited",
			 (unsigned long long)r->held.released);
	else if (r->held.released == 1)
		snprintf(ret + n, size - n, "; 1 connection waited, for %s", longest);
	else
		snprintf(ret + n, size - n, "; %llu connections waited, the longest for %s",
			 (unsigned long long)r->held.released, longest);
}

static void add_found(const struct run_result *r, char *ret, size_t size)
{
	size_t n = strlen(ret);

	snprintf(ret + n, size - n, "; batond had ended at step %s, and the next one finished it",
		 r->step);
}

void run_result_message(const struct run_result *r, char *ret, size_t size)
{
	describe_result(r, ret, size);
	if (r->held.released > 0)
		add_held(r, ret, size);
	if (r->lost[0])
		add_lost(r, ret, size);
	if (r->missing > 0)
		add_missing(r, ret, size);
	if (r->found && r->outcome == ROLLOUT_DONE)
		add_found(r, ret, size);
}

void run_result_event(const struct run_result *r, const char *message, struct event *ret)
{
	static const enum event_kind kinds[] = {
		[ROLLOUT_DONE] = EVENT_DONE,
		[ROLLOUT_FAILED] = EVENT_FAILED,
		[ROLLOUT_ROLLED_BACK] = EVENT_ROLLED_BACK,
	};

	assert(r->outcome <= ROLLOUT_ROLLED_BACK);
	*ret = (struct event){
		.kind = kinds[r->outcome],
		.message = message,
		.rollout = r->id,
		.order = run_order_name(r->order),
		.generation = r->generation,
		.replaces = r->replaces,
		.exit = r->exit,
		.cut = r->cut,
		.cut_by_server = r->cut_by_server,
		.lost = r->lost[0] ? r->lost : NULL,
		.held = {.released = r->held.released,
			 .refused = r->held.refused,
			 .longest_ms = r->held.longest_ms},
		.started_again = r->started_again,
		.took_ms = r->took_ms,
		.serving = {.known = true,
			    .generation = r->serving.generation,
			    .instances = r->serving.instances,
			    .wanted = r->serving.wanted},
		.has_instance = r->culprit.known,
		.instance = r->culprit.instance,
		.step = r->step[0] ? r->step : NULL,
		.reason = r->reason[0] ? r->reason : NULL,
		.probe = r->probe[0] ? r->probe : NULL,
		.tail = r->words.text[0] ? r->words.text : NULL,
		.tail_stdout = r->words.is_stdout,
		.tail_realtime_ms = r->words.realtime_ms,
	};
}
