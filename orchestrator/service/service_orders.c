/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/vector.h"
#include "orchestrator/service/service_internal.h"

/* ---- what is queued -------------------------------------------------------------------------- */

static void forget_next(struct service *s)
{
	service_order_done(&s->queue.next.order);
	s->queue.next = (struct service_next){};
}

/* The rollout of this number will not begin. Somebody waits for it, so its end is told. */
static void tell_unbegun(struct service *s, const struct service_next *next,
			 const struct refusal *refusal, const char *message)
{
	assert(next->used && next->id > 0);
	service_tell(s, &(struct event){
				.kind = refusal ? EVENT_FAILED : EVENT_DONE,
				.rollout = next->id,
				.order = order_info(next->order.type)->name,
				.exit = refusal ? (int)refusal_info(refusal->kind)->exit : 0,
				.message = message,
				.reason = refusal ? refusal->why.text : "",
			});
}

/*
 * What waits for its turn is not carried out. False: nothing waits for that. @reason: for whoever
 * waits for it.
 */
static bool call_off(struct order_call *call, const char *reason)
{
	struct service *s = call->service;
	struct refusal refusal;
	struct run_serving serving;

	if (!service_waits_for_turn(s))
		return false;
	service_who_serves(s, &serving);
	if (s->queue.next.used) {
		refusal.kind =
			serving.instances > 0 ? REFUSAL_BAD_RELEASE : REFUSAL_BAD_FIRST_RELEASE;
		error_text(&refusal.why, -ECANCELED, "%s, before it had begun", reason);
		tell_unbegun(s, &s->queue.next, &refusal, refusal.why.text);
		snprintf(call->answer->message, sizeof(call->answer->message),
			 "rollout %u (%s), which waited for its turn, is called off",
			 s->queue.next.id, order_info(s->queue.next.order.type)->name);
	} else {
		snprintf(call->answer->message, sizeof(call->answer->message),
			 "the %s that waited for its turn is called off",
			 order_info(s->queue.own)->name);
	}
	forget_next(s);
	s->queue.has_own = false;
	if (!s->current) {
		s->stopped = s->settled = true;
		s->on_end(s->userdata, s);
	}
	return true;
}

/* ---- promote, abort, reopen ----------------------------------------------------------------- */

static int order_promote(struct order_call *call)
{
	struct run *run = service_undecided_run(call->service);

	if (!run || !run_can_promote(run)) {
		error_text(&call->refusal->why, -EALREADY,
			   run ? "rollout %u is at step %s, which waits for nobody"
			       : "no rollout is under way",
			   run ? run->id : 0, run ? rollout_state_name(run->machine.state) : "");
		return refuse(call->refusal, REFUSAL_NOTHING_TO_PROMOTE);
	}
	call->answer->run = run;
	run_promote(run);
	return 0;
}

/* The command that takes back what such a rollout has done; NULL: none. */
static const char *undo_later(enum run_order order)
{
	switch (order) {
	case RUN_ORDER_RESTART:
	case RUN_ORDER_UPGRADE:
		return "rollback";
	case RUN_ORDER_STOP:
		return "start";
	default:
		return NULL;
	}
}

static int refuse_abort(struct order_call *call)
{
	const struct run *run = service_run(call->service);
	struct error *why = &call->refusal->why;
	const char *later = run ? undo_later(run->order) : NULL;

	if (!run)
		error_text(why, -EALREADY, "no rollout is under way");
	else if (!later)
		error_text(why, -EALREADY, "rollout %u cannot be undone any more (step %s)",
			   run->id, rollout_state_name(run->machine.state));
	else
		error_text(why, -EALREADY,
			   "rollout %u cannot be undone any more (step %s); once it has ended: "
			   "\"baton %s %s\"",
			   run->id, rollout_state_name(run->machine.state), later,
			   call->service->config->name);
	return refuse(call->refusal, REFUSAL_NOTHING_TO_ABORT);
}

/* False: it had come too far by now, as a look at it has shown, and goes on. */
static bool undo(struct run *run, const char *reason)
{
	run_abort(run, false, reason);
	return run->machine.outcome != ROLLOUT_DONE || run->machine.turn != ROLLOUT_NO_CAUSE;
}

static int order_abort(struct order_call *call)
{
	struct run *run = service_undecided_run(call->service);

	if (!run && call_off(call, "aborted by request"))
		return 0;
	if (!run || rollout_is_committed(&run->machine) || !undo(run, "aborted by request"))
		return refuse_abort(call);
	call->answer->run = run;
	return 0;
}

/* The agents do it, and the answer waits for them. */
static int order_reopen(struct order_call *call)
{
	const struct service_order *order = call->order;
	int r = service_reopen(call->service, order->on_reopened, order->userdata,
			       &call->refusal->why);

	if (r < 0)
		return refuse(call->refusal, r == -EBUSY ? REFUSAL_BUSY : REFUSAL_CANNOT_REOPEN);
	call->answer->later = true;
	return 0;
}

/* ---- which there are ------------------------------------------------------------------------ */

/* What each does. common/orders.h has its name and what it takes. */
static const struct order_entry {
	int (*carry_out)(struct order_call *call);
	/* It begins a rollout, so that it has to wait, or to supersede, while one is undecided. */
	bool begins;
	bool makes_generation;
	int (*check)(struct order_call *call); /* refuses what cannot begin; NULL: never */
} entries[_SERVICE_ORDER_COUNT] = {
	[SERVICE_ORDER_RESTART] = {order_restart, true, true, order_check_release},
	[SERVICE_ORDER_UPGRADE] = {order_upgrade, true, true, order_check_release},
	[SERVICE_ORDER_ROLLBACK] = {order_rollback, true, true, order_check_rollback},
	[SERVICE_ORDER_START] = {order_start, true, true, order_check_start},
	[SERVICE_ORDER_STOP] = {order_stop, .begins = true},
	[SERVICE_ORDER_SCALE] = {order_scale, .begins = true},
	[SERVICE_ORDER_PROMOTE] = {order_promote},
	[SERVICE_ORDER_ABORT] = {order_abort},
	[SERVICE_ORDER_PAUSE] = {order_pause},
	[SERVICE_ORDER_RESUME] = {order_resume},
	[SERVICE_ORDER_REOPEN] = {order_reopen},
};

/* A failed scaling must have set the number of instances back before. */
static int carry_out(struct order_call *call)
{
	int r;

	service_settle_scale(call->service);
	r = entries[call->order->type].carry_out(call);
	assert(r >= 0 ? !call->answer->run || service_run_is_used(call->answer->run)
		      : call->refusal->why.text[0]);
	return r;
}

/* ---- one after the other -------------------------------------------------------------------- */

/* Nothing is undecided, and there is room for the generation that an order of @type makes. */
static bool has_way(struct service *s, enum service_order_type type)
{
	if (service_undecided_run(s) || service_stopping_run(s))
		return false;
	if (service_going_run(s) && type != SERVICE_ORDER_STOP)
		return false;
	return !entries[type].makes_generation || service_has_room(s) || s->shutting_down;
}

/* ... and it is its turn. */
static bool can_begin(struct service *s, const struct service_order *order)
{
	return has_way(s, order->type) && service_has_turn(s, order);
}

/* Nobody waits for the service's own wish: whoever follows the events is told. */
static void tell_refused(struct service *s, enum service_order_type type,
			 const struct refusal *refusal)
{
	char reason[sizeof(refusal->why.text) + 32];

	snprintf(reason, sizeof(reason), "%s: %s", order_info(type)->name, refusal->why.text);
	service_tell(s, &(struct event){.kind = EVENT_REFUSED,
					.message = reason,
					.generation = s->current ? s->current->number : 0,
					.reason = reason});
}

int service_refuse_silent(struct service *s, const struct error *why, struct refusal *refusal)
{
	struct run_serving serving;

	service_who_serves(s, &serving);
	error_text(&refusal->why, -ETIMEDOUT, "%s", why->text);
	return refuse(refusal,
		      serving.instances > 0 ? REFUSAL_BAD_RELEASE : REFUSAL_BAD_FIRST_RELEASE);
}

/* The service's own order. If it is refused, an event says so. @silent: its files do not answer. */
static void begin_own(struct service *s, const struct error *silent)
{
	struct service_order order = {.type = s->queue.own};
	struct service_answer answer = {};
	struct refusal refusal = {};
	struct order_call call = {
		.service = s, .order = &order, .answer = &answer, .refusal = &refusal};

	if (s->shutting_down) {
		s->queue.has_own = false;
		return;
	}
	if (!can_begin(s, &order))
		return;
	s->queue.has_own = false;
	if ((silent ? service_refuse_silent(s, silent, &refusal) : carry_out(&call)) < 0)
		tell_refused(s, order.type, &refusal);
	/* Healing has waited for this. */
	if (!answer.run)
		service_poke(s);
}

/* A service that is to run, and whose start has waited. */
static void note_unstarted(struct service *s, enum service_order_type type,
			   const struct refusal *refusal)
{
	if (type != SERVICE_ORDER_START || s->stopped || s->current || s->shutting_down)
		return;
	snprintf(s->refusal, sizeof(s->refusal), "%s", refusal->why.text);
	s->queue.unstarted = true;
}

static void begin_next(struct service *s, const struct error *silent)
{
	struct service_next next = s->queue.next;
	struct service_answer answer = {};
	struct refusal refusal = {};
	struct order_call call = {.service = s,
				  .order = &next.order,
				  .id = next.id,
				  .answer = &answer,
				  .refusal = &refusal};
	int r;

	if (!can_begin(s, &next.order))
		return;
	s->queue.next = (struct service_next){};
	if (s->shutting_down) {
		error_text(&refusal.why, -ESHUTDOWN, "batond is shutting down");
		r = refuse(&refusal, REFUSAL_SHUTTING_DOWN);
	} else {
		r = silent ? service_refuse_silent(s, silent, &refusal) : carry_out(&call);
	}
	if (r < 0) {
		log_error("%s: %s: %s", s->config->name, order_info(next.order.type)->name,
			  refusal.why.text);
		tell_unbegun(s, &next, &refusal, refusal.why.text);
		note_unstarted(s, next.order.type, &refusal);
	} else if (!answer.run) {
		tell_unbegun(s, &next, NULL, answer.message);
	}
	if (!answer.run)
		service_poke(s);
	service_order_done(&next.order);
}

/* What begins next. *own is filled if it is the service's. NULL: nothing is queued. */
static const struct service_order *first_order(const struct service *s, struct service_order *own)
{
	if (s->queue.next.used)
		return &s->queue.next.order;
	*own = (struct service_order){.type = s->queue.own};
	return s->queue.has_own ? own : NULL;
}

bool service_is_about_to_begin(struct service *s)
{
	struct service_order own;
	const struct service_order *order = first_order(s, &own);

	return order && can_begin(s, order);
}

bool service_waits_for_turn(struct service *s)
{
	struct service_order own;
	const struct service_order *order = first_order(s, &own);

	return order && has_way(s, order->type) && !service_has_turn(s, order);
}

/* ---- turns ---------------------------------------------------------------------------------- */

/* Whoever holds a turn needs it, and whoever waits for one could begin. */
static void look_turn(struct service *s)
{
	struct service_order own;
	const struct service_order *order = first_order(s, &own);

	if (service_uses_turn(s) || s->queue.asked)
		return;
	if (!order || s->shutting_down || !service_needs_turn(s, order))
		service_end_turn(s);
	else if (has_way(s, order->type))
		(void)service_take_turn(s);
	else
		service_leave_turn(s);
}

static void begin_first(struct service *s, const struct error *silent)
{
	if (s->queue.next.used)
		begin_next(s, silent);
	else if (s->queue.has_own)
		begin_own(s, silent);
}

/* Is it another one by now than that for which the helper was sent? */
static bool is_another(const struct service_queue *queue)
{
	if (queue->next.used)
		return queue->next.id != queue->asked_id;
	return queue->asked_id > 0 || !queue->has_own || queue->own != queue->asked_own;
}

static void on_ahead(void *userdata, struct service *s, const struct service_order *order, int r,
		     const struct error *why)
{
	(void)userdata;
	(void)order;
	s->queue.asked = false;
	if (r == -ESHUTDOWN)
		return;
	if (is_another(&s->queue))
		service_poke(s);
	else
		begin_first(s, r < 0 ? why : NULL);
	look_turn(s);
	service_note_underway(s);
}

void service_begin_next(struct service *s)
{
	struct service_order own;
	const struct service_order *order = first_order(s, &own);
	struct error err;

	if (s->queue.asked)
		return;
	look_turn(s);
	if (s->shutting_down || !order || !can_begin(s, order) || !service_asks_files(order)) {
		begin_first(s, NULL);
		return;
	}
	s->queue.asked = true;
	s->queue.asked_id = s->queue.next.used ? s->queue.next.id : 0;
	s->queue.asked_own = s->queue.own;
	if (service_send_ahead(s, order, on_ahead, NULL, &err) >= 0)
		return;
	s->queue.asked = false;
	begin_first(s, &err);
}

/* Drop the queued order, if there is one: another order takes its place. */
static void cancel_next(struct service *s)
{
	struct refusal refusal = {.kind = REFUSAL_BUSY};

	if (s->queue.next.used) {
		error_text(&refusal.why, -ECANCELED, "another order has taken its place");
		tell_unbegun(s, &s->queue.next, &refusal, refusal.why.text);
	}
	forget_next(s);
}

/* A new generation has as many instances as are wanted, so that it makes a scaling needless. */
void service_order_later(struct service *s, enum service_order_type type)
{
	assert(type < _SERVICE_ORDER_COUNT && entries[type].begins);
	if (!s->queue.has_own || entries[type].makes_generation)
		s->queue.own = type;
	s->queue.has_own = true;
	look_turn(s);
	service_poke(s);
}

/* Why can_begin() says no. */
static void say_what_is_waited_for(struct service *s, struct service_answer *ret)
{
	const struct run *busy = service_undecided_run(s);
	char turn[SERVICE_TURN_MAX];

	if (!busy)
		busy = service_stopping_run(s);
	if (!busy)
		busy = service_going_run(s);
	if (busy)
		snprintf(ret->message, sizeof(ret->message), "waits for rollout %u (%s)", busy->id,
			 run_order_name(busy->order));
	else if (s->queue.next.used)
		snprintf(ret->message, sizeof(ret->message), "waits for rollout %u (%s)",
			 s->queue.next.id, order_info(s->queue.next.order.type)->name);
	else if (service_waits_for_turn(s))
		snprintf(ret->message, sizeof(ret->message), "waits: %s",
			 service_describe_turn(s, turn));
	else
		snprintf(ret->message, sizeof(ret->message),
			 "waits until one of its %zu generations has drained "
			 "(\"drain.generations_max\" is %u)",
			 s->n_generations, s->config->drain.generations_max);
}

int service_order_now(struct service *s, enum service_order_type type, struct service_answer *ret,
		      struct refusal *refusal)
{
	struct service_order order = {.type = type};
	struct order_call call = {.service = s, .order = &order, .answer = ret, .refusal = refusal};

	*ret = (struct service_answer){};
	service_order_later(s, type);
	order.type = s->queue.own;
	if (s->queue.next.used || !can_begin(s, &order)) {
		say_what_is_waited_for(s, ret);
		return 1;
	}
	s->queue.has_own = false;
	return carry_out(&call);
}

static int queue(struct order_call *call)
{
	struct service *s = call->service;
	struct service_next next = {.used = true};
	char turn[SERVICE_TURN_MAX];

	if (service_order_copy(call->order, &next.order) < 0) {
		error_text(&call->refusal->why, -ENOMEM, "out of memory");
		return refuse(call->refusal, REFUSAL_CANNOT_START);
	}
	cancel_next(s);
	next.id = call->answer->queued = service_next_rollout(s);
	s->queue.next = next;
	look_turn(s);
	if (service_waits_for_turn(s))
		snprintf(call->answer->note, sizeof(call->answer->note), "waits: %s",
			 service_describe_turn(s, turn));
	service_poke(s);
	return 0;
}

static void tell_superseded(struct service *s, const struct run *busy, const char *order)
{
	char message[64];

	snprintf(message, sizeof(message), "%s takes the place of %s", order,
		 run_order_name(busy->order));
	service_tell(s, &(struct event){.kind = EVENT_SUPERSEDED,
					.rollout = busy->id,
					.generation = busy->new_number ? busy->new_number
								       : busy->old_number,
					.message = message});
}

/* It is the latest order: what was queued before is not carried out after it. */
static int begin_now(struct order_call *call)
{
	int r;

	if (service_needs_turn(call->service, call->order))
		(void)service_take_turn(call->service);
	r = carry_out(call);
	if (r >= 0)
		cancel_next(call->service);
	return r;
}

/* Undo the rollout under way. The order begins now, or as soon as that is decided. */
static int supersede(struct order_call *call, struct run *busy)
{
	const struct order_entry *entry = &entries[call->order->type];
	const char *name = order_info(call->order->type)->name;
	struct service *s = call->service;
	char reason[96];
	int r;

	/* An order that cannot begin must not undo anything. */
	r = entry->check ? entry->check(call) : 0;
	if (r < 0)
		return r;
	snprintf(reason, sizeof(reason), "superseded by %s", name);
	call->answer->supersedes = busy->automatic ? 0 : busy->id;
	if (!busy->automatic)
		tell_superseded(s, busy, name);
	/* A rollout that stops the service is not undone: the order waits for its end. */
	if (busy != service_stopping_run(s)) {
		busy->superseded = true;
		run_abort(busy, false, reason);
	}
	return can_begin(s, call->order) ? begin_now(call) : queue(call);
}

/* A rollback of an undecided rollout, or a stop of a first start, only undoes that. */
static bool ends(const struct run *busy, enum service_order_type type)
{
	if (busy->partial)
		return false;
	return type == (busy->old ? SERVICE_ORDER_ROLLBACK : SERVICE_ORDER_STOP) &&
	       !rollout_is_committed(&busy->machine);
}

/* Only say what would be done. */
static int try_rollback(struct order_call *call)
{
	const struct run *busy = service_undecided_run(call->service);
	const struct service_next *next = &call->service->queue.next;

	if (!busy && next->used && service_waits_for_turn(call->service)) {
		snprintf(call->answer->message, sizeof(call->answer->message),
			 "rollback would call off rollout %u (%s), which waits for its turn",
			 next->id, order_info(next->order.type)->name);
		return 0;
	}
	if (!busy || !ends(busy, SERVICE_ORDER_ROLLBACK))
		return order_try_rollback(call);
	snprintf(call->answer->message, sizeof(call->answer->message),
		 "rollback would undo rollout %u (%s): generation %u stays", busy->id,
		 run_order_name(busy->order), busy->old_number);
	return 0;
}

/* False: it cannot be undone any more. */
static bool end_run(struct order_call *call, struct run *busy)
{
	struct service *s = call->service;

	if (!undo(busy, busy->old ? "rolled back by request" : "stopped by request"))
		return false;
	cancel_next(s);
	if (!busy->old) {
		s->queue.has_own = false;
		s->stopped = true;
	}
	call->answer->run = busy;
	return true;
}

/* An order that cannot begin is not queued. */
static int queue_checked(struct order_call *call)
{
	const struct order_entry *entry = &entries[call->order->type];
	int r = entry->check ? entry->check(call) : 0;

	return r < 0 ? r : queue(call);
}

static int refuse_waiting(struct order_call *call)
{
	const struct service_next *next = &call->service->queue.next;
	char turn[SERVICE_TURN_MAX];

	error_text(&call->refusal->why, -EBUSY,
		   "rollout %u (%s) waits: %s; \"baton abort %s\" calls it off, --supersede takes "
		   "its place",
		   next->id, order_info(next->order.type)->name,
		   service_describe_turn(call->service, turn), call->service->config->name);
	return refuse(call->refusal, REFUSAL_BUSY);
}

/* No rollout is in its way, but it may not be its turn, or another order waits for that. */
static int begin_in_turn(struct order_call *call)
{
	struct service *s = call->service;

	if (service_waits_for_turn(s)) {
		if (call->order->type == SERVICE_ORDER_ROLLBACK && s->queue.next.used &&
		    call_off(call, "rolled back by request"))
			return 0;
		if (call->order->type == SERVICE_ORDER_STOP && !s->current &&
		    call_off(call, "stopped by request"))
			return 0;
		if (call->order->type != SERVICE_ORDER_STOP && s->queue.next.used &&
		    !call->order->supersede)
			return refuse_waiting(call);
	}
	return service_has_turn(s, call->order) ? begin_now(call) : queue_checked(call);
}

/* An order that begins a rollout. */
static int begin(struct order_call *call)
{
	struct service *s = call->service;
	struct run *busy = service_undecided_run(s);

	if (busy && ends(busy, call->order->type) && end_run(call, busy))
		return 0;
	busy = service_undecided_run(s);
	if (!busy)
		busy = service_stopping_run(s);
	/* It is over but for its end: nobody has to decide anything, only to wait. */
	if (!busy && !has_way(s, call->order->type) && service_going_run(s))
		return queue_checked(call);
	if (!busy)
		return begin_in_turn(call);
	if (!busy->automatic && !call->order->supersede)
		return order_refuse_busy(busy, call->refusal);
	return supersede(call, busy);
}

static int take_order(struct service *s, const struct service_order *order,
		      struct service_answer *ret, struct refusal *refusal)
{
	struct order_call call = {.service = s, .order = order, .answer = ret, .refusal = refusal};
	char awaited[SERVICE_AWAITED_MAX];

	assert(order->type < _SERVICE_ORDER_COUNT);
	*ret = (struct service_answer){};
	if (s->shutting_down) {
		error_text(&refusal->why, -ESHUTDOWN, "batond is shutting down");
		return refuse(refusal, REFUSAL_SHUTTING_DOWN);
	}
	if (s->awaited) {
		error_text(&refusal->why, -EBUSY, "%s; order it again then",
			   service_describe_awaited(s, awaited));
		return refuse(refusal, REFUSAL_BUSY);
	}
	if (order->dry_run)
		return try_rollback(&call);
	return entries[order->type].begins ? begin(&call) : carry_out(&call);
}

/* From the moment that it is accepted, the next daemon would know of it. */
int service_order(struct service *s, const struct service_order *order, struct service_answer *ret,
		  struct refusal *refusal)
{
	int r = take_order(s, order, ret, refusal);

	look_turn(s);
	service_note_underway(s);
	return r;
}
