/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/rollout/rollout.h"

#include <assert.h>
#include <string.h>

typedef void (*handler)(struct rollout *r, uint64_t now_ms, struct rollout_actions *out);

static struct rollout_action *add(struct rollout_actions *out, enum rollout_action_type type)
{
	assert(out->n < ROLLOUT_ACTIONS_MAX);
	out->list[out->n] = (struct rollout_action){.type = type};
	return &out->list[out->n++];
}

static void add_timer(struct rollout_actions *out, uint64_t at_ms)
{
	add(out, ROLLOUT_DO_TIMER)->at_ms = at_ms;
}

enum rollout_side rollout_from(const struct rollout *r)
{
	return r->to == ROLLOUT_NEW ? ROLLOUT_OLD : ROLLOUT_NEW;
}

/* A rollout without a new side goes forward, too: to nothing. */
static bool is_forward(const struct rollout *r)
{
	return r->to == ROLLOUT_NEW;
}

bool rollout_victim_is_new(const struct rollout *r)
{
	return !is_forward(r);
}

bool rollout_is_committed(const struct rollout *r)
{
	return r->committed || !r->has_new;
}

/* Every instance that side .to is to have has been started. */
static bool is_complete(const struct rollout *r)
{
	return r->alive[r->to] == r->wanted[r->to];
}

bool rollout_stops_first(const struct rollout *r)
{
	return r->policy.strategy == ROLLOUT_STOP_FIRST && r->has_old && r->has_new;
}

bool rollout_is_decided(const struct rollout *r)
{
	if (r->state == ROLLOUT_ENDED || !r->has_new)
		return true;
	/* Another rollout would start something beside what is still going. */
	if (rollout_stops_first(r))
		return false;
	if (r->state < ROLLOUT_LEAVING || !is_complete(r) || r->victims < r->alive[rollout_from(r)])
		return false;
	return r->committed || !is_forward(r);
}

/* ---- how many ------------------------------------------------------------------------------- */

static uint32_t at_least(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static uint32_t at_most(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static bool is_rolling(const struct rollout *r)
{
	return r->policy.strategy == ROLLOUT_ROLLING && r->has_old && r->has_new;
}

/* How many can be started now without more being alive than may be? */
static uint32_t startable(const struct rollout *r)
{
	uint32_t missing = r->wanted[r->to] - r->alive[r->to];
	uint32_t all = r->alive[ROLLOUT_OLD] + r->alive[ROLLOUT_NEW];
	uint32_t most =
		at_least(r->wanted[ROLLOUT_OLD], r->wanted[ROLLOUT_NEW]) + r->policy.max_surge;

	assert(r->alive[r->to] <= r->wanted[r->to]);
	if (rollout_stops_first(r) && r->alive[rollout_from(r)] > 0)
		return 0;
	if (!is_rolling(r))
		return missing;
	return at_most(missing, most > all ? most - all : 0);
}

/* How many can go now without fewer being in service than must be? */
static uint32_t expendable(const struct rollout *r)
{
	uint32_t from = r->alive[rollout_from(r)];
	uint32_t serving = r->alive[r->to] + from - r->stale;
	uint32_t least = at_most(r->wanted[ROLLOUT_OLD], r->wanted[ROLLOUT_NEW]);

	if (is_complete(r) || rollout_stops_first(r))
		return from;
	if (!is_rolling(r))
		return 0;
	least = at_least(1,
			 least > r->policy.max_unavailable ? least - r->policy.max_unavailable : 0);
	return at_most(from, r->stale + (serving > least ? serving - least : 0));
}

/* ---- entering states ------------------------------------------------------------------------ */

static void enter_ended(struct rollout *r, struct rollout_actions *out)
{
	r->state = ROLLOUT_ENDED;
	add(out, ROLLOUT_DO_NO_TIMER);
	add(out, ROLLOUT_DO_END);
}

static void enter_stopping(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	r->state = ROLLOUT_STOPPING;
	r->killed = false;
	add(out, ROLLOUT_DO_STOP);
	add_timer(out, now_ms + r->policy.stop_timeout_ms);
}

static void enter_draining(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	r->state = ROLLOUT_DRAINING;
	add(out, ROLLOUT_DO_DRAIN);
	add_timer(out, now_ms + (is_forward(r) ? r->policy.old_drain_timeout_ms
					       : r->policy.new_drain_timeout_ms));
}

/* New connections go to nobody any more, if they have gone to the victims until now. */
static void close_up(struct rollout *r, struct rollout_actions *out)
{
	if (r->open)
		add(out, ROLLOUT_DO_UNNAME);
	r->open = false;
}

bool rollout_victims_stay(const struct rollout *r)
{
	return is_forward(r) ? r->policy.old_stays : r->policy.new_stays;
}

static void enter_leaving(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	/* What stops first is started again if the new ones fail. */
	if (is_forward(r) && r->victims == r->alive[ROLLOUT_OLD] && !rollout_stops_first(r)) {
		r->committed = true;
		if (r->has_new)
			add(out, ROLLOUT_DO_COMMIT);
	}
	if (!r->open)
		add(out, ROLLOUT_DO_UNNAME);
	if (rollout_victims_stay(r)) {
		enter_draining(r, now_ms, out);
		return;
	}
	r->state = ROLLOUT_LEAVING;
	add(out, ROLLOUT_DO_LEAVE);
	add_timer(out, now_ms + r->policy.leave_timeout_ms);
}

/* Those that stay get no drain signal. */
static void enter_delaying(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	uint64_t delay_ms = is_forward(r) ? r->policy.old_delay_ms : r->policy.new_delay_ms;

	if (delay_ms == 0 || rollout_victims_stay(r)) {
		enter_leaving(r, now_ms, out);
		return;
	}
	r->state = ROLLOUT_DELAYING;
	add(out, ROLLOUT_DO_DELAY);
	add_timer(out, now_ms + delay_ms);
}

static void enter_settling(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	r->state = ROLLOUT_SETTLING;
	add(out, ROLLOUT_DO_SETTLE);
	add_timer(out, now_ms + r->policy.settle_timeout_ms);
}

/* A first start has nobody to share the connections with. */
static bool has_canary_steps(const struct rollout *r)
{
	return r->policy.strategy == ROLLOUT_CANARY && r->has_old && r->has_new && is_forward(r) &&
	       !r->old_gone;
}

static void enter_shifting(struct rollout *r, struct rollout_actions *out)
{
	struct rollout_action *publish;

	r->state = ROLLOUT_SHIFTING;
	assert(!has_canary_steps(r) || r->step < r->policy.n_steps);
	r->weight = has_canary_steps(r) ? r->policy.steps[r->step].weight : 0;
	if (r->weight == 100)
		r->weight = 0;
	r->victims = r->weight > 0 ? 0 : expendable(r);
	add(out, ROLLOUT_DO_NO_TIMER);
	publish = add(out, ROLLOUT_DO_PUBLISH);
	publish->to = r->to;
	publish->n = r->victims;
	publish->weight = r->weight;
}

static void enter_gating(struct rollout *r, enum rollout_gate point, uint64_t now_ms,
			 struct rollout_actions *out)
{
	r->state = ROLLOUT_GATING;
	r->point = point;
	add(out, ROLLOUT_DO_GATE)->point = point;
	add_timer(out, now_ms + r->policy.gate_timeout_ms);
}

static void enter_waiting(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	r->state = ROLLOUT_WAITING;
	add(out, ROLLOUT_DO_WAIT);
	add_timer(out, now_ms + r->policy.promote_timeout_ms);
}

static void enter_dwelling(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	const struct rollout_weight *step = &r->policy.steps[r->step];

	r->state = ROLLOUT_DWELLING;
	if (step->manual)
		add(out, ROLLOUT_DO_WAIT);
	add_timer(out, now_ms + (step->manual ? r->policy.promote_timeout_ms : step->dwell_ms));
}

static void enter_cycle(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	uint32_t n = startable(r);

	if (n > 0) {
		struct rollout_action *start;

		r->state = ROLLOUT_STARTING;
		r->alive[r->to] += n;
		r->batch = n;
		start = add(out, ROLLOUT_DO_START);
		start->to = r->to;
		start->n = n;
		add_timer(out, now_ms + r->policy.start_timeout_ms);
	} else if (r->alive[rollout_from(r)] > 0) {
		enter_shifting(r, out);
	} else {
		enter_ended(r, out);
	}
}

/* What was asked at .point may be done. */
static void pass_gate(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	if (r->point == ROLLOUT_GATE_LEAVE)
		enter_delaying(r, now_ms, out);
	else
		enter_shifting(r, out);
}

/* Without a surge old ones leave first, to make room: there is nobody to judge then. */
static bool is_on_trial(const struct rollout *r)
{
	return is_forward(r) && r->alive[ROLLOUT_NEW] > 0 && !r->committed;
}

static void ask_gate(struct rollout *r, enum rollout_gate point, uint64_t now_ms,
		     struct rollout_actions *out)
{
	r->point = point;
	if (is_on_trial(r) && (r->policy.gates & point))
		enter_gating(r, point, now_ms, out);
	else
		pass_gate(r, now_ms, out);
}

/* ---- turning round -------------------------------------------------------------------------- */

/*
 * Is the old side gone for good? In a rolling rollout those that have not been shifted away from
 * are started again by their agents. What stops first is started again by the rollout.
 */
static bool is_old_lost(const struct rollout *r)
{
	return r->old_gone && !is_rolling(r) && !rollout_stops_first(r);
}

/* Is there still a way back? */
static bool can_turn(const struct rollout *r)
{
	return r->has_old && r->has_new && is_forward(r) && !r->committed && !is_old_lost(r);
}

/*
 * If only probes can have seen the new instances they simply stop. Else the old ones are named
 * again first of all, before any that have left are started again. If no old one is left (they
 * stopped first) there is nobody to name: the new ones stop before the old ones are started again.
 */
static void turn_round(struct rollout *r, enum rollout_cause cause, uint64_t now_ms,
		       struct rollout_actions *out)
{
	bool unseen = !r->shifted && (!r->policy.joins_at_once || r->alive[ROLLOUT_NEW] == 0);
	bool untouched =
		unseen && r->victims == 0 && r->alive[ROLLOUT_OLD] == r->wanted[ROLLOUT_OLD];
	bool alone = unseen && rollout_stops_first(r) && r->alive[ROLLOUT_OLD] == 0;

	r->outcome = r->shifted ? ROLLOUT_ROLLED_BACK : ROLLOUT_FAILED;
	r->cause = cause;
	r->to = ROLLOUT_OLD;
	r->stale = r->batch;
	r->batch = 0;
	r->victims = 0;
	r->turn = ROLLOUT_NO_CAUSE;
	if (r->quit || r->policy.one_way)
		r->wanted[ROLLOUT_OLD] = r->alive[ROLLOUT_OLD];
	if (!untouched && !alone) {
		enter_shifting(r, out);
		return;
	}
	r->victims = r->alive[ROLLOUT_NEW];
	if (r->victims > 0)
		enter_stopping(r, now_ms, out);
	else
		enter_cycle(r, now_ms, out);
}

/* A first start has nothing to go back to, but can be undone all the same. */
bool rollout_can_undo(const struct rollout *r)
{
	return can_turn(r) || (is_forward(r) && !r->has_old && !r->committed);
}

static void fail(struct rollout *r, enum rollout_cause cause, uint64_t now_ms,
		 struct rollout_actions *out)
{
	if (rollout_can_undo(r))
		turn_round(r, cause, now_ms, out);
}

/* The batch cannot be started: go on with the instances that there are. */
static void do_without_batch(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	add(out, ROLLOUT_DO_DISCARD);
	r->alive[r->to] -= r->batch;
	r->wanted[r->to] = r->alive[r->to];
	r->batch = 0;
	enter_cycle(r, now_ms, out);
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
		r->victims = r->alive[ROLLOUT_OLD];
		enter_settling(r, now_ms, out);
		return;
	}
	if (r->has_new && r->policy.before_start) {
		r->state = ROLLOUT_PREPARING;
		add(out, ROLLOUT_DO_PREPARE);
		add_timer(out, now_ms + r->policy.prepare_timeout_ms);
		return;
	}
	enter_cycle(r, now_ms, out);
}

static void on_abort_idle(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	(void)now_ms;
	r->outcome = ROLLOUT_FAILED;
	r->cause = ROLLOUT_ABORTED;
	r->to = r->has_new ? ROLLOUT_OLD : ROLLOUT_NEW;
	enter_ended(r, out);
}

static void on_quit_idle(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	on_abort_idle(r, now_ms, out);
}

static void on_prepared(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	enter_cycle(r, now_ms, out);
}

static void on_prepare_failed(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	fail(r, ROLLOUT_PREPARE_REFUSED, now_ms, out);
}

static void on_listening(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	(void)now_ms;
	r->state = ROLLOUT_VERIFYING;
	add(out, ROLLOUT_DO_VERIFY);
}

static void on_healthy(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	ask_gate(r, ROLLOUT_GATE_SHIFT, now_ms, out);
}

/* Past COMMIT the rollout goes on without instances that cannot be started. */
static void on_new_failed_starting(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	if (r->committed)
		do_without_batch(r, now_ms, out);
	else
		fail(r, ROLLOUT_INSTANCE_FAILED, now_ms, out);
}

static void on_restore_failed(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	if (!is_forward(r))
		do_without_batch(r, now_ms, out);
}

static void on_start_timeout(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	if (r->committed || !is_forward(r))
		do_without_batch(r, now_ms, out);
	else
		fail(r, ROLLOUT_START_TIMEOUT, now_ms, out);
}

static void on_new_failed(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	fail(r, ROLLOUT_INSTANCE_FAILED, now_ms, out);
}

static void on_abort(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	fail(r, ROLLOUT_ABORTED, now_ms, out);
}

/* If it does not turn round, what is still to be started would have to be stopped at once. */
static void on_quit(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	r->quit = true;
	if (rollout_can_undo(r))
		turn_round(r, ROLLOUT_ABORTED, now_ms, out);
	else if (r->batch > 0)
		do_without_batch(r, now_ms, out);
	else
		r->wanted[r->to] = r->alive[r->to];
}

static void on_prepare_timeout(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	fail(r, ROLLOUT_PREPARE_REFUSED, now_ms, out);
}

static void on_gate_passed(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	pass_gate(r, now_ms, out);
}

static void on_gate_failed(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	fail(r, ROLLOUT_GATE_REFUSED, now_ms, out);
}

static void on_gate_unsure(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	enter_waiting(r, now_ms, out);
}

static void on_not_promoted(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	fail(r, ROLLOUT_NOT_PROMOTED, now_ms, out);
}

static void on_shifted(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	bool full = is_forward(r) && r->has_new && r->weight == 0 &&
		    r->victims == r->alive[ROLLOUT_OLD] &&
		    (!rollout_stops_first(r) || r->alive[ROLLOUT_NEW] > 0);

	r->batch = 0;
	add(out, ROLLOUT_DO_STEADY);
	/* Without a surge the first table only makes room. */
	r->shifted |= is_forward(r) && r->alive[ROLLOUT_NEW] > 0;
	if (full && !r->full) {
		r->full = true;
		add(out, ROLLOUT_DO_SHIFTED);
	}
	if (r->weight > 0) {
		enter_dwelling(r, now_ms, out);
	} else if (r->victims > 0 && is_forward(r) && is_old_lost(r)) {
		enter_leaving(r, now_ms, out);
	} else if (r->victims > 0 && r->policy.lasts) {
		/* There is nothing to settle: new connections go on coming. */
		r->open = true;
		enter_delaying(r, now_ms, out);
	} else if (r->victims > 0) {
		enter_settling(r, now_ms, out);
	} else {
		if (is_forward(r) && is_complete(r) && !r->committed) {
			r->committed = true;
			add(out, ROLLOUT_DO_COMMIT);
			if (rollout_stops_first(r))
				add(out, ROLLOUT_DO_DRAINED);
		}
		enter_cycle(r, now_ms, out);
	}
}

/*
 * If the table of a way back, or of a stop, cannot be published, the rollout goes on. Once the
 * victims' sockets close, the kernel takes the backup slots; a stop closes all sockets anyway.
 */
static void on_shift_failed(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	if (!rollout_can_undo(r)) {
		on_shifted(r, now_ms, out);
		return;
	}
	r->victims = 0;
	add(out, ROLLOUT_DO_RESTORE);
	turn_round(r, ROLLOUT_PUBLISH_FAILED, now_ms, out);
}

static void next_step(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	r->step++;
	ask_gate(r, ROLLOUT_GATE_STEP, now_ms, out);
}

static void on_dwelt(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	if (r->policy.steps[r->step].manual)
		fail(r, ROLLOUT_NOT_PROMOTED, now_ms, out);
	else
		next_step(r, now_ms, out);
}

/* Nobody is left to share with, or to go back to: all of it at once. */
static void on_old_gone_dwelling(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	(void)now_ms;
	r->old_gone = true;
	enter_shifting(r, out);
}

/*
 * Nobody of the old side can accept any more, so nothing is left to settle. The rollout is nearly
 * over and does not go back. Only a rolling one has more to come; if it must it starts old ones
 * again.
 */
static void on_old_gone_late(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	r->old_gone = true;
	if (is_forward(r))
		enter_leaving(r, now_ms, out);
}

/* The gates are asked no more: whatever they answer, there is no way back. */
static void on_old_gone_asking(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	if (r->point == ROLLOUT_GATE_LEAVE)
		on_old_gone_late(r, now_ms, out);
	else if (r->point == ROLLOUT_GATE_STEP)
		on_old_gone_dwelling(r, now_ms, out);
}

static void on_settled(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	if (is_on_trial(r) && r->policy.bake_ms > 0) {
		r->state = ROLLOUT_BAKING;
		add_timer(out, now_ms + r->policy.bake_ms);
		return;
	}
	ask_gate(r, ROLLOUT_GATE_LEAVE, now_ms, out);
}

static void on_baked(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	ask_gate(r, ROLLOUT_GATE_LEAVE, now_ms, out);
}

static void on_delayed(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	enter_leaving(r, now_ms, out);
}

/* What comes would wait in vain, and be reset when the listening sockets close. */
static void on_deaf(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	(void)now_ms;
	close_up(r, out);
}

/* At the deadline, too: an agent that does not answer must not keep a rollout from ending. */
static void on_left(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	close_up(r, out);
	enter_draining(r, now_ms, out);
}

static void on_drained(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	enter_stopping(r, now_ms, out);
}

static void on_drain_timeout(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	enter_stopping(r, now_ms, out);
}

/* Their processes are gone already; the agents still have to be ended. */
static void on_stopped_early(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	close_up(r, out);
	enter_stopping(r, now_ms, out);
}

/* A rolling rollout is between two batches: it turns round when the victims have stopped. */
static void turn_later(struct rollout *r, enum rollout_cause cause)
{
	if (can_turn(r) && r->turn == ROLLOUT_NO_CAUSE)
		r->turn = cause;
}

static void on_new_failed_leaving(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	(void)now_ms;
	(void)out;
	turn_later(r, ROLLOUT_INSTANCE_FAILED);
}

static void on_abort_leaving(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	(void)now_ms;
	(void)out;
	turn_later(r, ROLLOUT_ABORTED);
}

static void on_quit_leaving(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	(void)now_ms;
	(void)out;
	r->quit = true;
	turn_later(r, ROLLOUT_ABORTED);
	if (!can_turn(r))
		r->wanted[r->to] = r->alive[r->to];
}

static void on_stopped(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	enum rollout_side from = rollout_from(r);

	add(out, ROLLOUT_DO_REAP);
	r->alive[from] -= r->victims;
	r->stale = r->stale > r->victims ? r->stale - r->victims : 0;
	r->victims = 0;
	if (r->turn != ROLLOUT_NO_CAUSE)
		turn_round(r, r->turn, now_ms, out);
	else if (r->alive[from] > 0 || !is_complete(r))
		enter_cycle(r, now_ms, out);
	else
		enter_ended(r, out);
}

/*
 * Nothing may start beside what stops first, so it gets the time again to go after SIGKILL. What
 * survives that runs no instruction any more: the rollout goes on.
 */
static void on_stop_timeout(struct rollout *r, uint64_t now_ms, struct rollout_actions *out)
{
	add(out, ROLLOUT_DO_KILL);
	if (rollout_stops_first(r) && !r->killed) {
		r->killed = true;
		add_timer(out, now_ms + r->policy.stop_timeout_ms);
		return;
	}
	on_stopped(r, now_ms, out);
}

/*
 * A cell that is not named ignores its event. OLD_GONE is ignored before a shift, because agents
 * start again what serves. Events that turn a rollout round do nothing if it has turned already, or
 * cannot turn.
 */
static const handler handlers[_ROLLOUT_STATE_COUNT][_ROLLOUT_EVENT_COUNT] = {
	[ROLLOUT_IDLE] =
		{
			[ROLLOUT_BEGIN] = on_begin,
			[ROLLOUT_ABORT] = on_abort_idle,
			[ROLLOUT_QUIT] = on_quit_idle,
		},
	[ROLLOUT_PREPARING] =
		{
			[ROLLOUT_PREPARED] = on_prepared,
			[ROLLOUT_PREPARE_FAILED] = on_prepare_failed,
			[ROLLOUT_ABORT] = on_abort,
			[ROLLOUT_QUIT] = on_quit,
			[ROLLOUT_TIMER] = on_prepare_timeout,
		},
	[ROLLOUT_STARTING] =
		{
			[ROLLOUT_LISTENING] = on_listening,
			[ROLLOUT_NEW_FAILED] = on_new_failed_starting,
			[ROLLOUT_RESTORE_FAILED] = on_restore_failed,
			[ROLLOUT_ABORT] = on_abort,
			[ROLLOUT_QUIT] = on_quit,
			[ROLLOUT_TIMER] = on_start_timeout,
		},
	[ROLLOUT_VERIFYING] =
		{
			[ROLLOUT_HEALTHY] = on_healthy,
			[ROLLOUT_NEW_FAILED] = on_new_failed_starting,
			[ROLLOUT_RESTORE_FAILED] = on_restore_failed,
			[ROLLOUT_ABORT] = on_abort,
			[ROLLOUT_QUIT] = on_quit,
			[ROLLOUT_TIMER] = on_start_timeout,
		},
	[ROLLOUT_GATING] =
		{
			[ROLLOUT_GATE_PASSED] = on_gate_passed,
			[ROLLOUT_GATE_FAILED] = on_gate_failed,
			[ROLLOUT_GATE_UNSURE] = on_gate_unsure,
			[ROLLOUT_NEW_FAILED] = on_new_failed,
			[ROLLOUT_OLD_GONE] = on_old_gone_asking,
			[ROLLOUT_ABORT] = on_abort,
			[ROLLOUT_QUIT] = on_quit,
			[ROLLOUT_TIMER] = on_gate_failed,
		},
	[ROLLOUT_SHIFTING] =
		{
			[ROLLOUT_SHIFTED] = on_shifted,
			[ROLLOUT_SHIFT_FAILED] = on_shift_failed,
		},
	[ROLLOUT_DWELLING] =
		{
			[ROLLOUT_PROMOTE] = next_step,
			[ROLLOUT_NEW_FAILED] = on_new_failed,
			[ROLLOUT_OLD_GONE] = on_old_gone_dwelling,
			[ROLLOUT_ABORT] = on_abort,
			[ROLLOUT_QUIT] = on_quit,
			[ROLLOUT_TIMER] = on_dwelt,
		},
	[ROLLOUT_WAITING] =
		{
			[ROLLOUT_PROMOTE] = on_gate_passed,
			[ROLLOUT_NEW_FAILED] = on_new_failed,
			[ROLLOUT_OLD_GONE] = on_old_gone_asking,
			[ROLLOUT_ABORT] = on_abort,
			[ROLLOUT_QUIT] = on_quit,
			[ROLLOUT_TIMER] = on_not_promoted,
		},
	[ROLLOUT_SETTLING] =
		{
			[ROLLOUT_NEW_FAILED] = on_new_failed,
			[ROLLOUT_OLD_GONE] = on_old_gone_late,
			[ROLLOUT_SETTLED] = on_settled,
			[ROLLOUT_ABORT] = on_abort,
			[ROLLOUT_QUIT] = on_quit,
			[ROLLOUT_TIMER] = on_settled,
		},
	[ROLLOUT_BAKING] =
		{
			[ROLLOUT_PROMOTE] = on_baked,
			[ROLLOUT_NEW_FAILED] = on_new_failed,
			[ROLLOUT_OLD_GONE] = on_old_gone_late,
			[ROLLOUT_ABORT] = on_abort,
			[ROLLOUT_QUIT] = on_quit,
			[ROLLOUT_TIMER] = on_baked,
		},
	[ROLLOUT_DELAYING] =
		{
			[ROLLOUT_DELAYED] = on_delayed,
			[ROLLOUT_NEW_FAILED] = on_new_failed,
			[ROLLOUT_OLD_GONE] = on_old_gone_late,
			[ROLLOUT_ABORT] = on_abort,
			[ROLLOUT_QUIT] = on_quit,
			[ROLLOUT_TIMER] = on_delayed,
		},
	[ROLLOUT_LEAVING] =
		{
			[ROLLOUT_DEAF] = on_deaf,
			[ROLLOUT_LEFT] = on_left,
			[ROLLOUT_STOPPED] = on_stopped_early,
			[ROLLOUT_NEW_FAILED] = on_new_failed_leaving,
			[ROLLOUT_ABORT] = on_abort_leaving,
			[ROLLOUT_QUIT] = on_quit_leaving,
			[ROLLOUT_TIMER] = on_left,
		},
	[ROLLOUT_DRAINING] =
		{
			[ROLLOUT_DRAINED] = on_drained,
			[ROLLOUT_STOPPED] = on_stopped_early,
			[ROLLOUT_NEW_FAILED] = on_new_failed_leaving,
			[ROLLOUT_ABORT] = on_abort_leaving,
			[ROLLOUT_QUIT] = on_quit_leaving,
			[ROLLOUT_TIMER] = on_drain_timeout,
		},
	[ROLLOUT_STOPPING] =
		{
			[ROLLOUT_STOPPED] = on_stopped,
			[ROLLOUT_NEW_FAILED] = on_new_failed_leaving,
			[ROLLOUT_ABORT] = on_abort_leaving,
			[ROLLOUT_QUIT] = on_quit_leaving,
			[ROLLOUT_TIMER] = on_stop_timeout,
		},
	[ROLLOUT_ENDED] = {},
};

void rollout_init(struct rollout *r, const struct rollout_policy *policy, uint32_t n_old,
		  uint32_t n_new)
{
	assert(n_old > 0 || n_new > 0);
	assert(policy->strategy != ROLLOUT_CANARY ||
	       (policy->n_steps > 0 && policy->n_steps <= ROLLOUT_STEPS_MAX &&
		policy->steps[policy->n_steps - 1].weight == 100));
	*r = (struct rollout){
		.policy = *policy,
		.has_old = n_old > 0,
		.has_new = n_new > 0,
		.to = ROLLOUT_NEW,
		.wanted = {[ROLLOUT_OLD] = n_old, [ROLLOUT_NEW] = n_new},
		.alive = {[ROLLOUT_OLD] = n_old},
	};
	if (policy->max_surge == 0 && (policy->max_unavailable == 0 || n_old <= 1 || n_new <= 1))
		r->policy.max_surge = 1;
}

void rollout_init_retire(struct rollout *r, const struct rollout_policy *policy, uint32_t n_old)
{
	rollout_init(r, policy, n_old, 0);
	r->retire = true;
}

static void insert(struct rollout_actions *out, size_t at, struct rollout_action action)
{
	assert(out->n < ROLLOUT_ACTIONS_MAX && at <= out->n);
	memmove(&out->list[at + 1], &out->list[at], (out->n - at) * sizeof(out->list[0]));
	out->list[at] = action;
	out->n++;
}

/*
 * Add what leaving a state means, before the actions of the next state: its end is told while its
 * instances are still there. Only a KILL comes first, because the end of a stop is known after it.
 */
static void leave_state(const struct rollout *r, enum rollout_state before,
			enum rollout_outcome outcome, struct rollout_actions *out)
{
	bool undone = r->outcome != outcome;
	size_t at = out->n > 0 && out->list[0].type == ROLLOUT_DO_KILL;

	if (before != ROLLOUT_IDLE)
		insert(out, at++,
		       (struct rollout_action){
			       .type = ROLLOUT_DO_TELL, .state = before, .ok = !undone});
	if (before == ROLLOUT_PREPARING || before == ROLLOUT_GATING)
		insert(out, at++, (struct rollout_action){.type = ROLLOUT_DO_CANCEL});
	if (before == ROLLOUT_DRAINING && is_forward(r) && r->committed)
		insert(out, at++, (struct rollout_action){.type = ROLLOUT_DO_DRAINED});
	if (undone)
		add(out, ROLLOUT_DO_UNDONE);
}

void rollout_step(struct rollout *r, enum rollout_event event, uint64_t now_ms,
		  struct rollout_actions *ret)
{
	enum rollout_outcome outcome = r->outcome;
	enum rollout_state before = r->state;
	handler h;

	assert(r->state < _ROLLOUT_STATE_COUNT && event < _ROLLOUT_EVENT_COUNT);
	ret->n = 0;
	h = handlers[r->state][event];
	(h ? h : ignore)(r, now_ms, ret);
	/* Victims that accept nothing any more have yet to leave; those that were killed, to go. */
	if (r->state != before ||
	    (ret->n > 0 && event != ROLLOUT_DEAF && before != ROLLOUT_STOPPING))
		leave_state(r, before, outcome, ret);
	assert(r->batch <= r->alive[r->to]);
	assert(r->victims <= r->alive[rollout_from(r)]);
	assert(r->stale <= r->alive[ROLLOUT_NEW]);
	/* Once it is committed nothing turns it round. */
	assert(!r->committed || is_forward(r));
	assert(r->outcome == ROLLOUT_DONE || r->cause != ROLLOUT_NO_CAUSE);
	assert(r->state != ROLLOUT_ENDED || r->victims == 0);
	assert(!r->open || r->state == ROLLOUT_DELAYING || r->state == ROLLOUT_LEAVING);
}

/* ---- names ---------------------------------------------------------------------------------- */

const char *rollout_state_name(enum rollout_state state)
{
	static const char *const names[_ROLLOUT_STATE_COUNT] = {
		[ROLLOUT_IDLE] = "idle",       [ROLLOUT_PREPARING] = "prepare",
		[ROLLOUT_STARTING] = "start",  [ROLLOUT_VERIFYING] = "verify",
		[ROLLOUT_GATING] = "gate",     [ROLLOUT_SHIFTING] = "shift",
		[ROLLOUT_DWELLING] = "hold",   [ROLLOUT_WAITING] = "wait",
		[ROLLOUT_SETTLING] = "settle", [ROLLOUT_BAKING] = "bake",
		[ROLLOUT_DELAYING] = "delay",  [ROLLOUT_LEAVING] = "leave",
		[ROLLOUT_DRAINING] = "drain",  [ROLLOUT_STOPPING] = "stop",
		[ROLLOUT_ENDED] = "ended",
	};

	assert(state < _ROLLOUT_STATE_COUNT);
	return names[state];
}

const char *rollout_event_name(enum rollout_event event)
{
	static const char *const names[_ROLLOUT_EVENT_COUNT] = {
		[ROLLOUT_BEGIN] = "begin",
		[ROLLOUT_PREPARED] = "prepared",
		[ROLLOUT_PREPARE_FAILED] = "prepare-failed",
		[ROLLOUT_LISTENING] = "listening",
		[ROLLOUT_HEALTHY] = "healthy",
		[ROLLOUT_NEW_FAILED] = "new-failed",
		[ROLLOUT_RESTORE_FAILED] = "restore-failed",
		[ROLLOUT_OLD_GONE] = "old-gone",
		[ROLLOUT_GATE_PASSED] = "gate-passed",
		[ROLLOUT_GATE_FAILED] = "gate-failed",
		[ROLLOUT_GATE_UNSURE] = "gate-unsure",
		[ROLLOUT_SHIFTED] = "shifted",
		[ROLLOUT_SHIFT_FAILED] = "shift-failed",
		[ROLLOUT_PROMOTE] = "promote",
		[ROLLOUT_SETTLED] = "settled",
		[ROLLOUT_DELAYED] = "delayed",
		[ROLLOUT_DEAF] = "deaf",
		[ROLLOUT_LEFT] = "left",
		[ROLLOUT_DRAINED] = "drained",
		[ROLLOUT_STOPPED] = "stopped",
		[ROLLOUT_ABORT] = "abort",
		[ROLLOUT_QUIT] = "quit",
		[ROLLOUT_TIMER] = "timer",
	};

	assert(event < _ROLLOUT_EVENT_COUNT);
	return names[event];
}

const char *rollout_outcome_name(enum rollout_outcome outcome)
{
	static const char *const names[] = {
		[ROLLOUT_DONE] = "done",
		[ROLLOUT_FAILED] = "failed",
		[ROLLOUT_ROLLED_BACK] = "rolled-back",
	};

	assert(outcome <= ROLLOUT_ROLLED_BACK);
	return names[outcome];
}

const char *rollout_strategy_name(enum rollout_strategy strategy)
{
	static const char *const names[] = {
		[ROLLOUT_BLUE_GREEN] = "blue-green",
		[ROLLOUT_ROLLING] = "rolling",
		[ROLLOUT_CANARY] = "canary",
		[ROLLOUT_STOP_FIRST] = "stop-first",
	};

	assert(strategy <= ROLLOUT_STOP_FIRST);
	return names[strategy];
}

const char *rollout_gate_name(enum rollout_gate point)
{
	switch (point) {
	case ROLLOUT_GATE_SHIFT:
		return "shift";
	case ROLLOUT_GATE_STEP:
		return "step";
	case ROLLOUT_GATE_LEAVE:
		return "leave";
	}
	return "unknown";
}
