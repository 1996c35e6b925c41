/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "tests/sim/sim.h"

#define SIGNAL_DRAIN 1
#define SIGNAL_STOP  2

/* What chance says about an instance, each time it is started. */
static uint32_t chance(const struct world *w, const struct instance *i, uint64_t what,
		       uint32_t sides)
{
	return (uint32_t)(hash_of(w->plan->seed, i->serial, what * 1000 + i->spawns + 100) % sides);
}

static void set_due(struct world *w, struct instance *i, enum due due, uint64_t after_ms)
{
	i->due_ms[due] = w->now_ms + after_ms;
}

/* ---- the server ----------------------------------------------------------------------------- */

static void agent_step(struct world *w, struct instance *i, const struct lifecycle_event *event);

static void agent_event(struct world *w, struct instance *i, enum lifecycle_event_type type)
{
	agent_step(w, i, &(struct lifecycle_event){.type = type});
}

static void stop_listening(struct world *w, struct instance *i)
{
	i->listening = false;
	if (i->watching)
		set_due(w, i, DUE_GONE, 1);
}

static void server_ends(struct world *w, struct instance *i)
{
	i->server = SERVER_NONE;
	i->ready = i->sick = i->hung = i->busy = false;
	for (int due = DUE_READY; due <= DUE_CLOSE; due++)
		i->due_ms[due] = NEVER;
	i->due_ms[DUE_IDLE] = NEVER;
	stop_listening(w, i);
}

static void on_spawn(struct world *w, struct instance *i)
{
	bool fails = i->defect == DEFECT_NO_EXEC && chance(w, i, 1, 4) != 0;

	i->spawns++;
	if (fails) {
		trace_instance(w, i, "cannot be started");
		i->server = SERVER_NONE;
		agent_event(w, i, LIFECYCLE_SPAWN_FAILED);
		return;
	}
	i->server = SERVER_RUNNING;
	i->listening = true;
	set_due(w, i, DUE_READY,
		i->defect == DEFECT_SLOW ? chance(w, i, 2, 1500) : chance(w, i, 2, 100));
	if (i->defect == DEFECT_EARLY_CRASH)
		set_due(w, i, DUE_EXIT, chance(w, i, 3, 50));
	if (i->defect == DEFECT_CRASH)
		set_due(w, i, DUE_EXIT, 100 + chance(w, i, 3, 4000));
	if (i->defect == DEFECT_DEAF)
		i->hung = true;
	agent_event(w, i, LIFECYCLE_SPAWNED);
}

static void on_ready(struct world *w, struct instance *i)
{
	i->ready = true;
	if (i->defect == DEFECT_SICK && chance(w, i, 4, 2))
		i->sick = true;
	(void)w;
}

static void on_exit_due(struct world *w, struct instance *i)
{
	if (i->server != SERVER_RUNNING)
		return;
	trace_instance(w, i, "its server ends");
	server_ends(w, i);
	agent_event(w, i, LIFECYCLE_EXITED);
}

static void on_killed(struct world *w, struct instance *i)
{
	bool killed = i->server == SERVER_RUNNING;

	if (killed)
		on_exit_due(w, i);
	agent_step(w, i, &(struct lifecycle_event){.type = LIFECYCLE_EMPTY, .killed = killed});
}

static void on_signal(struct world *w, struct instance *i, int signal)
{
	if (i->server != SERVER_RUNNING || i->hung)
		return;
	if (signal == SIGNAL_DRAIN) {
		set_due(w, i, DUE_CLOSE, chance(w, i, 5, 30));
		return;
	}
	set_due(w, i, DUE_EXIT, chance(w, i, 6, i->defect == DEFECT_BUSY ? 2000 : 50));
}

static void on_idle(struct world *w, struct instance *i)
{
	(void)w;
	i->busy = false;
}

static void on_close(struct world *w, struct instance *i)
{
	stop_listening(w, i);
}

/* ---- the agent ------------------------------------------------------------------------------ */

static void on_spawn_order(struct world *w, struct instance *i)
{
	i->server = SERVER_SPAWNING;
	i->due_ms[DUE_KILLED] = NEVER;
	set_due(w, i, DUE_SPAWN,
		1 + chance(w, i, 7, i->defect == DEFECT_SLOW && i->serial % 2 ? 1500 : 20));
}

static void on_kill_order(struct world *w, struct instance *i)
{
	set_due(w, i, DUE_KILLED,
		1 + (i->defect == DEFECT_UNKILLABLE ? 2 * LIFECYCLE_KILL_MS : chance(w, i, 8, 20)));
}

static void agent_act(struct world *w, struct instance *i, const struct lifecycle_action *action)
{
	switch (action->type) {
	case LIFECYCLE_DO_SPAWN:
		on_spawn_order(w, i);
		break;
	case LIFECYCLE_DO_SIGNAL:
		on_signal(w, i, action->signal);
		break;
	case LIFECYCLE_DO_WATCH_LISTENERS:
		i->watching = true;
		if (!i->listening)
			set_due(w, i, DUE_GONE, 1);
		break;
	case LIFECYCLE_DO_SHUT_LISTENERS:
		i->listening = false;
		break;
	case LIFECYCLE_DO_KILL:
		on_kill_order(w, i);
		break;
	case LIFECYCLE_DO_TIMER:
		i->due_ms[DUE_AGENT_TIMER] = action->at_ms;
		break;
	case LIFECYCLE_DO_REPORT_LEFT:
		i->has_left = true;
		break;
	case LIFECYCLE_DO_REPORT_STOPPED:
		i->has_stopped = true;
		instance_end_agent(w, i);
		break;
	case LIFECYCLE_DO_CLOSE: /* see .closed */
	case LIFECYCLE_DO_REPORT_EXITED:
	case LIFECYCLE_DO_REPORT_FAILED:
		break;
	}
}

static void agent_step(struct world *w, struct instance *i, const struct lifecycle_event *event)
{
	struct lifecycle_actions actions;
	enum agent_state before = i->agent.state;

	if (!i->agent_alive || i->agent_hung)
		return;
	lifecycle_step(&i->agent, event, w->now_ms, &actions);
	invariants_of_agent(w, i, before, &actions);
	for (size_t k = 0; k < actions.n; k++)
		agent_act(w, i, &actions.list[k]);
}

/* What the daemon has not ended itself it learns a little later. */
void instance_end_agent(struct world *w, struct instance *i)
{
	i->agent_alive = false;
	i->due_ms[DUE_AGENT_TIMER] = NEVER;
	i->due_ms[DUE_KILLED] = NEVER;
	set_due(w, i, DUE_LOST, 1 + chance(w, i, 9, 20));
}

static void on_agent_timer(struct world *w, struct instance *i)
{
	agent_event(w, i, LIFECYCLE_TIMER);
}

static void on_gone(struct world *w, struct instance *i)
{
	if (!i->listening)
		agent_event(w, i, LIFECYCLE_LISTENERS_GONE);
}

/* What an agent leaves behind the daemon ends. */
static void on_lost(struct world *w, struct instance *i)
{
	i->lost = true;
	if (i->server != SERVER_NONE)
		trace_instance(w, i, "its agent is lost");
	server_ends(w, i);
	i->due_ms[DUE_SPAWN] = NEVER;
}

/* ---- orders --------------------------------------------------------------------------------- */

void instance_steady(struct world *w, struct instance *i, bool on)
{
	agent_step(w, i, &(struct lifecycle_event){.type = LIFECYCLE_STEADY, .on = on});
}

void instance_leave(struct world *w, struct instance *i, uint32_t timeout_ms)
{
	if (!i->told_leave)
		i->leave_by_ms = w->now_ms + timeout_ms;
	i->told_leave = true;
	agent_step(w, i,
		   &(struct lifecycle_event){.type = LIFECYCLE_LEAVE,
					     .signal = SIGNAL_DRAIN,
					     .timeout_ms = timeout_ms});
}

void instance_stop(struct world *w, struct instance *i, uint32_t timeout_ms)
{
	if (!i->told_stop)
		i->stop_by_ms = w->now_ms + timeout_ms + LIFECYCLE_KILL_MS;
	i->told_stop = true;
	agent_step(w, i,
		   &(struct lifecycle_event){.type = LIFECYCLE_STOP,
					     .signal = SIGNAL_STOP,
					     .timeout_ms = timeout_ms});
}

void instance_kill(struct world *w, struct instance *i)
{
	instance_end_agent(w, i);
	on_lost(w, i);
	i->due_ms[DUE_LOST] = NEVER;
}

void instance_drain(struct world *w, struct instance *i)
{
	i->busy = i->server == SERVER_RUNNING;
	if (i->busy && i->defect != DEFECT_BUSY)
		set_due(w, i, DUE_IDLE, chance(w, i, 12, 400));
}

/* A crash that nobody ordered. */
void instance_crash(struct world *w, struct instance *i)
{
	if (i->server == SERVER_RUNNING)
		set_due(w, i, DUE_EXIT, 0);
}

static enum defect draw_defect(const struct world *w, const struct instance *i)
{
	/* Half of the trouble is in the release, half in the instance. */
	uint64_t who = chance(w, i, 10, 2) ? i->serial : 1000000 + i->generation;
	uint64_t n = hash_of(w->plan->seed, who, 11);

	if (n % 100 >= w->plan->trouble)
		return DEFECT_NONE;
	return (enum defect)(n / 100 % _DEFECT_COUNT);
}

struct instance *instance_launch(struct world *w, uint32_t generation)
{
	for (struct instance *i = w->instances; i < w->instances + INSTANCES_MAX; i++) {
		if (i->used)
			continue;
		*i = (struct instance){
			.used = true,
			.serial = w->next_serial++,
			.generation = generation,
			.agent_alive = true,
			.run = -1,
		};
		for (int due = 0; due < _DUE_COUNT; due++)
			i->due_ms[due] = NEVER;
		i->defect = draw_defect(w, i);
		lifecycle_init(&i->agent, &w->plan->restarts);
		agent_event(w, i, LIFECYCLE_BEGIN);
		return i;
	}
	world_fail(w, "more instances than a world can have");
	return NULL;
}

bool instance_is_live(const struct instance *i)
{
	return (i->agent_alive && !i->agent.closed) ||
	       (i->server == SERVER_RUNNING && i->listening);
}

bool instance_is_healthy(const struct instance *i)
{
	return !i->lost && i->server == SERVER_RUNNING && i->listening && i->ready && !i->sick &&
	       !i->hung;
}

bool instance_has_failed(const struct instance *i)
{
	return i->lost || (i->agent_alive && i->agent.state == AGENT_FAILED);
}

bool instance_is_gone(const struct instance *i)
{
	return !i->agent_alive && i->server == SERVER_NONE;
}

/* ---- what happens next ---------------------------------------------------------------------- */

typedef void (*due_handler)(struct world *w, struct instance *i);

static const due_handler due_handlers[_DUE_COUNT] = {
	[DUE_SPAWN] = on_spawn,
	[DUE_READY] = on_ready,
	[DUE_EXIT] = on_exit_due,
	[DUE_CLOSE] = on_close,
	[DUE_GONE] = on_gone,
	[DUE_KILLED] = on_killed,
	[DUE_AGENT_TIMER] = on_agent_timer,
	[DUE_LOST] = on_lost,
	[DUE_IDLE] = on_idle,
};

struct next {
	uint64_t at_ms;
	struct instance *instance;
	enum due due;
	struct run *run;
	const struct op *op;
};

static void earliest_of_instances(struct world *w, struct next *next)
{
	for_each_used (i, w)
		for (int due = 0; due < _DUE_COUNT; due++)
			if (i->due_ms[due] < next->at_ms)
				*next = (struct next){.at_ms = i->due_ms[due],
						      .instance = i,
						      .due = (enum due)due};
}

static struct next earliest(struct world *w)
{
	struct next next = {.at_ms = NEVER};

	if (w->next_op < w->plan->n_ops) {
		next.op = &w->plan->ops[w->next_op];
		next.at_ms = next.op->at_ms;
	}
	earliest_of_instances(w, &next);
	for_each_run (run, w)
		if (run_due(run) < next.at_ms)
			next = (struct next){.at_ms = run_due(run), .run = run};
	if (service_due(w) < next.at_ms)
		next = (struct next){.at_ms = service_due(w)};
	return next;
}

static void happen(struct world *w, const struct next *next)
{
	if (next->op) {
		w->next_op++;
		operators_do(w, next->op);
	} else if (next->instance) {
		next->instance->due_ms[next->due] = NEVER;
		due_handlers[next->due](w, next->instance);
	} else if (next->run) {
		run_tick(w, next->run);
	} else {
		service_tick(w);
	}
}

static bool look_at_runs(struct world *w)
{
	bool seen = false;

	for_each_run (run, w)
		seen |= run_look(w, run);
	return seen;
}

/* The daemon sees at once what there is to be seen; what follows from it, too. */
static void look(struct world *w)
{
	for (int n = 0; look_at_runs(w) && !w->failure[0]; n++)
		if (n == 100)
			world_fail(w, "the rollouts go round in circles without any time passing");
	service_look(w);
	/* What the service has begun begins at once. */
	look_at_runs(w);
}

bool world_step(struct world *w)
{
	struct next next = earliest(w);

	if (next.at_ms == NEVER)
		for_each_run (run, w)
			world_fail(w, "rollout %u waits for nothing", run->number);
	if (next.at_ms == NEVER || w->failure[0])
		return false;
	if (next.at_ms > w->now_ms)
		w->now_ms = next.at_ms;
	happen(w, &next);
	look(w);
	w->steps++;
	invariants_of_world(w);
	return !w->failure[0];
}

void world_init(struct world *w, const struct plan *plan, bool tracing)
{
	memset(w, 0, sizeof(*w));
	w->plan = plan;
	w->tracing = tracing;
	w->now_ms = 1;
	w->next_serial = w->next_generation = w->next_run = 1;
	w->retry_ms = w->heal_ms = NEVER;
	w->is_stopped = true;
	service_start(w, plan->n_first);
	look(w);
}
