/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a rollout tells: how each step has ended, that it waits for a person, why it is undone.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/duration.h"
#include "orchestrator/rollout/run_internal.h"

#define PIDS_SHOWN   8
#define CHECKS_SHOWN 4

/* Nobody needs to know of a delay that nobody is waited for in. */
static bool waits_before_signal(const struct run *run)
{
	return run_delay_is_fixed(run) || run->delay.most > 0;
}

const char *run_waits_for(const struct run *run)
{
	const struct rollout *m = &run->machine;

	if (m->state == ROLLOUT_WAITING)
		return "gate";
	if (m->state == ROLLOUT_DWELLING)
		return m->policy.steps[m->step].manual ? "promote" : "hold";
	if (m->state == ROLLOUT_DELAYING && waits_before_signal(run))
		return "delay";
	return NULL;
}

bool run_waits_for_silent(const struct run *run)
{
	return run->machine.state == ROLLOUT_DELAYING && !run_delay_is_fixed(run) &&
	       run->delay.most > 0;
}

/* An event with the fields that every event of a rollout has. */
static struct event event_of(const struct run *run, enum event_kind kind)
{
	return (struct event){
		.kind = kind,
		.rollout = run->id,
		.order = run_order_name(run->order),
		.generation = run->new_number,
		.replaces = run->old_number,
		.elapsed_ms = clock_monotonic_ms() - run->began_ms,
	};
}

static void tell(struct run *run, const struct event *event)
{
	run->host->ops->tell(run->host->userdata, event);
}

/* ---- one step ------------------------------------------------------------------------------- */

/* "generation 4", or in a rolling rollout "2 of 4 of generation 4" */
static const char *describe_set(const struct run *run, const struct instances *set,
				enum rollout_side side, char *ret, size_t size)
{
	uint32_t number = side == ROLLOUT_NEW ? run->new_number : run->old_number;
	uint32_t all = run->machine.wanted[side];

	if (!run->partial && set->n >= all)
		snprintf(ret, size, "generation %u", number);
	else if (set->n == 1)
		snprintf(ret, size, "instance %u of generation %u", set->list[0]->index, number);
	else
		snprintf(ret, size, "%zu instances of generation %u", set->n, number);
	return ret;
}

/* The verb after describe_set(). */
static const char *is_or_are(const struct run *run, const struct instances *set,
			     enum rollout_side side)
{
	return (run->partial || set->n < run->machine.wanted[side]) && set->n > 1 ? "are" : "is";
}

static const char *describe_victims(const struct run *run, char *ret, size_t size)
{
	return describe_set(run, &run->victims, rollout_from(&run->machine), ret, size);
}

static void describe_prepare(const struct run *run, char *ret, size_t size)
{
	snprintf(ret, size, "before_start %s", run->answer_text);
}

static void describe_start(const struct run *run, char *ret, size_t size)
{
	char who[64];
	size_t n =
		(size_t)snprintf(ret, size, "%s, pid",
				 describe_set(run, &run->batch, run->machine.to, who, sizeof(who)));

	for (size_t k = 0; n < size && k < run->batch.n && k < PIDS_SHOWN; k++)
		n += (size_t)snprintf(ret + n, size - n, "%s %d", k ? "," : "",
				      (int)run->batch.list[k]->pid);
	if (n < size && run->batch.n > PIDS_SHOWN)
		snprintf(ret + n, size - n, " and %zu more", run->batch.n - PIDS_SHOWN);
}

static void describe_verify(const struct run *run, char *ret, size_t size)
{
	const struct instance *i = run->batch.n > 0 ? run->batch.list[0] : NULL;

	size_t n = 0, shown = i ? i->checks.n_declared : 0;

	ret[0] = '\0';
	if (shown > CHECKS_SHOWN)
		shown = CHECKS_SHOWN;
	for (size_t k = 0; k < shown && n < size; k++) {
		const struct instance_check *c = &i->checks.list[k];
		const char *before = k > 0 ? "; " : "";

		if (c->config->kind == HEALTH_KIND_NOTIFY)
			n += (size_t)snprintf(ret + n, size - n, "%sREADY=1", before);
		else
			n += (size_t)snprintf(ret + n, size - n, "%s%s (%u in a row)", before,
					      c->checker.last.text, c->config->healthy);
	}
	if (n < size && i && i->checks.n_declared > shown)
		snprintf(ret + n, size - n, "; and %zu more", i->checks.n_declared - shown);
}

static void describe_gate(const struct run *run, char *ret, size_t size)
{
	snprintf(ret, size, "%s", run->answer_text);
}

static void describe_named(const struct run *run, uint32_t number, char *ret, size_t size)
{
	size_t n = run->host->ops->named(run->host->userdata);

	snprintf(ret, size, "new connections go to %zu instance%s of generation %u", n,
		 n == 1 ? "" : "s", number);
}

/* Nothing is named: the old ones go before anything new starts. */
static void describe_stop_first(const struct run *run, char *ret, size_t size)
{
	struct run_held held;

	run->host->ops->held(run->host->userdata, run, &held);
	snprintf(ret, size, "new connections %s until generation %u is ready",
		 held.holds ? "wait" : "are refused", run->new_number);
}

/* What a service holds that is being stopped it holds for the next start. */
static bool waits_for_nobody(const struct run *run)
{
	struct run_held held;

	if (run->machine.has_new || run->partial)
		return false;
	run->host->ops->held(run->host->userdata, run, &held);
	return held.holds;
}

static bool names_nobody(const struct run *run)
{
	const struct rollout *m = &run->machine;

	return rollout_stops_first(m) && m->alive[m->to] == 0 && !run->partial;
}

/* The machine has entered the next state, but its weight is still the published one. */
static void describe_shift(const struct run *run, char *ret, size_t size)
{
	const struct rollout *m = &run->machine;
	const struct generation *to = m->to == ROLLOUT_NEW ? run->new : run->old;

	if (run->publish_error[0])
		snprintf(ret, size, "the table could not be published: %s", run->publish_error);
	else if (names_nobody(run))
		describe_stop_first(run, ret, size);
	else if (waits_for_nobody(run))
		snprintf(ret, size, "new connections wait: the service is paused");
	else if (m->policy.lasts)
		snprintf(ret, size, "new connections go to generation %u until it has left",
			 run->old_number);
	else if (!run->partial && !(m->to == ROLLOUT_NEW ? m->has_new : m->has_old))
		snprintf(ret, size, "new connections are refused");
	else if (m->weight > 0)
		snprintf(ret, size, "%u%% of new connections go to generation %u", m->weight,
			 run->new_number);
	else if (run->partial)
		describe_named(run, to ? to->number : run->old_number, ret, size);
	else if (run->side[rollout_from(m)].n > run->victims.n && run->side[m->to].n == 0)
		snprintf(ret, size, "new connections go to %zu instances of generation %u",
			 run->side[rollout_from(m)].n - run->victims.n,
			 m->to == ROLLOUT_NEW ? run->old_number : run->new_number);
	else if (run->side[rollout_from(m)].n > run->victims.n)
		snprintf(ret, size,
			 "%zu of generation %u and %zu of generation %u share new connections",
			 run->side[m->to].n, to ? to->number : 0,
			 run->side[rollout_from(m)].n - run->victims.n,
			 m->to == ROLLOUT_NEW ? run->old_number : run->new_number);
	else
		snprintf(ret, size, "%snew connections go to generation %u",
			 rollout_victim_is_new(m) ? "back: " : "", to ? to->number : 0);
}

static void describe_dwell(const struct run *run, char *ret, size_t size)
{
	char text[DURATION_TEXT_MAX];

	snprintf(ret, size, "%u%% for %s", run->step_weight,
		 duration_format(clock_monotonic_ms() - run->step_began_ms, text));
}

static void describe_wait(const struct run *run, char *ret, size_t size)
{
	(void)run;
	snprintf(ret, size, "promoted");
}

static void describe_settle(const struct run *run, char *ret, size_t size)
{
	uint32_t queued;
	char who[64];

	describe_victims(run, who, sizeof(who));
	if (instances_queued(&run->victims, &queued) < 0)
		snprintf(ret, size, "the queue of %s could not be read", who);
	else if (queued == 0)
		snprintf(ret, size, "queue of %s is empty", who);
	else
		snprintf(ret, size, "%u connections still in the queue of %s", queued, who);
}

static void describe_bake(const struct run *run, char *ret, size_t size)
{
	char text[DURATION_TEXT_MAX], who[64];

	snprintf(ret, size, "%s stood by for %s", describe_victims(run, who, sizeof(who)),
		 duration_format(clock_monotonic_ms() - run->step_began_ms, text));
}

/* "3 connections that have not sent a request yet" */
static void describe_silent(uint64_t n, char *ret, size_t size)
{
	snprintf(ret, size, "%llu connection%s not sent a request yet", (unsigned long long)n,
		 n == 1 ? " that has" : "s that have");
}

static void describe_delay(const struct run *run, char *ret, size_t size)
{
	unsigned long long most = run->delay.most, left = run->delay.look_last;
	char text[DURATION_TEXT_MAX];

	duration_format(clock_monotonic_ms() - run->step_began_ms, text);
	if (run_delay_is_fixed(run))
		snprintf(ret, size, "waited for %s before the drain signal", text);
	else if (left > 0)
		snprintf(ret, size, "%llu of %llu connection%s not sent a request within %s", left,
			 most, most == 1 ? " has" : "s have", text);
	else
		snprintf(ret, size, "%llu connection%s had not sent a request yet: %s or ended",
			 most, most == 1 ? "" : "s", most == 1 ? "it has now," : "all have now,");
}

static void describe_leave(const struct run *run, char *ret, size_t size)
{
	const char *refused = !run->machine.policy.lasts ? ""
			      : waits_for_nobody(run)    ? ", new connections wait"
							 : ", new connections are refused";
	bool forced = false;
	char who[64];

	describe_victims(run, who, sizeof(who));
	for (size_t k = 0; k < run->victims.n; k++)
		forced |= run->victims.list[k]->forced;
	if (!instances_have_left(&run->victims))
		snprintf(ret, size, "%s did not say in time that it has left", who);
	else
		snprintf(ret, size, "%s %s out of the group%s%s", who,
			 is_or_are(run, &run->victims, rollout_from(&run->machine)), refused,
			 forced ? " (its listening socket had to be shut down)" : "");
}

/* "exited with status 0", "was killed by SIGKILL (it did not stop by itself)" */
static void describe_end(const struct instance *i, char *ret, size_t size)
{
	bool alone = i->killed && i->ending == ENDING_TOLD && i->exit_signal != SIGKILL;
	size_t n;

	instance_describe_exit(i, ret, size);
	n = strlen(ret);
	if (alone)
		snprintf(ret + n, size - n, " (what it left had to be killed)");
	else if (i->killed)
		snprintf(ret + n, size - n, " (it did not stop by itself)");
}

/* Those that have not all ended alike: each way once, with how many went it. */
static void describe_ends(const struct run *run, char *ret, size_t size)
{
	const struct instances *set = &run->victims;
	bool counted[INSTANCES_MAX] = {};
	size_t n = strlen(ret);

	for (size_t k = 0; k < set->n && n < size; k++) {
		size_t alike = 0;
		char how[128];

		if (counted[k])
			continue;
		describe_end(set->list[k], how, sizeof(how));
		for (size_t j = k; j < set->n; j++) {
			char other[128];

			describe_end(set->list[j], other, sizeof(other));
			if (strcmp(how, other) != 0)
				continue;
			counted[j] = true;
			alike++;
		}
		n += (size_t)snprintf(ret + n, size - n, "%s%zu %s", k == 0 ? ": " : ", ", alike,
				      how);
	}
}

static bool ended_alike(const struct instances *set)
{
	char first[128], other[128];

	describe_end(set->list[0], first, sizeof(first));
	for (size_t k = 1; k < set->n; k++) {
		describe_end(set->list[k], other, sizeof(other));
		if (strcmp(first, other) != 0)
			return false;
	}
	return true;
}

static void describe_stop(const struct run *run, char *ret, size_t size)
{
	char how[128], who[64];

	if (run->victims.n == 0) {
		snprintf(ret, size, "nothing was running");
		return;
	}
	describe_victims(run, who, sizeof(who));
	if (!ended_alike(&run->victims)) {
		snprintf(ret, size, "%s", who);
		describe_ends(run, ret, size);
		return;
	}
	describe_end(run->victims.list[0], how, sizeof(how));
	snprintf(ret, size, "%s %s", who, how);
}

static void describe(const struct run *run, enum rollout_state step, char *ret, size_t size)
{
	static void (*const describers[_ROLLOUT_STATE_COUNT])(const struct run *, char *,
							      size_t) = {
		[ROLLOUT_PREPARING] = describe_prepare, [ROLLOUT_STARTING] = describe_start,
		[ROLLOUT_VERIFYING] = describe_verify,  [ROLLOUT_GATING] = describe_gate,
		[ROLLOUT_SHIFTING] = describe_shift,    [ROLLOUT_DWELLING] = describe_dwell,
		[ROLLOUT_WAITING] = describe_wait,      [ROLLOUT_SETTLING] = describe_settle,
		[ROLLOUT_BAKING] = describe_bake,       [ROLLOUT_DELAYING] = describe_delay,
		[ROLLOUT_LEAVING] = describe_leave,     [ROLLOUT_DRAINING] = run_drain_describe,
		[ROLLOUT_STOPPING] = describe_stop,
	};

	ret[0] = '\0';
	if (describers[step])
		describers[step](run, ret, size);
}

/* "; 12 connections wait, the longest for 340ms" */
static void add_held(const struct run *run, char *ret, size_t size)
{
	char longest[DURATION_TEXT_MAX];
	struct run_held held;
	size_t n = strlen(ret);

	if (!rollout_stops_first(&run->machine))
		return;
	run->host->ops->held(run->host->userdata, run, &held);
	if (held.now == 0)
		return;
	duration_format(held.now_longest_ms, longest);
	if (held.now == 1)
		snprintf(ret + n, size - n, "; 1 connection waits, for %s", longest);
	else
		snprintf(ret + n, size - n, "; %u connections wait, the longest for %s", held.now,
			 longest);
}

void run_tell_step(struct run *run, enum rollout_state step, bool ok)
{
	static const enum event_kind kinds[_ROLLOUT_STATE_COUNT] = {
		[ROLLOUT_PREPARING] = EVENT_PREPARE, [ROLLOUT_STARTING] = EVENT_START,
		[ROLLOUT_VERIFYING] = EVENT_VERIFY,  [ROLLOUT_GATING] = EVENT_GATE,
		[ROLLOUT_SHIFTING] = EVENT_SHIFT,    [ROLLOUT_DWELLING] = EVENT_HOLD,
		[ROLLOUT_WAITING] = EVENT_WAIT,      [ROLLOUT_SETTLING] = EVENT_SETTLE,
		[ROLLOUT_BAKING] = EVENT_BAKE,       [ROLLOUT_DELAYING] = EVENT_DELAY,
		[ROLLOUT_LEAVING] = EVENT_LEAVE,     [ROLLOUT_DRAINING] = EVENT_DRAIN,
		[ROLLOUT_STOPPING] = EVENT_STOP,
	};
	struct event event = event_of(run, kinds[step]);
	uint64_t now_ms = clock_monotonic_ms();
	char message[sizeof(run->reason)];

	assert(step != ROLLOUT_IDLE && step != ROLLOUT_ENDED);
	if (step == ROLLOUT_DELAYING && ok && !waits_before_signal(run)) {
		run->step_began_ms = now_ms;
		return;
	}
	if (ok) {
		describe(run, step, message, sizeof(message));
		add_held(run, message, sizeof(message));
	} else {
		snprintf(message, sizeof(message), "%s", run->reason);
		snprintf(run->step, sizeof(run->step), "%s", rollout_state_name(step));
	}
	event.message = message;
	event.ok = ok;
	if (step == ROLLOUT_DRAINING && ok)
		run_drain_event(run, &event);
	event.silent.known = step == ROLLOUT_DELAYING && !run_delay_is_fixed(run);
	event.silent.n = run->delay.look_last;
	event.aborted = !ok && run->machine.cause == ROLLOUT_ABORTED;
	event.has_instance = !ok && run->culprit.known;
	event.instance = run->culprit.instance;
	event.took_ms = now_ms - run->step_began_ms;
	tell(run, &event);
	run->step_began_ms = now_ms;
}

void run_tell_waiting(struct run *run)
{
	struct event event = event_of(run, EVENT_WAITING);
	char why[GATES_TEXT_MAX + 64], message[sizeof(why) + 2 * PROTOCOL_NAME_MAX + 80];
	const struct rollout *m = &run->machine;

	assert(m->state == ROLLOUT_WAITING || m->state == ROLLOUT_DWELLING);
	if (m->state == ROLLOUT_WAITING)
		snprintf(why, sizeof(why), "%s", run->answer_text);
	else
		snprintf(why, sizeof(why), "%u%% of new connections go to generation %u", m->weight,
			 run->new_number);
	snprintf(message, sizeof(message),
		 "%s; \"baton promote %s\" goes on, \"baton abort %s\" goes back", why,
		 run->host->name, run->host->name);
	event.reason = why;
	event.message = message;
	tell(run, &event);
}

void run_tell_delaying(struct run *run)
{
	struct event event = event_of(run, EVENT_DELAYING);
	char message[192], who[96], limit[DURATION_TEXT_MAX];
	const struct rollout_policy *policy = &run->machine.policy;

	duration_format(rollout_victim_is_new(&run->machine) ? policy->new_delay_ms
							     : policy->old_delay_ms,
			limit);
	event.silent.known = !run_delay_is_fixed(run);
	event.silent.n = run->delay.look_last;
	if (event.silent.known) {
		describe_silent(run->delay.look_last, who, sizeof(who));
		snprintf(message, sizeof(message), "waiting for %s, up to %s", who, limit);
	} else {
		snprintf(message, sizeof(message), "waiting for %s before the drain signal", limit);
	}
	event.message = message;
	tell(run, &event);
}

/* ---- why it is undone ----------------------------------------------------------------------- */

static void keep_words(struct run *run, const struct instance *i)
{
	if (!i->tail[0])
		return;
	memcpy(run->words.text, i->tail, sizeof(run->words.text));
	run->words.is_stdout = i->tail_stdout;
	run->words.realtime_ms = i->tail_realtime_ms;
}

/* The one that has failed; else the first that is not healthy, or else wrote anything. */
static struct instance *find_culprit(const struct instances *set)
{
	struct instance *i = instances_failed(set);

	for (size_t k = 0; !i && k < set->n; k++)
		if (!instance_is_healthy(set->list[k]))
			i = set->list[k];
	for (size_t k = 0; (!i || (!i->tail[0] && i->pid == 0)) && k < set->n; k++)
		i = set->list[k];
	return i;
}

/* What it has written by now is known to its agent: the answer comes before it is gone. */
static void ask(struct run *run, struct instance *i)
{
	if (!i)
		return;
	keep_words(run, i);
	instance_ask(i);
	run->blamed = i;
}

static void blame(struct run *run, struct instance *i)
{
	ask(run, i);
	if (i)
		run->culprit = (struct run_culprit){.known = true, .instance = i->index};
}

/*
 * That nobody answers a check any more says nothing of why a server has ended; what it had
 * answered, if that was anything (@status), may.
 */
static bool tells_only_of_the_end(uint16_t status, bool has_ended)
{
	return has_ended && status == 0;
}

void run_take_words(struct run *run, bool whole)
{
	const struct instance *i = run->blamed;

	if (!i || (i->asked && !whole))
		return;
	run->blamed = NULL;
	keep_words(run, i);
	if (!i->ended_itself)
		return;
	run_set_reason(run, "generation %u: instance %u %s", i->generation, i->index, i->failure);
	if (tells_only_of_the_end(run->probe_status, true))
		run->probe[0] = '\0';
}

/* No table could be made of it: most likely its server has just ended. */
static void blame_deaf(struct run *run)
{
	for (size_t k = 0; k < run->batch.n; k++)
		if (!instance_is_serving(run->batch.list[k])) {
			blame(run, run->batch.list[k]);
			return;
		}
}

static void note_instance(struct run *run)
{
	const struct instance *i = instances_failed(&run->side[ROLLOUT_NEW]);
	const struct probe_result *answer;

	if (!i) {
		run_set_reason(run, "generation %u: not every instance could be made%s",
			       run->new_number,
			       run->unmade_error == -ENOMEM ? ": out of memory" : "");
		return;
	}
	answer = instance_last_answer(i);
	if (instance_has_failed(i))
		run_set_reason(run, "generation %u: instance %u %s", run->new_number, i->index,
			       i->failure);
	else
		run_set_reason(run, "generation %u: instance %u turned unhealthy: %s",
			       run->new_number, i->index, answer ? answer->text : "");
}

/* What is wrong with the sockets of the first of the batch where anything is. */
static void note_sockets(struct run *run)
{
	size_t n = strlen(run->reason);

	for (size_t k = 0; k < run->batch.n; k++) {
		char advice[ADVICE_TEXT_MAX];

		if (!instance_advise(run->batch.list[k], advice)[0])
			continue;
		snprintf(run->reason + n, sizeof(run->reason) - n, "; it %s", advice);
		return;
	}
}

/* Is that what the first of @set that is not healthy lacks? */
static bool awaits_ready(const struct instances *set)
{
	for (size_t k = 0; k < set->n; k++)
		if (!instance_is_healthy(set->list[k]))
			return instance_awaits_ready(set->list[k]);
	return false;
}

static void note_start_timeout(struct run *run)
{
	uint32_t number = run->machine.to == ROLLOUT_NEW ? run->new_number : run->old_number;
	char limit[DURATION_TEXT_MAX];

	duration_format(run->machine.policy.start_timeout_ms, limit);
	if (run->machine.state == ROLLOUT_STARTING)
		run_set_reason(run, "generation %u was not running within %s", number, limit);
	else if (awaits_ready(&run->batch))
		run_set_reason(run, "generation %u did not send READY=1 within %s", number, limit);
	else
		run_set_reason(run, "generation %u was not healthy within %s", number, limit);
	note_sockets(run);
}

/* The last answer of the instance that is to blame, or of the first that is not healthy. */
static void note_probe(struct run *run)
{
	const struct instances *set = &run->side[ROLLOUT_NEW];
	const struct instance *i = instances_failed(set);
	const struct probe_result *answer;

	for (size_t k = 0; !i && k < set->n; k++)
		if (!instance_is_healthy(set->list[k]))
			i = set->list[k];
	answer = i ? instance_last_answer(i) : NULL;
	/* What is the reason itself needs no answer of a check beside it. */
	if (!answer || answer->ok || i->has_loss ||
	    tells_only_of_the_end(answer->status, instance_has_failed(i)))
		return;
	run->probe_status = answer->status;
	snprintf(run->probe, sizeof(run->probe), "%s%s%s", answer->text,
		 answer->body[0] ? ": " : "", answer->body);
}

static void note_timeout(struct run *run)
{
	const struct rollout *m = &run->machine;
	char limit[DURATION_TEXT_MAX];

	switch (m->state) {
	case ROLLOUT_STARTING:
	case ROLLOUT_VERIFYING:
		note_start_timeout(run);
		note_probe(run);
		blame(run, find_culprit(&run->batch));
		break;
	case ROLLOUT_PREPARING:
		run_set_reason(run, "before_start was not done within %s",
			       duration_format(m->policy.prepare_timeout_ms, limit));
		break;
	case ROLLOUT_GATING:
		run_set_reason(run, "the gates did not answer within %s",
			       duration_format(m->policy.gate_timeout_ms, limit));
		break;
	case ROLLOUT_DWELLING:
		if (!m->policy.steps[m->step].manual)
			break;
		/* fall through */
	case ROLLOUT_WAITING:
		run_set_reason(run, "nobody promoted it within %s",
			       duration_format(m->policy.promote_timeout_ms, limit));
		break;
	default:
		break;
	}
}

void run_note_failure(struct run *run, enum rollout_event event)
{
	/* If it is being undone already the first reason stands. */
	if (rollout_victim_is_new(&run->machine) || run->machine.turn != ROLLOUT_NO_CAUSE)
		return;
	switch (event) {
	case ROLLOUT_NEW_FAILED:
		note_instance(run);
		note_probe(run);
		blame(run, find_culprit(&run->side[ROLLOUT_NEW]));
		break;
	case ROLLOUT_SHIFT_FAILED:
		blame_deaf(run);
		break;
	case ROLLOUT_PREPARE_FAILED:
		run_set_reason(run, "before_start %s", run->answer_text);
		break;
	case ROLLOUT_GATE_FAILED:
		run_set_reason(run, "%s", run->answer_text);
		ask(run, find_culprit(&run->side[ROLLOUT_NEW]));
		break;
	case ROLLOUT_TIMER:
		note_timeout(run);
		break;
	default:
		break;
	}
}
