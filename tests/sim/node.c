/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/sim/sim.h"

#define SIGNAL_DRAIN 1
#define SIGNAL_STOP  2

/* The daemon's view of each node; apart from the nodes because it is large. */
static struct instance views[NODES_MAX];

/* What chance says about a node, each time that its server is started. */
static uint32_t chance(const struct world *w, const struct node *n, uint64_t what, uint32_t sides)
{
	return (uint32_t)(hash_of(w->plan->seed, n->serial, what * 1000 + n->spawns + 100) % sides);
}

static void set_due(struct world *w, struct node *n, enum due due, uint64_t after_ms)
{
	n->due_ms[due] = w->now_ms + after_ms;
}

/* ---- what the daemon sees ------------------------------------------------------------------- */

static enum instance_phase phase_of(const struct node *n)
{
	if (n->has_stopped)
		return INSTANCE_STOPPED;
	if (n->seen_stop)
		return INSTANCE_STOPPING;
	if (n->has_left)
		return INSTANCE_LEFT;
	if (n->seen_leave)
		return INSTANCE_LEAVING;
	if (n->has_failed)
		return INSTANCE_FAILED;
	return n->joined ? INSTANCE_JOINED : INSTANCE_STARTING;
}

/* The one place that says in an instance's own fields where it stands. */
static void node_show(struct node *n)
{
	struct instance *i = n->instance;
	bool runs = n->lost ? n->server == SERVER_RUNNING : n->agent.alive;

	i->phase = phase_of(n);
	i->had_joined = n->joined;
	i->agent_said = n->agent.state;
	i->pid = runs && !n->has_stopped ? (pid_t)n->serial : 0;
	i->steady = n->steady;
	i->lost = n->lost;
	i->forced = n->agent.forced;
	i->killed = n->killed;
	i->asked = false;
	snprintf(i->failure, sizeof(i->failure), "%s", n->has_failed ? "has failed" : "");
}

static void node_fail(struct node *n)
{
	n->has_failed = true;
	n->checking = false;
}

bool node_can_serve(const struct node *n)
{
	return !n->has_failed && !n->has_left && !n->has_stopped && n->joined &&
	       (!n->lost || n->server == SERVER_RUNNING);
}

bool node_is_bad(const struct node *n)
{
	return n->has_failed || n->verdict == HEALTH_UNHEALTHY;
}

void node_judge(struct node *n)
{
	if (n->instance->pid == 0)
		n->verdict = HEALTH_UNKNOWN;
	else if (!n->checking)
		return;
	else if (node_answers(n))
		n->verdict = HEALTH_HEALTHY;
	else if (n->verdict == HEALTH_HEALTHY)
		n->verdict = HEALTH_UNHEALTHY;
	n->passed |= n->verdict == HEALTH_HEALTHY;
}

static void view(struct node *n, struct generation *generation, uint32_t index)
{
	*n->instance = (struct instance){
		.config = generation->config,
		.wiring = generation->wiring,
		.userdata = n,
		.generation = generation->number,
		.index = index,
	};
	node_show(n);
}

void node_see_anew(struct node *n, struct generation *generation)
{
	n->checking = n->watched = false;
	n->verdict = HEALTH_UNKNOWN;
	n->steady = n->agent.steady;
	n->joined = n->agent.steady || n->agent.alive;
	n->has_failed = n->agent.state == AGENT_FAILED;
	n->seen_leave = n->agent.state >= AGENT_LEAVING;
	n->seen_stop = n->agent.state >= AGENT_STOPPING;
	view(n, generation, n->instance->index);
}

/* ---- the server ----------------------------------------------------------------------------- */

static void agent_step(struct world *w, struct node *n, const struct lifecycle_event *event);

static void agent_event(struct world *w, struct node *n, enum lifecycle_event_type type)
{
	agent_step(w, n, &(struct lifecycle_event){.type = type});
}

static void empty_queue(struct world *w, struct node *n)
{
	if (n->queued > 0 || (n->defect == DEFECT_OPAQUE && n->listening))
		n->emptied_ms = w->now_ms;
	n->queued = 0;
}

/* What is queued there migrates. */
static void stop_listening(struct world *w, struct node *n)
{
	empty_queue(w, n);
	n->listening = false;
	if (n->watching)
		set_due(w, n, DUE_GONE, 1);
	n->has_left |= n->lost && n->told_leave;
}

static void server_ends(struct world *w, struct node *n)
{
	n->server = SERVER_NONE;
	n->ready = n->sick = n->hung = false;
	n->connections = n->silent = 0;
	n->spoken_ms = w->now_ms;
	for (int due = DUE_READY; due <= DUE_CLOSE; due++)
		n->due_ms[due] = NEVER;
	n->due_ms[DUE_ACCEPT] = n->due_ms[DUE_IDLE] = n->due_ms[DUE_SPOKEN] = NEVER;
	stop_listening(w, n);
	/* Nobody else reports it. */
	if (n->lost) {
		n->has_left = n->has_stopped = true;
		node_fail(n);
	}
}

static void on_spawn(struct world *w, struct node *n)
{
	bool fails = n->defect == DEFECT_NO_EXEC && chance(w, n, 1, 4) != 0;

	n->spawns++;
	if (fails) {
		trace_node(w, n, "cannot be started");
		n->server = SERVER_NONE;
		agent_event(w, n, LIFECYCLE_SPAWN_FAILED);
		return;
	}
	n->server = SERVER_RUNNING;
	n->listening = true;
	set_due(w, n, DUE_READY,
		n->defect == DEFECT_SLOW ? chance(w, n, 2, 1500) : chance(w, n, 2, 100));
	if (n->defect == DEFECT_EARLY_CRASH)
		set_due(w, n, DUE_EXIT, chance(w, n, 3, 50));
	if (n->defect == DEFECT_CRASH)
		set_due(w, n, DUE_EXIT, 100 + chance(w, n, 3, 4000));
	if (n->defect == DEFECT_DEAF)
		n->hung = true;
	agent_event(w, n, LIFECYCLE_SPAWNED);
}

static void on_ready(struct world *w, struct node *n)
{
	n->ready = true;
	if (n->defect == DEFECT_SICK && chance(w, n, 4, 2))
		n->sick = true;
}

static void on_exit_due(struct world *w, struct node *n)
{
	if (n->server != SERVER_RUNNING)
		return;
	trace_node(w, n, "its server ends");
	server_ends(w, n);
	agent_event(w, n, LIFECYCLE_EXITED);
}

static void on_killed(struct world *w, struct node *n)
{
	bool killed = n->server == SERVER_RUNNING;

	if (killed)
		on_exit_due(w, n);
	agent_step(w, n, &(struct lifecycle_event){.type = LIFECYCLE_EMPTY, .killed = killed});
}

static void on_signal(struct world *w, struct node *n, int signal)
{
	if (n->server != SERVER_RUNNING || n->hung)
		return;
	if (signal == SIGNAL_DRAIN)
		set_due(w, n, DUE_CLOSE, chance(w, n, 5, 30));
	if (signal == SIGNAL_STOP)
		set_due(w, n, DUE_EXIT, chance(w, n, 6, n->defect == DEFECT_BUSY ? 2000 : 50));
}

static void on_close(struct world *w, struct node *n)
{
	stop_listening(w, n);
}

/* ---- its connections ------------------------------------------------------------------------ */

static void on_accept(struct world *w, struct node *n)
{
	if (n->hung)
		return;
	n->connections += n->queued;
	empty_queue(w, n);
	if (n->connections > 0 && n->defect != DEFECT_BUSY && n->defect != DEFECT_IDLE)
		set_due(w, n, DUE_IDLE, chance(w, n, 12, 400));
}

static void on_spoken(struct world *w, struct node *n)
{
	if (n->silent > 0)
		n->spoken_ms = w->now_ms;
	n->silent = 0;
}

static void on_idle(struct world *w, struct node *n)
{
	on_spoken(w, n);
	n->connections = 0;
}

/* On one of them nobody says anything for a while. */
static void be_silent(struct world *w, struct node *n, uint32_t most_ms)
{
	if (n->silent > 0 || n->connections == 0 || chance(w, n, 15, 2))
		return;
	n->silent = 1;
	n->silent_ms = w->now_ms;
	set_due(w, n, DUE_SPOKEN, chance(w, n, 16, most_ms));
}

/* New connections come as long as a table names it; the last ones are in its queue then. */
void node_named(struct world *w, struct node *n, bool named, bool backup)
{
	bool comes = named && !n->named, goes = n->named && !named;

	n->named = named;
	n->backup = backup;
	if (n->server != SERVER_RUNNING || !n->listening)
		return;
	if (comes) {
		n->connections += 1 + chance(w, n, 13, 4);
		n->due_ms[DUE_IDLE] = NEVER;
		be_silent(w, n, 4000);
	}
	if (goes) {
		be_silent(w, n, 400);
		n->queued = (uint32_t)(hash_of(w->plan->seed, n->serial, w->now_ms) % 3);
		set_due(w, n, DUE_ACCEPT, chance(w, n, 14, 150));
	}
}

/* ---- the agent ------------------------------------------------------------------------------ */

static void on_spawn_order(struct world *w, struct node *n)
{
	n->server = SERVER_SPAWNING;
	n->due_ms[DUE_KILLED] = NEVER;
	set_due(w, n, DUE_SPAWN,
		1 + chance(w, n, 7, n->defect == DEFECT_SLOW && n->serial % 2 ? 1500 : 20));
}

static void on_kill_order(struct world *w, struct node *n)
{
	set_due(w, n, DUE_KILLED,
		1 + (n->defect == DEFECT_UNKILLABLE ? 2 * LIFECYCLE_KILL_MS : chance(w, n, 8, 20)));
}

static void agent_act(struct world *w, struct node *n, const struct lifecycle_action *action)
{
	switch (action->type) {
	case LIFECYCLE_DO_SPAWN:
		on_spawn_order(w, n);
		break;
	case LIFECYCLE_DO_SIGNAL:
		on_signal(w, n, action->signal);
		break;
	case LIFECYCLE_DO_WATCH_LISTENERS:
		n->watching = true;
		if (!n->listening)
			set_due(w, n, DUE_GONE, 1);
		break;
	case LIFECYCLE_DO_SHUT_LISTENERS:
		empty_queue(w, n);
		n->listening = false;
		break;
	case LIFECYCLE_DO_KILL:
		on_kill_order(w, n);
		break;
	case LIFECYCLE_DO_TIMER:
		n->due_ms[DUE_AGENT_TIMER] = action->at_ms;
		break;
	case LIFECYCLE_DO_REPORT_LEFT:
		n->has_left = true;
		break;
	case LIFECYCLE_DO_REPORT_STOPPED:
		n->has_left = n->has_stopped = true;
		n->killed = action->killed;
		node_end_agent(w, n);
		break;
	case LIFECYCLE_DO_CLOSE: /* see .closed */
	case LIFECYCLE_DO_REPORT_EXITED:
	case LIFECYCLE_DO_REPORT_SUCCEEDED:
	case LIFECYCLE_DO_REPORT_FAILED:
		break;
	}
}

static void agent_step(struct world *w, struct node *n, const struct lifecycle_event *event)
{
	struct lifecycle_actions actions;
	enum agent_state before = n->agent.state;

	if (!n->agent_alive || n->agent_hung)
		return;
	lifecycle_step(&n->agent, event, w->now_ms, &actions);
	invariants_of_agent(w, n, before, &actions);
	for (size_t k = 0; k < actions.n; k++)
		agent_act(w, n, &actions.list[k]);
	n->joined |= n->agent.alive;
	if (n->agent.state == AGENT_FAILED && !n->told_leave && !n->told_stop)
		node_fail(n);
}

/* What the daemon has not ended itself it learns a little later. */
void node_end_agent(struct world *w, struct node *n)
{
	n->agent_alive = false;
	n->due_ms[DUE_AGENT_TIMER] = NEVER;
	n->due_ms[DUE_KILLED] = NEVER;
	set_due(w, n, DUE_LOST, 1 + chance(w, n, 9, 20));
}

static void on_agent_timer(struct world *w, struct node *n)
{
	agent_event(w, n, LIFECYCLE_TIMER);
}

static void on_gone(struct world *w, struct node *n)
{
	if (!n->listening)
		agent_event(w, n, LIFECYCLE_LISTENERS_GONE);
}

/* ---- without an agent ----------------------------------------------------------------------- */

/* A server goes on; one that has yet to prove itself must not begin like that. */
static void on_lost(struct world *w, struct node *n)
{
	n->lost = true;
	if (n->has_stopped)
		return;
	trace_node(w, n, "its agent is lost");
	n->due_ms[DUE_SPAWN] = NEVER;
	if (!n->steady && !n->told_leave && !n->told_stop)
		node_fail(n);
	if (n->server != SERVER_RUNNING) {
		server_ends(w, n);
		return;
	}
	/* What it was waiting for is not worth waiting for without it. */
	if (n->told_leave && !n->has_left)
		set_due(w, n, DUE_SHUT, 0);
	if (n->told_stop)
		set_due(w, n, DUE_KILLED, 1);
}

static void on_shut(struct world *w, struct node *n)
{
	stop_listening(w, n);
}

/* ---- orders --------------------------------------------------------------------------------- */

void node_steady(struct world *w, struct node *n, bool on)
{
	n->steady = on;
	agent_step(w, n, &(struct lifecycle_event){.type = LIFECYCLE_STEADY, .on = on});
	node_show(n);
}

void node_leave(struct world *w, struct node *n, int signal, uint64_t timeout_ms)
{
	n->told_leave = n->seen_leave = true;
	n->leave_by_ms = w->now_ms + timeout_ms;
	n->checking = false;
	agent_step(w, n,
		   &(struct lifecycle_event){.type = LIFECYCLE_LEAVE,
					     .signal = signal ? SIGNAL_DRAIN : 0,
					     .timeout_ms = (uint32_t)timeout_ms});
	if (n->lost) {
		on_signal(w, n, signal ? SIGNAL_DRAIN : 0);
		set_due(w, n, DUE_SHUT, timeout_ms);
	}
	node_show(n);
}

void node_stop(struct world *w, struct node *n, uint64_t timeout_ms)
{
	n->told_stop = n->seen_stop = true;
	n->stop_by_ms = w->now_ms + timeout_ms + LIFECYCLE_KILL_MS;
	n->checking = false;
	agent_step(w, n,
		   &(struct lifecycle_event){.type = LIFECYCLE_STOP,
					     .signal = SIGNAL_STOP,
					     .timeout_ms = (uint32_t)timeout_ms});
	if (n->lost) {
		on_signal(w, n, SIGNAL_STOP);
		set_due(w, n, DUE_KILLED, timeout_ms + 1);
	}
	node_show(n);
}

void node_kill(struct world *w, struct node *n)
{
	n->agent_alive = false;
	n->checking = false;
	server_ends(w, n);
	for (int due = 0; due < _DUE_COUNT; due++)
		n->due_ms[due] = NEVER;
	n->killed = n->has_left = n->has_stopped = true;
	node_show(n);
}

/* A crash that nobody ordered. */
void node_crash(struct world *w, struct node *n)
{
	if (n->server == SERVER_RUNNING)
		set_due(w, n, DUE_EXIT, 0);
}

/* ---- life ----------------------------------------------------------------------------------- */

static enum defect draw_defect(const struct world *w, const struct node *n)
{
	/* Half of the trouble is in the release, half in the instance. */
	uint64_t who = chance(w, n, 10, 2) ? n->serial : 1000000 + n->generation;
	uint64_t x = hash_of(w->plan->seed, who, 11);

	if (x % 100 >= w->plan->trouble)
		return DEFECT_NONE;
	return (enum defect)(x / 100 % _DEFECT_COUNT);
}

static void launch_agent(struct world *w, struct node *n)
{
	if (n->defect == DEFECT_NO_AGENT) {
		trace_node(w, n, "its agent cannot be started");
		n->has_failed = n->has_left = n->has_stopped = true;
		return;
	}
	n->agent_alive = true;
	agent_event(w, n, LIFECYCLE_BEGIN);
}

struct node *node_launch(struct world *w, struct generation *generation, uint32_t index)
{
	for (struct node *n = w->nodes; n < w->nodes + NODES_MAX; n++) {
		if (n->used)
			continue;
		*n = (struct node){
			.used = true,
			.serial = w->next_serial++,
			.generation = generation->number,
			.instance = &views[n - w->nodes],
		};
		for (int due = 0; due < _DUE_COUNT; due++)
			n->due_ms[due] = NEVER;
		lifecycle_init(&n->agent, &w->plan->restarts);
		n->defect = draw_defect(w, n);
		n->used = n->defect != DEFECT_NO_MEMORY;
		if (!n->used)
			return NULL;
		view(n, generation, index);
		launch_agent(w, n);
		node_show(n);
		return n;
	}
	world_fail(w, "more instances than a world can have");
}

void node_free(struct node *n)
{
	n->used = false;
}

bool node_is_live(const struct node *n)
{
	return (n->agent_alive && !n->agent.closed) ||
	       (n->server == SERVER_RUNNING && n->listening);
}

bool node_answers(const struct node *n)
{
	return n->server == SERVER_RUNNING && n->listening && n->ready && !n->sick && !n->hung;
}

bool node_is_gone(const struct node *n)
{
	return !n->agent_alive && n->server == SERVER_NONE;
}

void node_happen(struct world *w, struct node *n, enum due due)
{
	static void (*const handlers[_DUE_COUNT])(struct world *, struct node *) = {
		[DUE_SPAWN] = on_spawn,
		[DUE_READY] = on_ready,
		[DUE_EXIT] = on_exit_due,
		[DUE_CLOSE] = on_close,
		[DUE_GONE] = on_gone,
		[DUE_KILLED] = on_killed,
		[DUE_AGENT_TIMER] = on_agent_timer,
		[DUE_LOST] = on_lost,
		[DUE_SHUT] = on_shut,
		[DUE_ACCEPT] = on_accept,
		[DUE_IDLE] = on_idle,
		[DUE_SPOKEN] = on_spoken,
	};

	n->due_ms[due] = NEVER;
	handlers[due](w, n);
	node_show(n);
}
