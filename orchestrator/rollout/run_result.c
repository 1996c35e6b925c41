/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a rollout has ended.
 */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "orchestrator/rollout/run_internal.h"

enum { EXIT_DONE = 0, EXIT_NEVER_HEALTHY = 3, EXIT_ROLLED_BACK = 4, EXIT_CUT = 5 };

static int exit_of(const struct run *run)
{
	if (run->machine.outcome == ROLLOUT_FAILED)
		return EXIT_NEVER_HEALTHY;
	if (run->machine.outcome == ROLLOUT_ROLLED_BACK)
		return EXIT_ROLLED_BACK;
	return run->cut > 0 ? EXIT_CUT : EXIT_DONE;
}

void run_result(const struct run *run, struct run_result *ret)
{
	*ret = (struct run_result){
		.id = run->id,
		.order = run->order,
		.outcome = run->machine.outcome,
		.exit = exit_of(run),
		.partial = run->partial,
		.generation = run->new_number,
		.replaces = run->old_number,
		.n_new = run->machine.has_new ? run->machine.wanted[ROLLOUT_NEW] : 0,
		.n_old = run->machine.has_old ? run->machine.wanted[ROLLOUT_OLD] : 0,
		.missing = run->machine.outcome == ROLLOUT_DONE && run->machine.has_new
				   ? run->n_new - run->machine.wanted[ROLLOUT_NEW]
				   : 0,
		.cut = run->cut,
		.took_ms = clock_monotonic_ms() - run->began_ms,
		.realtime_ms = clock_realtime_ms(),
	};
	memcpy(ret->step, run->step, sizeof(ret->step));
	memcpy(ret->reason, run->reason, sizeof(ret->reason));
	memcpy(ret->probe, run->probe, sizeof(ret->probe));
	if (run->machine.outcome != ROLLOUT_DONE)
		ret->words = run->words;
}

static void describe_partial(const struct run_result *r, char *ret, size_t size)
{
	uint32_t number = r->generation ? r->generation : r->replaces;
	size_t n = 0;

	if (r->outcome != ROLLOUT_DONE) {
		snprintf(ret, size, "generation %u keeps serving as it is", number);
		return;
	}
	ret[0] = '\0';
	if (r->n_new > 0)
		n = (size_t)snprintf(ret, size, "%u instance%s came", r->n_new,
				     r->n_new > 1 ? "s" : "");
	if (r->n_old > 0 && n < size)
		n += (size_t)snprintf(ret + n, size - n, "%s%u instance%s went", n ? ", " : "",
				      r->n_old, r->n_old > 1 ? "s" : "");
	if (n < size)
		n += (size_t)snprintf(ret + n, size - n, "; generation %u serves", number);
	if (r->cut > 0 && n < size)
		snprintf(ret + n, size - n, "; %llu connections were cut",
			 (unsigned long long)r->cut);
}

static void describe_result(const struct run_result *r, char *ret, size_t size)
{
	char kept[64] = "nothing serves";

	if (r->replaces)
		snprintf(kept, sizeof(kept), "generation %u keeps serving", r->replaces);
	if (r->partial)
		describe_partial(r, ret, size);
	else if (r->outcome != ROLLOUT_DONE)
		snprintf(ret, size, "%s", kept);
	else if (!r->generation)
		snprintf(ret, size, "generation %u is gone", r->replaces);
	else if (!r->replaces)
		snprintf(ret, size, "generation %u serves", r->generation);
	else if (r->cut > 0)
		snprintf(ret, size,
			 "generation %u serves, generation %u is gone; %llu connections were cut",
			 r->generation, r->replaces, (unsigned long long)r->cut);
	else
		snprintf(ret, size, "generation %u serves, generation %u is gone", r->generation,
			 r->replaces);
}

static void add_missing(const struct run_result *r, char *ret, size_t size)
{
	size_t n = strlen(ret);

	snprintf(ret + n, size - n, "; %u instance%s could not be started", r->missing,
		 r->missing > 1 ? "s" : "");
}

void run_result_message(const struct run_result *r, char *ret, size_t size)
{
	describe_result(r, ret, size);
	if (r->missing > 0)
		add_missing(r, ret, size);
}

void run_result_event(const struct run_result *r, const char *message, struct event *ret)
{
	static const enum event_kind kinds[] = {
		[ROLLOUT_DONE] = EVENT_DONE,
		[ROLLOUT_FAILED] = EVENT_FAILED,
		[ROLLOUT_ROLLED_BACK] = EVENT_ROLLED_BACK,
	};

	*ret = (struct event){
		.kind = kinds[r->outcome],
		.message = message,
		.rollout = r->id,
		.order = r->order,
		.generation = r->generation,
		.replaces = r->replaces,
		.exit = r->exit,
		.cut = r->cut,
		.took_ms = r->took_ms,
		.step = r->step[0] ? r->step : NULL,
		.reason = r->reason[0] ? r->reason : NULL,
		.probe = r->probe[0] ? r->probe : NULL,
		.tail = r->words.text[0] ? r->words.text : NULL,
		.tail_stdout = r->words.is_stdout,
		.tail_realtime_ms = r->words.realtime_ms,
	};
}
