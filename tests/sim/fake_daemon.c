/* SPDX-License-Identifier: BSD-2-Clause */
/* What a rollout uses of the daemon: timers, clock, log, commands, gates, steering. */
#include <errno.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/timer.h"
#include "tests/sim/sim.h"

/* ---- clock.h, log.h, steer.h, tap.h --------------------------------------------------------- */

uint64_t clock_monotonic_ms(void)
{
	return world_now()->now_ms;
}

uint64_t clock_realtime_ms(void)
{
	return world_now()->now_ms;
}

void log_line(enum log_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

bool steer_can(enum steer_tier tier, enum steer_ability ability)
{
	(void)ability;
	return tier != STEER_HASH;
}

bool tap_tells_ends(const struct tap *tap)
{
	(void)tap;
	return true;
}

/* Services have no endpoints here. */
const struct address *steer_address(const struct steer *steer)
{
	(void)steer;
	return NULL;
}

int tap_watch(struct tap *tap, uint32_t generation, uint32_t instance)
{
	(void)tap;
	for_each_used (n, world_now())
		if (n->generation == generation && n->instance->index == instance)
			n->watched = true;
	return 0;
}

/* ---- timer.h -------------------------------------------------------------------------------- */

static struct armed *armed_of(struct world *w, const struct timer *timer)
{
	for (size_t k = 0; k < w->n_timers; k++)
		if (w->timers[k].timer == timer)
			return &w->timers[k];
	return NULL;
}

void timer_set(struct timer *timer, sd_event *event, uint64_t at_ms,
	       sd_event_time_handler_t handler, void *userdata)
{
	struct world *w = world_now();
	struct armed *armed = armed_of(w, timer);

	(void)event;
	if (!armed)
		armed = &w->timers[w->n_timers++];
	*armed = (struct armed){timer, at_ms, handler, userdata};
}

void timer_stop(struct timer *timer)
{
	struct world *w = world_now();
	struct armed *armed = armed_of(w, timer);

	if (armed)
		*armed = w->timers[--w->n_timers];
}

void timer_done(struct timer *timer)
{
	timer_stop(timer);
}

bool daemon_has_armed(const struct world *w, const struct timer *timer, uint64_t at_ms)
{
	for (size_t k = 0; k < w->n_timers; k++)
		if (w->timers[k].timer == timer && w->timers[k].at_ms == at_ms)
			return true;
	return false;
}

/* ---- command.h, gates.h: answered after a while, or never ----------------------------------- */

/* One answer of twelve is no answer. */
static uint64_t draw_answer(struct world *w, const struct run *run, uint32_t *ret_verdict)
{
	struct watch *watch = watch_of(run);
	uint64_t x = hash_of(w->plan->seed, run->id, 50 + watch->asked++);

	*ret_verdict = (uint32_t)(x % 12);
	return *ret_verdict == 0 ? NEVER : w->now_ms + x / 16 % 200;
}

int command_start(sd_event *event, const struct command_spec *spec,
		  void (*on_done)(void *userdata, const struct command_result *result),
		  void *userdata, struct command **ret, struct error *err)
{
	struct world *w = world_now();
	struct run *run = userdata;
	struct command *command = &w->commands[run - w->runs];

	(void)event;
	(void)spec;
	if (command->used)
		world_fail(w, "rollout %u runs two commands at once", run->id);
	*command = (struct command){.used = true, .on_done = on_done, .userdata = run};
	command->at_ms = draw_answer(w, run, &command->verdict);
	watch_of(run)->answer = command->verdict == 1 || command->verdict == 2
					? ROLLOUT_PREPARE_FAILED
					: ROLLOUT_PREPARED;
	if (command->verdict == 2) {
		command->used = false;
		return error_set(err, -ENOENT, "exec");
	}
	*ret = command;
	return 0;
}

void command_cancel(struct command *command)
{
	if (command)
		command->used = false;
}

static void command_ends(struct command *command)
{
	struct command_result result = {.exit_code = command->verdict == 1};

	command->used = false;
	snprintf(result.text, sizeof(result.text), "exited with status %d", result.exit_code);
	command->on_done(command->userdata, &result);
}

bool gates_any(const struct service_config *config, enum rollout_gate point)
{
	(void)config;
	return world_now()->plan->gates & point;
}

uint64_t gates_timeout_ms(const struct service_config *config, enum rollout_gate point)
{
	(void)config;
	(void)point;
	return 300;
}

int gates_ask(const struct gates_question *question,
	      void (*on_answer)(void *userdata, enum gates_answer answer, const char *text),
	      void *userdata, struct gates **ret, struct error *err)
{
	struct world *w = world_now();
	struct run *run = userdata;
	struct gates *gates = &w->gates[run - w->runs];

	if (gates->used)
		world_fail(w, "rollout %u asks two gates at once", run->id);
	if (question->point != run->machine.point)
		world_fail(w, "rollout %u asks the wrong gates", run->id);
	*gates = (struct gates){.used = true, .on_answer = on_answer, .userdata = run};
	gates->at_ms = draw_answer(w, run, &gates->verdict);
	watch_of(run)->answer = gates->verdict == 1 || gates->verdict == 3 ? ROLLOUT_GATE_FAILED
				: gates->verdict == 2                      ? ROLLOUT_GATE_UNSURE
									   : ROLLOUT_GATE_PASSED;
	if (gates->verdict == 3) {
		gates->used = false;
		return error_set(err, -ENOMEM, "gates");
	}
	*ret = gates;
	return 0;
}

void gates_cancel(struct gates *gates)
{
	if (gates)
		gates->used = false;
}

static void gates_answer(struct gates *gates)
{
	gates->used = false;
	gates->on_answer(gates->userdata,
			 gates->verdict == 1   ? GATES_REFUSED
			 : gates->verdict == 2 ? GATES_UNSURE
					       : GATES_PASSED,
			 "the gates");
}

bool daemon_asks(const struct world *w, const struct run *run)
{
	return w->commands[run - w->runs].used || w->gates[run - w->runs].used;
}

/* ---- the loop ------------------------------------------------------------------------------- */

struct next {
	uint64_t at_ms;
	size_t timer, command, gates; /* one of them is not its array's size */
};

static struct next earliest(const struct world *w)
{
	const struct next none = {NEVER, w->n_timers, RUNS_MAX, RUNS_MAX};
	struct next next = none;

	for (size_t k = 0; k < w->n_timers; k++)
		if (w->timers[k].at_ms < next.at_ms)
			next.at_ms = w->timers[k].at_ms, next.timer = k;
	for (size_t k = 0; k < RUNS_MAX; k++) {
		if (w->commands[k].used && w->commands[k].at_ms < next.at_ms)
			next = none, next.at_ms = w->commands[k].at_ms, next.command = k;
		if (w->gates[k].used && w->gates[k].at_ms < next.at_ms)
			next = none, next.at_ms = w->gates[k].at_ms, next.gates = k;
	}
	return next;
}

uint64_t daemon_due(const struct world *w)
{
	return earliest(w).at_ms;
}

void daemon_happen(struct world *w)
{
	struct next next = earliest(w);

	if (next.command < RUNS_MAX) {
		command_ends(&w->commands[next.command]);
	} else if (next.gates < RUNS_MAX) {
		gates_answer(&w->gates[next.gates]);
	} else {
		struct armed armed = w->timers[next.timer];

		w->timers[next.timer] = w->timers[--w->n_timers];
		armed.handler(NULL, armed.at_ms * 1000, armed.userdata);
	}
}

void daemon_forget(struct world *w)
{
	w->n_timers = 0;
	for (size_t k = 0; k < RUNS_MAX; k++)
		w->commands[k].used = w->gates[k].used = false;
}
