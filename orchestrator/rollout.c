/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/rollout.h"

#include <assert.h>

typedef void (*handler)(struct rollout *r, uint64_t now_ms, struct rollout_actions *out);

static void add(struct rollout_actions *out, enum rollout_action_type type)
{
	assert(out->n < ROLLOUT_ACTIONS_MAX);
	out->list[out->n++] = (struct rollout_action){.type = type};
}

static void add_timer(struct rollout_actions *out, uint64_t at_ms)
{
	assert(out->n < ROLLOUT_ACTIONS_MAX);
	out->list[out->n++] = (struct rollout_action){.type = ROLLOUT_DO_TIMER, .at_ms = at_ms};
}

bool rollout_victim_is_new(const struct rollout *r)
{
	return r->outcome != ROLLOUT_DONE;
}

bool rollout_is_committed(const struct rollout *r)
{
	return r->outcome == ROLLOUT_DONE && (!r->has_new || r->state >= ROLLOUT_LEAVING);
}

bool rollout_is_decided(const struct rollout *r)
{
	return rollout_is_committed(r) ||
	       (r->outcome != ROLLOUT_DONE && r->state >= ROLLOUT_LEAVING);
}

/* ---- entering states ------------------------------------------------------------------------ */

static void enter_ended(struct rollout *r, struct rollout_actions *out)
{
	r->state = ROLLOUT_ENDED;
	add(out, ROLLOUT_DO_END);
}

static void enter_stopping(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	r->state = ROLLOUT_STOPPING;
	add(out, ROLLOUT_DO_STOP);
	add_timer(out, now_ms + r->policy.stop_timeout_ms);
}

static void enter_draining(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	r->state = ROLLOUT_DRAINING;
	add(out, ROLLOUT_DO_DRAIN);
	add_timer(out, now_ms + (rollout_victim_is_new(r) ? r->policy.new_drain_timeout_ms
							  : r->policy.old_drain_timeout_ms));
}

static void enter_leaving(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	if (r->has_new && r->outcome == ROLLOUT_DONE)
		add(out, ROLLOUT_DO_COMMIT);
	add(out, ROLLOUT_DO_UNNAME);
	if (rollout_victim_is_new(r) ? r->policy.new_stays : r->policy.old_stays) {
		enter_draining(r, now_ms, out);
		return;
	}
	r->state = ROLLOUT_LEAVING;
	add(out, ROLLOUT_DO_LEAVE);
	add_timer(out, now_ms + r->policy.leave_timeout_ms);
}

static void enter_shifting(struct rollout *r, struct rollout_actions *out)
{
	r->state = ROLLOUT_SHIFTING;
	if (rollout_victim_is_new(r))
		add(out, ROLLOUT_DO_PUBLISH_OLD);
	else if (r->has_new)
		add(out, ROLLOUT_DO_PUBLISH_NEW);
	else
		add(out, ROLLOUT_DO_PUBLISH_NONE);
}

static void enter_settling(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	r->state = ROLLOUT_SETTLING;
	add(out, ROLLOUT_DO_SETTLE);
	add_timer(out, now_ms + r->policy.settle_timeout_ms);
}

/* Before the shift nobody but probes has reached the new generation: it can simply stop. */
static void fail(struct rollout *r, enum rollout_cause cause, uint64_t now_ms,
		 struct rollout_actions *out)
{
	r->outcome = ROLLOUT_FAILED;
	r->cause = cause;
	enter_stopping(r, now_ms, out);
}

static void roll_back(struct rollout *r, enum rollout_cause cause, struct rollout_actions *out)
{
	r->outcome = ROLLOUT_ROLLED_BACK;
	r->cause = cause;
	enter_shifting(r, out);
}

/* Is there something to go back to, and does this rollout still want to replace it? */
static bool can_roll_back(const struct rollout *r)
{
	return r->has_old && r->has_new && !r->old_gone && r->outcome == ROLLOUT_DONE;
}

/* ---- one handler a cell --------------------------------------------------------------------- */

static void ignore(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	(void)r;
	(void)now_ms;
	(void)out;
}

static void on_begin(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	if (r->retire) {
		enter_settling(r, now_ms, out);
		return;
	}
	if (!r->has_new) {
		enter_shifting(r, out);
		return;
	}
	r->state = ROLLOUT_STARTING;
	add(out, ROLLOUT_DO_START);
	add_timer(out, now_ms + r->policy.start_timeout_ms);
}

static void on_abort_idle(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	(void)now_ms;
	r->outcome = ROLLOUT_FAILED;
	r->cause = ROLLOUT_ABORTED;
	enter_ended(r, out);
}

static void on_new_listening(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	(void)now_ms;
	r->state = ROLLOUT_VERIFYING;
	add(out, ROLLOUT_DO_VERIFY);
}

static void on_new_healthy(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	(void)now_ms;
	enter_shifting(r, out);
}

static void on_new_failed_early(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	fail(r, ROLLOUT_INSTANCE_FAILED, now_ms, out);
}

static void on_start_timeout(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	fail(r, ROLLOUT_START_TIMEOUT, now_ms, out);
}

static void on_abort_early(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	fail(r, ROLLOUT_ABORTED, now_ms, out);
}

static void on_shifted(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	if (!rollout_victim_is_new(r))
		r->shifted = r->has_new;
	if (r->has_old || rollout_victim_is_new(r)) {
		enter_settling(r, now_ms, out);
		return;
	}
	add(out, ROLLOUT_DO_COMMIT);
	enter_ended(r, out);
}

static void on_shift_failed(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	if (!rollout_victim_is_new(r) && r->has_new) {
		fail(r, ROLLOUT_PUBLISH_FAILED, now_ms, out);
		return;
	}
	/*
	 * Flipping back or stopping could not be published. The kernel's backup slots still name
	 * the old generation once the new one's sockets close, and a stop closes them anyway.
	 */
	enter_settling(r, now_ms, out);
}

/* Nothing of the old generation can accept: there is nothing to settle, or to go back to. */
static void on_old_gone_late(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	r->old_gone = true;
	if (!rollout_victim_is_new(r))
		enter_leaving(r, now_ms, out);
}

static void on_new_failed_late(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	(void)now_ms;
	if (can_roll_back(r))
		roll_back(r, ROLLOUT_INSTANCE_FAILED, out);
}

static void on_abort_late(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	(void)now_ms;
	if (can_roll_back(r))
		roll_back(r, ROLLOUT_ABORTED, out);
}

static void on_settled(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	if (r->outcome == ROLLOUT_DONE && r->has_new && r->policy.bake_ms > 0) {
		r->state = ROLLOUT_BAKING;
		add_timer(out, now_ms + r->policy.bake_ms);
		return;
	}
	enter_leaving(r, now_ms, out);
}

static void on_baked(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	enter_leaving(r, now_ms, out);
}

/* Also at the deadline: an agent that does not answer must not keep the rollout from ending. */
static void on_left(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	enter_draining(r, now_ms, out);
}

static void on_drained(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	enter_stopping(r, now_ms, out);
}

static void on_drain_timeout(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	r->cut = true;
	enter_stopping(r, now_ms, out);
}

/* Its processes are gone already; the agent still has to be ended. */
static void on_stopped_early(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	enter_stopping(r, now_ms, out);
}

static void on_stopped(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	(void)now_ms;
	enter_ended(r, out);
}

static void on_stop_timeout(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	(void)now_ms;
	add(out, ROLLOUT_DO_KILL);
	enter_ended(r, out);
}

/*
 * Cells that are not named ignore their event. Among them: OLD_GONE before the shift, because the
 * old generation's agent starts it again for as long as it is the one that serves; and NEW_FAILED
 * and ABORT from LEAVING on, because nothing is left to go back to.
 */
static const handler handlers[_ROLLOUT_STATE_COUNT][_ROLLOUT_EVENT_COUNT] = {
	[ROLLOUT_IDLE] =
		{
			[ROLLOUT_BEGIN] = on_begin,
			[ROLLOUT_ABORT] = on_abort_idle,
		},
	[ROLLOUT_STARTING] =
		{
			[ROLLOUT_NEW_LISTENING] = on_new_listening,
			[ROLLOUT_NEW_FAILED] = on_new_failed_early,
			[ROLLOUT_ABORT] = on_abort_early,
			[ROLLOUT_TIMER] = on_start_timeout,
		},
	[ROLLOUT_VERIFYING] =
		{
			[ROLLOUT_NEW_HEALTHY] = on_new_healthy,
			[ROLLOUT_NEW_FAILED] = on_new_failed_early,
			[ROLLOUT_ABORT] = on_abort_early,
			[ROLLOUT_TIMER] = on_start_timeout,
		},
	[ROLLOUT_SHIFTING] =
		{
			[ROLLOUT_SHIFTED] = on_shifted,
			[ROLLOUT_SHIFT_FAILED] = on_shift_failed,
		},
	[ROLLOUT_SETTLING] =
		{
			[ROLLOUT_NEW_FAILED] = on_new_failed_late,
			[ROLLOUT_OLD_GONE] = on_old_gone_late,
			[ROLLOUT_SETTLED] = on_settled,
			[ROLLOUT_ABORT] = on_abort_late,
			[ROLLOUT_TIMER] = on_settled,
		},
	[ROLLOUT_BAKING] =
		{
			[ROLLOUT_NEW_FAILED] = on_new_failed_late,
			[ROLLOUT_OLD_GONE] = on_old_gone_late,
			[ROLLOUT_ABORT] = on_abort_late,
			[ROLLOUT_TIMER] = on_baked,
		},
	[ROLLOUT_LEAVING] =
		{
			[ROLLOUT_LEFT] = on_left,
			[ROLLOUT_STOPPED] = on_stopped_early,
			[ROLLOUT_TIMER] = on_left,
		},
	[ROLLOUT_DRAINING] =
		{
			[ROLLOUT_DRAINED] = on_drained,
			[ROLLOUT_STOPPED] = on_stopped_early,
			[ROLLOUT_TIMER] = on_drain_timeout,
		},
	[ROLLOUT_STOPPING] =
		{
			[ROLLOUT_STOPPED] = on_stopped,
			[ROLLOUT_TIMER] = on_stop_timeout,
		},
	[ROLLOUT_ENDED] = {},
};

void rollout_init(struct rollout *r, const struct rollout_policy *policy, bool has_old,
		  bool has_new)
{
	assert(has_old || has_new);
	*r = (struct rollout){
		.policy = *policy,
		.has_old = has_old,
		.has_new = has_new,
	};
}

void rollout_init_retire(struct rollout *r, const struct rollout_policy *policy)
{
	rollout_init(r, policy, true, false);
	r->retire = true;
}

void rollout_step(struct rollout *r, enum rollout_event event, uint64_t now_ms,
		  struct rollout_actions *ret)
{
	handler h;

	assert(r->state < _ROLLOUT_STATE_COUNT && event < _ROLLOUT_EVENT_COUNT);
	ret->n = 0;
	h = handlers[r->state][event];
	(h ? h : ignore)(r, now_ms, ret);
}

/* ---- names ---------------------------------------------------------------------------------- */

const char *rollout_state_name(enum rollout_state state)
{
	static const char *const names[_ROLLOUT_STATE_COUNT] = {
		[ROLLOUT_IDLE] = "idle",        [ROLLOUT_STARTING] = "start",
		[ROLLOUT_VERIFYING] = "verify", [ROLLOUT_SHIFTING] = "shift",
		[ROLLOUT_SETTLING] = "settle",  [ROLLOUT_BAKING] = "bake",
		[ROLLOUT_LEAVING] = "leave",    [ROLLOUT_DRAINING] = "drain",
		[ROLLOUT_STOPPING] = "stop",    [ROLLOUT_ENDED] = "ended",
	};

	return names[state];
}

const char *rollout_event_name(enum rollout_event event)
{
	static const char *const names[_ROLLOUT_EVENT_COUNT] = {
		[ROLLOUT_BEGIN] = "begin",
		[ROLLOUT_NEW_LISTENING] = "new-listening",
		[ROLLOUT_NEW_HEALTHY] = "new-healthy",
		[ROLLOUT_NEW_FAILED] = "new-failed",
		[ROLLOUT_OLD_GONE] = "old-gone",
		[ROLLOUT_SHIFTED] = "shifted",
		[ROLLOUT_SHIFT_FAILED] = "shift-failed",
		[ROLLOUT_SETTLED] = "settled",
		[ROLLOUT_LEFT] = "left",
		[ROLLOUT_DRAINED] = "drained",
		[ROLLOUT_STOPPED] = "stopped",
		[ROLLOUT_ABORT] = "abort",
		[ROLLOUT_TIMER] = "timer",
	};

	return names[event];
}

const char *rollout_outcome_name(enum rollout_outcome outcome)
{
	static const char *const names[] = {
		[ROLLOUT_DONE] = "done",
		[ROLLOUT_FAILED] = "failed",
		[ROLLOUT_ROLLED_BACK] = "rolled-back",
	};

	return names[outcome];
}
