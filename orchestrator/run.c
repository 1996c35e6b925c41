/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/run.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/duration.h"
#include "common/log.h"
#include "orchestrator/service.h"

/* Handshakes that had begun at the shift get this long to reach their queue before it is read. */
#define SETTLE_QUIET_MS 20
#define SETTLE_POLL_MS  5
#define DRAIN_POLL_MS   50
#define STEPS_MAX       16
/* What an agent may take on top of the timeouts it is given before it counts as stuck. */
#define AGENT_MARGIN_MS 5000

enum { EXIT_DONE = 0, EXIT_NEVER_HEALTHY = 3, EXIT_ROLLED_BACK = 4, EXIT_CUT = 5 };

static struct generation *victim(const struct run *run)
{
	return rollout_victim_is_new(&run->machine) ? run->new : run->old;
}

/* ---- what is told --------------------------------------------------------------------------- */

json_t *run_json(const struct run *run)
{
	return json_pack("{s:I, s:s, s:o, s:o, s:I}", "rollout", (json_int_t)run->id, "order",
			 run->order, "generation",
			 run->new_number ? json_integer(run->new_number) : json_null(), "replaces",
			 run->old_number ? json_integer(run->old_number) : json_null(),
			 "elapsed_ms", (json_int_t)(clock_monotonic_ms() - run->began_ms));
}

static void __attribute__((format(printf, 2, 3)))
set_reason(struct run *run, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(run->reason, sizeof(run->reason), format, ap);
	va_end(ap);
}

static void describe_start(const struct run *run, char *ret, size_t size)
{
	size_t n = (size_t)snprintf(ret, size, "generation %u, pid", run->new->number);

	for (size_t k = 0; n < size && k < run->new->n_instances; k++)
		n += (size_t)snprintf(ret + n, size - n, "%s %d", k ? "," : "",
				      (int)run->new->instances[k].pid);
}

static void describe_verify(const struct run *run, char *ret, size_t size)
{
	const struct health_config *health = &run->new->config->health;

	if (health->kind == HEALTH_NOTIFY)
		snprintf(ret, size, "READY=1");
	else
		snprintf(ret, size, "%s (%u in a row)",
			 run->new->instances[0].checkers[0].last.text, health->healthy);
}

static void describe_shift(const struct run *run, char *ret, size_t size)
{
	if (run->publish_error[0])
		snprintf(ret, size, "the table could not be published: %s", run->publish_error);
	else if (rollout_victim_is_new(&run->machine))
		snprintf(ret, size, "back: new connections go to generation %u", run->old->number);
	else if (run->new)
		snprintf(ret, size, "new connections go to generation %u", run->new->number);
	else
		snprintf(ret, size, "new connections are refused");
}

static void describe_settle(const struct run *run, char *ret, size_t size)
{
	uint32_t queued;

	if (generation_queued(victim(run), &queued) < 0)
		snprintf(ret, size, "the queue of generation %u could not be read",
			 victim(run)->number);
	else if (queued == 0)
		snprintf(ret, size, "queue of generation %u is empty", victim(run)->number);
	else
		snprintf(ret, size, "%u connections still in the queue of generation %u", queued,
			 victim(run)->number);
}

static void describe_bake(const struct run *run, char *ret, size_t size)
{
	char text[DURATION_TEXT_MAX];

	snprintf(ret, size, "generation %u stood by for %s", run->old->number,
		 duration_format(run->machine.policy.bake_ms, text));
}

static void describe_leave(const struct run *run, char *ret, size_t size)
{
	const struct generation *g = victim(run);
	bool forced = false;

	for (size_t k = 0; k < g->n_instances; k++)
		forced |= g->instances[k].forced;
	if (!generation_has_left(g))
		snprintf(ret, size, "generation %u did not say in time that it has left",
			 g->number);
	else
		snprintf(ret, size, "generation %u is out of the group%s", g->number,
			 forced ? " (its listening socket had to be shut down)" : "");
}

static void describe_drain(const struct run *run, char *ret, size_t size)
{
	unsigned long long all = run->drain_began_with, ended;
	size_t n;

	if (run->cut > 0) {
		snprintf(ret, size, "%llu of %llu connections left at the deadline",
			 (unsigned long long)run->cut, all);
		return;
	}
	ended = run->drain_idle < all ? all - run->drain_idle : 0;
	n = (size_t)snprintf(ret, size, "%llu connections ended", ended);
	if (run->drain_resets > 0 && n < size)
		n += (size_t)snprintf(ret + n, size - n, ", %llu of them by a reset",
				      (unsigned long long)run->drain_resets);
	if (run->drain_idle > 0 && n < size)
		snprintf(ret + n, size - n, "; %llu idle ones were not waited for",
			 (unsigned long long)run->drain_idle);
}

static void describe_stop(const struct run *run, char *ret, size_t size)
{
	const struct generation *g = victim(run);
	const struct instance *i = &g->instances[0];
	char how[64];

	instance_describe_exit(i, how, sizeof(how));
	snprintf(ret, size, "generation %u %s%s", g->number, how,
		 i->killed ? " (it did not stop by itself)" : "");
}

static void describe(const struct run *run, enum rollout_state step, char *ret, size_t size)
{
	static void (*const describers[_ROLLOUT_STATE_COUNT])(const struct run *, char *,
							      size_t) = {
		[ROLLOUT_STARTING] = describe_start, [ROLLOUT_VERIFYING] = describe_verify,
		[ROLLOUT_SHIFTING] = describe_shift, [ROLLOUT_SETTLING] = describe_settle,
		[ROLLOUT_BAKING] = describe_bake,    [ROLLOUT_LEAVING] = describe_leave,
		[ROLLOUT_DRAINING] = describe_drain, [ROLLOUT_STOPPING] = describe_stop,
	};

	ret[0] = '\0';
	if (describers[step])
		describers[step](run, ret, size);
}

/* A step has ended: well, or with the reason for which the rollout is undone. */
static void tell_step(struct run *run, enum rollout_state step, bool ok)
{
	uint64_t now_ms = clock_monotonic_ms();
	json_t *details = run_json(run);
	char message[512];

	if (ok) {
		describe(run, step, message, sizeof(message));
	} else {
		snprintf(message, sizeof(message), "%s", run->reason);
		snprintf(run->step, sizeof(run->step), "%s", rollout_state_name(step));
	}
	json_object_set_new(details, "ok", json_boolean(ok));
	json_object_set_new(details, "took_ms",
			    json_integer((json_int_t)(now_ms - run->step_began_ms)));
	json_object_set_new(details, "message", json_string(message));
	service_event(run->service, rollout_state_name(step), details);
}

/* ---- seeing --------------------------------------------------------------------------------- */

static void note_failure(struct run *run)
{
	const struct instance *i = generation_failed(run->new);
	const struct probe_result *answer;

	if (!i)
		return;
	answer = instance_last_answer(i);
	if (i->failed)
		set_reason(run, "generation %u: instance %u %s", run->new->number, i->index,
			   i->failure);
	else
		set_reason(run, "generation %u: instance %u turned unhealthy: %s", run->new->number,
			   i->index, answer ? answer->text : "");
}

/* Most likely it has been told another address than "listen" says. */
static void note_strangers(struct run *run)
{
	size_t n = strlen(run->reason);

	for (size_t k = 0; k < run->new->n_instances; k++) {
		const struct instance *i = &run->new->instances[k];

		if (i->n_strangers == 0)
			continue;
		snprintf(run->reason + n, sizeof(run->reason) - n,
			 "; it listens on %s, which \"listen\" does not name", i->strangers[0]);
		return;
	}
}

static void note_start_timeout(struct run *run)
{
	char limit[DURATION_TEXT_MAX];

	duration_format(run->machine.policy.start_timeout_ms, limit);
	if (run->machine.state == ROLLOUT_STARTING)
		set_reason(run, "generation %u was not running within %s", run->new->number, limit);
	else if (run->new->config->health.kind == HEALTH_NOTIFY)
		set_reason(run, "generation %u did not send READY=1 within %s", run->new->number,
			   limit);
	else
		set_reason(run, "generation %u was not healthy within %s", run->new->number, limit);
	note_strangers(run);
}

/* The last answer of the instance that is to blame, or of the first that is not healthy. */
static void note_probe(struct run *run)
{
	const struct instance *i = generation_failed(run->new);
	const struct probe_result *answer;

	for (size_t k = 0; !i && k < run->new->n_instances; k++)
		if (!instance_is_healthy(&run->new->instances[k]))
			i = &run->new->instances[k];
	answer = i ? instance_last_answer(i) : NULL;
	if (!answer || answer->ok)
		return;
	snprintf(run->probe, sizeof(run->probe), "%s%s%s", answer->text,
		 answer->body[0] ? ": " : "", answer->body);
}

static bool is_settled(struct run *run)
{
	uint64_t now_ms = clock_monotonic_ms();
	uint32_t queued;

	if (generation_queued(victim(run), &queued) < 0 || queued > 0) {
		run->queue_empty_since_ms = 0;
		return false;
	}
	if (run->queue_empty_since_ms == 0)
		run->queue_empty_since_ms = now_ms;
	return now_ms - run->queue_empty_since_ms >= SETTLE_QUIET_MS;
}

/*
 * Looking at each connection walks the kernel's table of all of them, which takes long where there
 * are many. So that it never takes more than a tenth of the daemon's time, the next look waits
 * accordingly. It sees what the counters cannot: which connections are idle, and which the server
 * has closed while only the kernel still waits for the client.
 */
static bool none_is_busy(struct run *run)
{
	uint64_t idle_ms = victim(run)->config->drain.idle_timeout_ms;
	uint64_t began_ms = clock_monotonic_ms(), ended_ms;
	uint64_t busy = 0;
	int r;

	if (began_ms < run->drain_look_ms)
		return false;
	r = generation_busy(victim(run), idle_ms, &busy);
	ended_ms = clock_monotonic_ms();
	run->drain_look_ms = ended_ms + 9 * (ended_ms - began_ms);
	/* Not being able to ask is no answer: the deadline is there for that. */
	return r == 0 && busy == 0;
}

static bool is_drained(struct run *run)
{
	struct hooks_count count;
	uint32_t queued;

	if (generation_has_exited(victim(run)))
		return true;
	if (generation_count(victim(run), &count) == 0)
		return count.live == 0 || none_is_busy(run);
	/* Without counters what nobody has accepted yet is nobody's. */
	if (!generation_is_dead(victim(run)) &&
	    (generation_queued(victim(run), &queued) < 0 || queued > 0))
		return false;
	return none_is_busy(run);
}

static bool can_roll_back(const struct run *run)
{
	return !rollout_is_committed(&run->machine) && run->old && run->new &&
	       !rollout_victim_is_new(&run->machine);
}

/* The next event of the machine, from what can be seen now; -1: none. */
static int look(struct run *run)
{
	const struct rollout *m = &run->machine;

	switch (m->state) {
	case ROLLOUT_IDLE:
		return ROLLOUT_BEGIN;
	case ROLLOUT_STARTING:
		if (generation_failed(run->new))
			return ROLLOUT_NEW_FAILED;
		return generation_is_listening(run->new) ? ROLLOUT_NEW_LISTENING : -1;
	case ROLLOUT_VERIFYING:
		if (generation_failed(run->new))
			return ROLLOUT_NEW_FAILED;
		return generation_is_healthy(run->new) ? ROLLOUT_NEW_HEALTHY : -1;
	case ROLLOUT_SETTLING:
	case ROLLOUT_BAKING:
		if (!rollout_victim_is_new(m) && !m->old_gone && generation_is_dead(run->old))
			return ROLLOUT_OLD_GONE;
		if (can_roll_back(run) && !m->old_gone && generation_failed(run->new))
			return ROLLOUT_NEW_FAILED;
		return m->state == ROLLOUT_SETTLING && is_settled(run) ? ROLLOUT_SETTLED : -1;
	case ROLLOUT_LEAVING:
		return generation_has_left(victim(run)) ? ROLLOUT_LEFT : -1;
	case ROLLOUT_DRAINING:
		return is_drained(run) ? ROLLOUT_DRAINED : -1;
	case ROLLOUT_STOPPING:
		return generation_has_stopped(victim(run)) ? ROLLOUT_STOPPED : -1;
	default:
		return -1;
	}
}

/* ---- acting --------------------------------------------------------------------------------- */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);
static int on_poll(sd_event_source *source, uint64_t usec, void *userdata);

static void set_timer(struct run *run, sd_event_source **source, sd_event_time_handler_t handler,
		      uint64_t at_ms)
{
	int r;

	if (!*source) {
		r = sd_event_add_time(run->service->context->event, source, CLOCK_MONOTONIC,
				      at_ms * 1000, 1000, handler, run);
	} else {
		r = sd_event_source_set_time(*source, at_ms * 1000);
		if (r >= 0)
			r = sd_event_source_set_enabled(*source, SD_EVENT_ONESHOT);
	}
	if (r < 0)
		log_error("%s: timer: %s", run->service->config->name, strerror(-r));
}

static int act_publish(struct run *run, struct generation *primary, struct generation *backup)
{
	struct error err;
	int r = service_publish(run->service, primary, backup, &err);

	run->publish_error[0] = '\0';
	if (r >= 0)
		return ROLLOUT_SHIFTED;
	snprintf(run->publish_error, sizeof(run->publish_error), "%s", err.text);
	log_error("%s: %s", run->service->config->name, err.text);
	return ROLLOUT_SHIFT_FAILED;
}

static int act_publish_new(struct run *run)
{
	int event = act_publish(run, run->new, run->old);

	if (event == ROLLOUT_SHIFT_FAILED) {
		set_reason(run, "%s", run->publish_error);
		/* Some endpoints may have got the new table: none of them may keep it. */
		service_publish(run->service, run->old, NULL, NULL);
	} else if (run->old) {
		/* From now on the old one's crash is no reason to start it again. */
		generation_steady(run->old, false);
	}
	return event;
}

static void act_start(struct run *run)
{
	struct error err;

	/* A failure is seen by the next look(): the instance says so itself. */
	if (generation_start(run->new, &err) < 0)
		log_error("%s: generation %u: %s", run->service->config->name, run->new->number,
			  err.text);
}

/*
 * The victim may not be a backup any longer: its slot will be somebody else's. What it has now is
 * what it will have to finish.
 */
static void act_unname(struct run *run)
{
	struct generation *stays = rollout_victim_is_new(&run->machine) ? run->old : run->new;
	struct hooks_count count;
	struct error err;

	/* A generation that is being retired is in no table already. */
	if (!run->machine.retire && service_publish(run->service, stays, NULL, &err) < 0)
		log_error("%s: %s", run->service->config->name, err.text);
	generation_uncheck(victim(run));
	if (generation_live(victim(run), &run->drain_began_with) < 0)
		run->drain_began_with = 0;
	run->drain_reset_before = generation_count(victim(run), &count) == 0 ? count.reset : 0;
}

static void act_drain(struct run *run)
{
	const struct generation *g = victim(run);

	/* The kernel says when the last one ends, where it counts; looking covers the rest. */
	for (size_t k = 0; k < g->n_instances && run->service->wiring.hooks; k++)
		hooks_watch(run->service->wiring.hooks, g->number, g->instances[k].index);
	set_timer(run, &run->poll, on_poll, clock_monotonic_ms() + DRAIN_POLL_MS);
}

/* Returns the event that the action's result is, or -1. */
static int act(struct run *run, const struct rollout_action *action)
{
	switch (action->type) {
	case ROLLOUT_DO_START:
		act_start(run);
		break;
	case ROLLOUT_DO_VERIFY:
		generation_check(run->new);
		break;
	case ROLLOUT_DO_PUBLISH_NEW:
		return act_publish_new(run);
	case ROLLOUT_DO_PUBLISH_OLD:
		generation_steady(run->old, true);
		return act_publish(run, run->old, NULL);
	case ROLLOUT_DO_PUBLISH_NONE:
		generation_steady(run->old, false);
		return act_publish(run, NULL, NULL);
	case ROLLOUT_DO_SETTLE:
		run->queue_empty_since_ms = 0;
		set_timer(run, &run->poll, on_poll, clock_monotonic_ms() + SETTLE_POLL_MS);
		break;
	case ROLLOUT_DO_COMMIT:
		generation_steady(run->new, true);
		service_commit(run->service, run);
		break;
	case ROLLOUT_DO_UNNAME:
		act_unname(run);
		break;
	case ROLLOUT_DO_LEAVE:
		generation_leave(victim(run));
		break;
	case ROLLOUT_DO_DRAIN:
		act_drain(run);
		break;
	case ROLLOUT_DO_STOP:
		generation_stop(victim(run));
		break;
	case ROLLOUT_DO_KILL:
		log_warning("%s: generation %u did not stop; killed", run->service->config->name,
			    victim(run)->number);
		generation_kill(victim(run));
		break;
	case ROLLOUT_DO_TIMER:
		set_timer(run, &run->timer, on_timer, action->at_ms);
		break;
	case ROLLOUT_DO_END:
		break;
	}
	return -1;
}

/*
 * How many connections the victim has. The counters miss that only the kernel still has to do with
 * some, the kernel's list that some have migrated away: whichever is less is right.
 */
static uint64_t still_open(struct run *run, uint64_t idle_ms)
{
	uint64_t live, listed;
	uint32_t queued;

	if (generation_live(victim(run), &live) < 0)
		live = run->drain_began_with;
	else if (!run->service->wiring.hooks && generation_queued(victim(run), &queued) == 0)
		live += queued;
	if (generation_busy(victim(run), idle_ms, &listed) < 0)
		return live;
	if (!run->service->wiring.hooks && generation_queued(victim(run), &queued) == 0)
		listed += queued;
	return listed < live ? listed : live;
}

/* What must be known before the machine moves on, because it will be gone afterwards. */
static void before_step(struct run *run, enum rollout_event event)
{
	uint64_t idle_ms = victim(run) ? victim(run)->config->drain.idle_timeout_ms : 0;
	struct hooks_count count;

	if (event == ROLLOUT_NEW_FAILED) {
		note_failure(run);
		note_probe(run);
	} else if (event == ROLLOUT_TIMER && (run->machine.state == ROLLOUT_STARTING ||
					      run->machine.state == ROLLOUT_VERIFYING)) {
		note_start_timeout(run);
		note_probe(run);
	} else if (event == ROLLOUT_TIMER && run->machine.state == ROLLOUT_DRAINING) {
		run->cut = still_open(run, idle_ms);
		run->drain_idle = still_open(run, 0) - run->cut;
	} else if (event == ROLLOUT_DRAINED) {
		run->drain_idle = generation_has_exited(victim(run)) ? 0 : still_open(run, 0);
	}
	if (run->machine.state == ROLLOUT_DRAINING && generation_count(victim(run), &count) == 0 &&
	    count.reset > run->drain_reset_before)
		run->drain_resets = count.reset - run->drain_reset_before;
	if (run->drain_resets > run->drain_began_with)
		run->drain_resets = run->drain_began_with;
}

static void end_step(struct run *run, enum rollout_state step, bool ok)
{
	if (step != ROLLOUT_IDLE)
		tell_step(run, step, ok);
	run->step_began_ms = clock_monotonic_ms();
}

/* One event through the machine, and its actions. Returns an event that follows at once, or -1. */
static int step(struct run *run, enum rollout_event event)
{
	enum rollout_state before = run->machine.state;
	enum rollout_outcome outcome = run->machine.outcome;
	struct rollout_actions actions;
	bool tell_late;
	int next = -1;

	before_step(run, event);
	rollout_step(&run->machine, event, clock_monotonic_ms(), &actions);
	/* How a stop ended is known only after a kill that it took. */
	tell_late = before == ROLLOUT_STOPPING;
	if (run->machine.state != before && !tell_late)
		end_step(run, before, run->machine.outcome == outcome);
	for (size_t k = 0; k < actions.n; k++) {
		int result = act(run, &actions.list[k]);

		if (result >= 0)
			next = result;
	}
	if (run->machine.state != before && tell_late)
		end_step(run, before, run->machine.outcome == outcome);
	return next;
}

bool run_observe(struct run *run)
{
	for (int n = 0; n < STEPS_MAX && run->machine.state != ROLLOUT_ENDED; n++) {
		int event = look(run);

		if (event < 0)
			break;
		while (event >= 0)
			event = step(run, (enum rollout_event)event);
	}
	return run->machine.state == ROLLOUT_ENDED;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct run *run = userdata;
	int event = ROLLOUT_TIMER;

	(void)source;
	(void)usec;
	/* What has just become true counts more than the deadline. */
	if (!run_observe(run) && sd_event_source_get_enabled(source, NULL) == 0)
		while (event >= 0)
			event = step(run, (enum rollout_event)event);
	service_poke(run->service);
	return 0;
}

static int on_poll(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct run *run = userdata;
	uint64_t every_ms = run->machine.state == ROLLOUT_SETTLING ? SETTLE_POLL_MS : DRAIN_POLL_MS;

	(void)source;
	(void)usec;
	service_poke(run->service);
	if (run->machine.state == ROLLOUT_SETTLING || run->machine.state == ROLLOUT_DRAINING)
		set_timer(run, &run->poll, on_poll, clock_monotonic_ms() + every_ms);
	return 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

static uint64_t longer(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void run_begin(struct run *run, struct service *service, const char *order, struct generation *new,
	       struct generation *old)
{
	const struct service_config *config = new ? new->config : old->config;
	const struct drain_config *drain = &(old ? old->config : config)->drain;
	/* Either may be the one that goes, each with the timeouts it was started with. */
	const struct drain_config *other = &config->drain;
	bool can_shift = steer_can(service->wiring.tier, STEER_CAN_SHIFT);
	struct rollout_policy policy = {
		.start_timeout_ms = config->health.start_timeout_ms,
		.settle_timeout_ms = config->rollout.settle_timeout_ms,
		.bake_ms = config->rollout.bake_ms,
		.leave_timeout_ms =
			longer(drain->leave_timeout_ms, other->leave_timeout_ms) + AGENT_MARGIN_MS,
		.old_drain_timeout_ms = drain->timeout_ms,
		.new_drain_timeout_ms = other->timeout_ms,
		.stop_timeout_ms =
			longer(drain->kill_timeout_ms, other->kill_timeout_ms) + AGENT_MARGIN_MS,
		/* Steered away from is enough, where that is possible. */
		.old_stays = can_shift && drain->wait == DRAIN_WAIT_CONNECTIONS,
		.new_stays = can_shift && other->wait == DRAIN_WAIT_CONNECTIONS,
	};

	*run = (struct run){
		.service = service,
		.id = ++service->context->last_rollout,
		.order = order,
		.new = new,
		.old = old,
		.new_number = new ? new->number : 0,
		.old_number = old ? old->number : 0,
		.began_ms = clock_monotonic_ms(),
		.step_began_ms = clock_monotonic_ms(),
	};
	rollout_init(&run->machine, &policy, old != NULL, new != NULL);
	service_poke(service);
}

void run_begin_retire(struct run *run, struct service *service, struct generation *old)
{
	struct rollout_policy policy;

	run_begin(run, service, "retire", NULL, old);
	policy = run->machine.policy;
	rollout_init_retire(&run->machine, &policy);
}

void run_abort(struct run *run, const char *reason)
{
	enum rollout_outcome before = run->machine.outcome;
	char kept[sizeof(run->reason)];
	int event = ROLLOUT_ABORT;

	memcpy(kept, run->reason, sizeof(kept));
	set_reason(run, "%s", reason);
	while (event >= 0)
		event = step(run, (enum rollout_event)event);
	/* Where it was being undone already, or cannot be any more, the old reason stands. */
	if (run->machine.outcome == before)
		memcpy(run->reason, kept, sizeof(run->reason));
	service_poke(run->service);
}

static int exit_of(const struct run *run)
{
	if (run->machine.outcome == ROLLOUT_FAILED)
		return EXIT_NEVER_HEALTHY;
	if (run->machine.outcome == ROLLOUT_ROLLED_BACK)
		return EXIT_ROLLED_BACK;
	return run->cut > 0 ? EXIT_CUT : EXIT_DONE;
}

/* What the instance that is to blame wrote last; else the first that wrote anything. */
static void take_tail(const struct generation *g, char ret[static PROTOCOL_TAIL_MAX])
{
	const struct instance *i = generation_failed(g);

	for (size_t k = 0; (!i || !i->tail[0]) && k < g->n_instances; k++)
		i = &g->instances[k];
	if (i)
		memcpy(ret, i->tail, PROTOCOL_TAIL_MAX);
}

void run_result(const struct run *run, struct run_result *ret)
{
	*ret = (struct run_result){
		.id = run->id,
		.order = run->order,
		.outcome = run->machine.outcome,
		.exit = exit_of(run),
		.generation = run->new_number,
		.replaces = run->old_number,
		.cut = run->cut,
		.took_ms = clock_monotonic_ms() - run->began_ms,
		.realtime_ms = clock_realtime_ms(),
	};
	memcpy(ret->step, run->step, sizeof(ret->step));
	memcpy(ret->reason, run->reason, sizeof(ret->reason));
	memcpy(ret->probe, run->probe, sizeof(ret->probe));
	if (rollout_victim_is_new(&run->machine) && run->new)
		take_tail(run->new, ret->tail);
}

void run_done(struct run *run)
{
	sd_event_source_disable_unref(run->timer);
	sd_event_source_disable_unref(run->poll);
	*run = (struct run){};
}

static void describe_result(const struct run_result *r, char *ret, size_t size)
{
	char kept[64] = "nothing serves";

	if (r->replaces)
		snprintf(kept, sizeof(kept), "generation %u keeps serving", r->replaces);
	if (r->outcome != ROLLOUT_DONE)
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

json_t *run_result_json(const struct run_result *r)
{
	char message[256];
	json_t *json;

	describe_result(r, message, sizeof(message));
	json = json_pack("{s:I, s:s, s:s, s:i, s:o, s:o, s:I, s:I, s:s}", "rollout",
			 (json_int_t)r->id, "order", r->order, "result",
			 rollout_outcome_name(r->outcome), "exit", r->exit, "generation",
			 r->generation ? json_integer(r->generation) : json_null(), "replaces",
			 r->replaces ? json_integer(r->replaces) : json_null(), "cut",
			 (json_int_t)r->cut, "took_ms", (json_int_t)r->took_ms, "message", message);
	if (r->step[0])
		json_object_set_new(json, "step", json_string(r->step));
	if (r->reason[0])
		json_object_set_new(json, "reason", json_string(r->reason));
	if (r->probe[0])
		json_object_set_new(json, "probe", json_string(r->probe));
	if (r->tail[0])
		json_object_set_new(json, "tail", json_string(r->tail));
	return json;
}
