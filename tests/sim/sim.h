/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sim: random worlds for the two real machines, orchestrator/rollout/rollout.c and
 *agent/lifecycle.c.
 *
 * A world is a service of some instances, each with an agent (a real lifecycle machine) and a
 * server (imagined: it starts slowly, crashes, hangs, turns sick), a shell that plays the parts of
 * run.c and of the service around it (it feeds the real rollout machines and chooses the instances
 * for their counts), and a plan: what operators order and what befalls whom, at which time. All of
 * it follows from the plan alone, which follows from a seed: whatever is left to chance is a hash
 * of the plan's seed and of whom it concerns, so that leaving out one operation changes nothing
 * before it.
 *
 * One step is one thing that happens: the earliest that is due. Time is simulated, in milliseconds,
 * and never goes back. After each step all invariants are checked (invariants.c); the first that
 * does not hold ends the world. sim_run() then makes the plan as small as it can (shrink.c) and
 * prints its seed and a trace of what is left.
 *
 *	plan.c        what will happen: drawn from the seed
 *	world.c       instances: agents and servers; what is due next
 *	shell.c       the rollouts' part: sees, steps the machine, acts
 *	service.c     the service's part: table, who is the current one, takeover, healing
 *	operators.c   carries out the plan's operations
 *	invariants.c  what must hold
 *	trace.c       what happened, for people
 *	coverage.c    which transitions were taken, against tests/model/transitions.h
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "agent/lifecycle.h"
#include "orchestrator/rollout/rollout.h"

#define NEVER UINT64_MAX

/* ---- the plan ------------------------------------------------------------------------------- */

enum op_type {
	OP_RESTART, /* .arg: how many the new generation is to have; 0: as many as now */
	OP_SCALE,   /* .arg: to how many */
	OP_STOP,
	OP_START,
	OP_ABORT,
	OP_PROMOTE,
	OP_QUIT,       /* the daemon is to end, and with it the service; then it is started again */
	OP_CRASH,      /* .arg: which instance's server */
	OP_CRASH_SIDE, /* .arg: every server of the same generation */
	OP_HANG,       /* it answers nothing and heeds no signal */
	OP_SICK,       /* its checks fail */
	OP_WELL,
	OP_KILL_AGENT,
	OP_HANG_AGENT,   /* it carries out no order any more */
	OP_FAIL_PUBLISH, /* .arg: the next so many fail */
	OP_CLOCK,        /* jumps forward by .arg ms */
	OP_DAEMON,       /* dies and is started again */
	_OP_COUNT,
};

struct op {
	uint64_t at_ms;
	enum op_type type;
	uint32_t arg;
};

#define OPS_MAX       40
#define INSTANCES_MAX 64
#define RUNS_MAX      8
#define WANTED_MAX    5

struct plan {
	uint64_t seed;
	uint32_t n_first; /* instances at the beginning */
	uint32_t trouble; /* of 100 instances, how many have some defect */
	struct rollout_policy policy;
	struct lifecycle_policy restarts;
	struct op ops[OPS_MAX];
	size_t n_ops;
};

/* ---- the world ------------------------------------------------------------------------------ */

/* What can be due for an instance. */
enum due {
	DUE_SPAWN,       /* exec has succeeded, or not */
	DUE_READY,       /* it can pass its checks from now on */
	DUE_EXIT,        /* the server's main process ends */
	DUE_CLOSE,       /* it closes its listening socket */
	DUE_GONE,        /* the agent sees that nobody listens any more */
	DUE_KILLED,      /* SIGKILL has its effect */
	DUE_AGENT_TIMER, /* the lifecycle machine's deadline */
	DUE_LOST,        /* the daemon notices that the agent is gone */
	DUE_IDLE,        /* its last connection ends */
	_DUE_COUNT,
};

enum server {
	SERVER_NONE,
	SERVER_SPAWNING,
	SERVER_RUNNING,
};

enum defect {
	DEFECT_NONE,
	DEFECT_SLOW,        /* starts after the start timeout, or nearly so */
	DEFECT_NO_EXEC,     /* cannot be started */
	DEFECT_EARLY_CRASH, /* ends before it is ready */
	DEFECT_CRASH,       /* ends some time after */
	DEFECT_SICK,        /* its checks fail some time after */
	DEFECT_DEAF,        /* heeds no signal */
	DEFECT_BUSY,        /* has connections that do not end */
	DEFECT_UNKILLABLE,  /* for a while */
	_DEFECT_COUNT,
};

struct instance {
	bool used;
	uint32_t serial; /* never used twice */
	uint32_t generation;
	enum defect defect;
	uint64_t due_ms[_DUE_COUNT];

	struct lifecycle agent;
	bool agent_alive;
	bool agent_hung;
	bool watching; /* the agent looks whether anybody listens */
	uint32_t spawns;
	enum server server;
	bool listening;
	bool ready;
	bool sick, hung;
	bool busy; /* has connections */

	/* What its agent was told, and has said. */
	bool told_leave, told_stop;
	bool has_left, has_stopped;
	uint64_t leave_by_ms, stop_by_ms;

	/* The daemon's view. */
	bool lost; /* its agent is gone */
	int run;   /* the rollout it takes part in, or -1 */
	enum rollout_side side;
	bool batch, victim;
	bool unnamed; /* a victim that is not even a backup */
	bool passed;  /* its checks */
	bool serves;  /* it is to be named by the table, as a primary */
	bool served;  /* ever */
	bool named, backup;
};

struct run {
	bool used;
	uint32_t number;
	struct rollout machine;
	bool decided;
	uint32_t generation[_ROLLOUT_SIDE_COUNT];
	uint64_t timer_ms, answer_ms, settled_ms;
	enum rollout_event answer; /* of prepare or of a gate, due at .answer_ms */
	uint64_t begun_ms, must_end_ms;
	uint32_t asked;                  /* answers so far */
	uint32_t n[_ROLLOUT_SIDE_COUNT]; /* as it was begun with */
	uint32_t weight;                 /* of the last step */
	bool shifted;                    /* a table has named a new one */
};

struct world {
	const struct plan *plan;
	uint64_t now_ms;
	uint64_t jumped_ms; /* when the clock has jumped last */
	size_t next_op;
	uint32_t next_serial, next_generation, next_run;
	struct instance instances[INSTANCES_MAX];
	struct run runs[RUNS_MAX];

	/* The service. */
	uint32_t wanted;
	uint32_t current;    /* generation; in state.json, so that it outlives a daemon */
	bool is_stopped;     /* by order; likewise */
	bool has_been_up;    /* since it was started last */
	bool all_died;       /* ... and everybody who served has ended by itself */
	bool table_is_old;   /* the last one could not be published */
	bool table_is_holed; /* ... and one that it names has ended by itself */
	uint32_t failing_publishes;
	uint64_t retry_ms, heal_ms;
	bool quitting;

	uint64_t steps;
	bool tracing;
	char failure[256]; /* empty: all invariants have held */
};

/* ---- plan.c --------------------------------------------------------------------------------- */

uint64_t hash_of(uint64_t seed, uint64_t who, uint64_t what);
void plan_draw(struct plan *plan, uint64_t seed);
void plan_print(const struct plan *plan, FILE *out);
const char *op_name(enum op_type type);

/* ---- world.c -------------------------------------------------------------------------------- */

void world_init(struct world *w, const struct plan *plan, bool tracing);

/* The next thing that happens; false: nothing is due any more. */
bool world_step(struct world *w);

struct instance *instance_launch(struct world *w, uint32_t generation);
void instance_steady(struct world *w, struct instance *i, bool on);
void instance_leave(struct world *w, struct instance *i, uint32_t timeout_ms);
void instance_stop(struct world *w, struct instance *i, uint32_t timeout_ms);
void instance_drain(struct world *w, struct instance *i); /* its connections end, or not */
void instance_kill(struct world *w, struct instance *i);  /* without its agent */
void instance_end_agent(struct world *w, struct instance *i);
void instance_crash(struct world *w, struct instance *i);

bool instance_is_live(const struct instance *i);    /* connections find a listening socket */
bool instance_is_healthy(const struct instance *i); /* and get their answer */
bool instance_has_failed(const struct instance *i); /* and nobody starts it again */
bool instance_is_gone(const struct instance *i);    /* no process is left */

static inline struct instance *used_from(struct world *w, struct instance *i)
{
	while (i < w->instances + INSTANCES_MAX && !i->used)
		i++;
	return i;
}

static inline struct run *run_from(struct world *w, struct run *run)
{
	while (run < w->runs + RUNS_MAX && !run->used)
		run++;
	return run;
}

#define for_each_used(i, w)                                                                        \
	for (struct instance *i = used_from(w, (w)->instances);                                    \
	     i < (w)->instances + INSTANCES_MAX; i = used_from(w, i + 1))

#define for_each_run(r, w)                                                                         \
	for (struct run *r = run_from(w, (w)->runs); r < (w)->runs + RUNS_MAX;                     \
	     r = run_from(w, r + 1))

/* ---- shell.c -------------------------------------------------------------------------------- */

struct run *run_new(struct world *w);
void run_begin(struct world *w, struct run *run, const struct rollout_policy *policy,
	       uint32_t n_old, uint32_t n_new, bool retire);
void run_feed(struct world *w, struct run *run, enum rollout_event event);
bool run_look(struct world *w, struct run *run); /* whether something was to be seen */
uint64_t run_due(const struct run *run);
void run_tick(struct world *w, struct run *run); /* what is due at w->now_ms */
int run_index(const struct world *w, const struct run *run);
bool is_of(const struct world *w, const struct run *run, const struct instance *i,
	   enum rollout_side side);
bool side_is_gone(struct world *w, const struct run *run, enum rollout_side side);

/* ---- service.c ------------------------------------------------------------------------------ */

bool service_publish(struct world *w);
struct run *service_busy(struct world *w); /* the rollout that is not decided yet */
uint32_t service_count(const struct world *w);
void service_look(struct world *w);
uint64_t service_due(const struct world *w);
void service_tick(struct world *w);
void service_release(struct world *w, struct run *run); /* it is decided */
void service_replace(struct world *w, uint32_t n_new);
void service_scale(struct world *w, uint32_t n);
void service_start(struct world *w, uint32_t n);
void service_stop(struct world *w);
void service_quit(struct world *w);
void service_take_over(struct world *w);

/* ---- the rest ------------------------------------------------------------------------------- */

void operators_do(struct world *w, const struct op *op);

/* Notes the first failure only. */
void world_fail(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

void invariants_of_agent(struct world *w, const struct instance *i, enum agent_state before,
			 const struct lifecycle_actions *actions);
void invariants_of_action(struct world *w, struct run *run, const struct rollout_action *action);
void invariants_of_step(struct world *w, const struct run *run, const struct rollout *before,
			enum rollout_event event, const struct rollout_actions *actions);
void invariants_of_end(struct world *w, const struct run *run);
void invariants_of_world(struct world *w);

void trace(const struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void trace_instance(const struct world *w, const struct instance *i, const char *what);
void trace_action(const struct world *w, const struct run *run,
		  const struct rollout_action *action);

/* Whether the model knows it. */
bool coverage_note(enum rollout_state from, enum rollout_event event, enum rollout_state to);
size_t coverage_print(FILE *out); /* each triple that was taken; returns how many never were */

/* Runs the plan to its end. Its length in steps is returned; @ret_failure is empty or a text. */
uint64_t plan_run(const struct plan *plan, bool tracing, char *ret_failure, size_t size);
void plan_shrink(struct plan *plan, const char *failure);

/* @steps of worlds, beginning with that of @seed. 0, or -1 where one failed, which was printed. */
int sim_run(uint64_t seed, uint64_t steps);
