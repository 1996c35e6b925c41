/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sim: random worlds for the real rollouts (orchestrator/rollout/) and the real agents' machine
 * (agent/lifecycle.c).
 *
 * A world is a service of some instances. Each has an agent, which is a real lifecycle machine, and
 * an imagined server: it starts slowly, crashes, hangs, turns sick. Rollouts are real: the machine,
 * the choice of victims and the shell are linked as they are. What they call of other modules is
 * played here, under the names of those modules' headers; so is the service around them. A plan
 * says what operators order and what befalls whom, at which time. All of it follows from the plan
 * alone, which follows from a seed: whatever is left to chance is a hash of the plan's seed and of
 * whom it concerns, so that leaving out one operation changes nothing before it.
 *
 * One step is one thing that happens: the earliest that is due. Time is simulated, in milliseconds,
 * and never goes back. Mostly the daemon looks after each step, sometimes only after several. All
 * invariants are checked after each step, and around each event and action of a rollout; the first
 * that does not hold ends the world. sim_run() then makes the plan as small as it can (shrink.c)
 * and prints its seed and a trace of what is left.
 *
 *	plan.c               what will happen: drawn from the seed
 *	world.c              what is due next
 *	node.c               agents and servers
 *	fake_instance.c      instance.h and generation.h, played by nodes
 *	fake_daemon.c        timers, clock, log, commands, gates, steering, as rollouts see them
 *	service.c            the service's part: table, who is the current one, orders, healing
 *	takeover.c           ... and what a new daemon does
 *	operators.c          carries out the plan's operations
 *	witness.c            sees each event and each action of a rollout
 *	invariants.c         what must hold of agents, and always
 *	invariants_event.c   what must hold of a rollout's events and steps
 *	invariants_action.c  what must hold of a rollout's actions, and at its end
 *	trace.c              what happened, for people
 *	coverage.c           which transitions were taken, against tests/model/transitions.h
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "agent/lifecycle.h"
#include "orchestrator/rollout/run.h"

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
	OP_STALL,        /* the daemon does nothing for .arg ms */
	_OP_COUNT,
};

struct op {
	uint64_t at_ms;
	enum op_type type;
	uint32_t arg;
};

#define OPS_MAX         40
#define NODES_MAX       64
#define GENERATIONS_MAX 24
#define RUNS_MAX        8
#define WANTED_MAX      5

struct plan {
	uint64_t seed;
	uint32_t n_first; /* instances at the beginning */
	uint32_t trouble; /* of 100 instances, how many have some defect */
	struct rollout_config rollout;
	unsigned gates;     /* the points at which there is something to ask */
	bool before_start;  /* there is a command to run */
	bool stays[2];      /* drain.wait is "connections": of even generations, of odd ones */
	bool joins_at_once; /* the tier has no tables */
	bool counted;       /* the kernel counts connections */
	bool force;         /* drain.force */
	bool delay_auto;    /* drain.delay is "auto" */
	uint64_t delay_ms;  /* drain.delay_max, or drain.delay */
	uint64_t idle_timeout_ms;
	struct lifecycle_policy restarts;
	struct op ops[OPS_MAX];
	size_t n_ops;
};

/* ---- the world ------------------------------------------------------------------------------ */

/* What can be due for a node. */
enum due {
	DUE_SPAWN,       /* exec has succeeded, or not */
	DUE_READY,       /* it can pass its checks from now on */
	DUE_EXIT,        /* the server's main process ends */
	DUE_CLOSE,       /* it closes its listening socket */
	DUE_GONE,        /* the agent sees that nobody listens any more */
	DUE_KILLED,      /* SIGKILL has its effect */
	DUE_AGENT_TIMER, /* the lifecycle machine's deadline */
	DUE_LOST,        /* the daemon notices that the agent is gone */
	DUE_SHUT,        /* without an agent the daemon shuts the listening socket down */
	DUE_ACCEPT,      /* the server accepts what is in its queue */
	DUE_IDLE,        /* its last connection ends */
	DUE_SPOKEN,      /* on each of its connections somebody has said something */
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
	DEFECT_IDLE,        /* has connections that do not end, but carry nothing */
	DEFECT_OPAQUE,      /* the kernel cannot be asked about its queue and connections */
	DEFECT_HALF,        /* does not listen on every endpoint */
	DEFECT_NO_AGENT,    /* not even its agent can be started */
	DEFECT_NO_MEMORY,   /* it cannot be made at all */
	_DEFECT_COUNT,
};

/* One instance: an agent, a server, and what the daemon knows of them. */
struct node {
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
	uint32_t queued;      /* connections that it has not accepted */
	uint64_t emptied_ms;  /* when there were none any more */
	uint32_t connections; /* that it has */
	uint32_t silent;      /* of these: nobody has said anything yet */
	uint64_t silent_ms;   /* since when */
	uint64_t spoken_ms;   /* when there were none any more */

	/* What its agent was told, and has said: node_show() makes an instance of it. */
	bool told_leave, told_stop;
	bool seen_leave, seen_stop; /* ... as far as this daemon knows */
	bool steady;
	bool has_left, has_stopped;
	bool has_failed;
	bool killed;
	uint64_t leave_by_ms, stop_by_ms;

	/* The daemon's. */
	struct instance *instance; /* its .userdata is the node */
	bool lost;                 /* its agent is gone */
	bool joined;
	bool checking;
	bool watched; /* for its last connection */
	enum health_state verdict;
	bool passed;               /* its checks, once */
	bool leftover;             /* of an earlier daemon, and to be retired */
	enum instance_role before; /* the last PUBLISH */
	bool named, backup;        /* by the table that is published */
	bool left_out;             /* of it, though it is to serve: it does not, or is unhealthy */
};

/* What is noted about a rollout, beside it. */
struct watch {
	bool began;
	bool decided;
	uint64_t begun_ms, must_end_ms;
	uint32_t n[_ROLLOUT_SIDE_COUNT]; /* as it was begun with */
	uint32_t weight;                 /* of the last step */
	bool shifted;                    /* a table has named a new one */
	uint64_t settle_ms;              /* when SETTLING began */
	uint64_t delay_ms;               /* when DELAYING began; 0: these victims had no delay */
	uint64_t deadline_ms;            /* as the machine has set it last; NEVER: none */
	uint64_t armed_ms;               /* the same, as it was given to the timer */
	struct run_shares before;        /* the last PUBLISH */
	uint32_t told, waiting;          /* events */
	enum event_kind kind;            /* of the last one */
	bool ok;                         /* likewise */
	uint32_t hooks[_HOOK_COUNT];
	uint64_t cut; /* connections that were left when a drain ended by its deadline */
	bool cut_unknown;
	uint32_t asked;            /* commands and gates */
	enum rollout_event answer; /* of the last one */
	bool quit;                 /* all is to end */
	const char *reason;
};

struct armed {
	struct timer *timer;
	uint64_t at_ms;
	sd_event_time_handler_t handler;
	void *userdata;
};

struct command {
	bool used;
	uint64_t at_ms;
	uint32_t verdict;
	void (*on_done)(void *userdata, const struct command_result *result);
	void *userdata;
};

struct gates {
	bool used;
	uint64_t at_ms;
	uint32_t verdict;
	void (*on_answer)(void *userdata, enum gates_answer answer, const char *text);
	void *userdata;
};

struct world {
	const struct plan *plan;
	uint64_t now_ms;
	uint64_t jumped_ms;  /* when the clock has jumped last */
	uint64_t stalled_ms; /* the daemon does nothing before; 0: it does */
	uint64_t woke_ms;    /* when it has begun to, again */
	size_t next_op;
	uint32_t next_serial, next_generation, next_run;
	struct node nodes[NODES_MAX];

	/* The daemon. */
	struct run runs[RUNS_MAX];
	struct watch watches[RUNS_MAX];
	struct generation generations[GENERATIONS_MAX]; /* .number 0: not in use */
	struct service_config configs[2];               /* of even generations, of odd ones */
	struct run_host host;
	struct wiring wiring;
	struct armed timers[2 * RUNS_MAX];
	size_t n_timers;
	struct command commands[RUNS_MAX]; /* of the run with the same number */
	struct gates gates[RUNS_MAX];      /* likewise */
	bool poked;

	/* The service. */
	uint32_t wanted;
	struct generation *current;
	uint32_t serving;    /* the current one's number, in state.json: it outlives a daemon */
	bool is_stopped;     /* by order; likewise */
	bool has_been_up;    /* since it was started last */
	bool all_died;       /* ... and everybody who served has ended by itself */
	bool table_is_old;   /* the last one could not be published */
	bool table_is_holed; /* ... and one that it names has ended by itself */
	struct run_shares shares;
	uint32_t failing_publishes;
	uint64_t retry_ms, heal_ms, heal_delay_ms;
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

/* The one that is being played: the modules that are faked have no argument for it. */
struct world *world_now(void);

void world_init(struct world *w, const struct plan *plan, bool tracing);

/* Free what it holds. (What a step that did not end held is lost.) */
void world_done(struct world *w);

/* As a batond that was killed. */
void world_forget_runs(struct world *w);

/* The next thing that happens; false: nothing is due any more. */
bool world_step(struct world *w);

/* ---- node.c --------------------------------------------------------------------------------- */

/* NULL: there was no memory for it. */
struct node *node_launch(struct world *w, struct generation *generation, uint32_t index);
void node_free(struct node *n);

/* Orders to its agent, or as well as can be without it. */
void node_steady(struct world *w, struct node *n, bool on);
void node_leave(struct world *w, struct node *n, int signal, uint64_t timeout_ms);
void node_stop(struct world *w, struct node *n, uint64_t timeout_ms);
void node_kill(struct world *w, struct node *n);

void node_named(struct world *w, struct node *n, bool named, bool backup);
void node_judge(struct node *n);                                   /* by its checks */
void node_see_anew(struct node *n, struct generation *generation); /* by another daemon */
void node_happen(struct world *w, struct node *n, enum due due);
void node_end_agent(struct world *w, struct node *n);
void node_crash(struct world *w, struct node *n);

bool node_is_live(const struct node *n);   /* connections find a listening socket */
bool node_answers(const struct node *n);   /* ... and get their answer */
bool node_is_gone(const struct node *n);   /* no process is left */
bool node_can_serve(const struct node *n); /* as far as the daemon knows */
bool node_is_bad(const struct node *n);    /* as far as the daemon knows: failed, or unhealthy */

static inline struct node *node_of(const struct instance *i)
{
	return i->userdata;
}

static inline struct node *used_from(struct world *w, struct node *n)
{
	while (n < w->nodes + NODES_MAX && !n->used)
		n++;
	return n;
}

static inline struct run *run_from(struct world *w, struct run *run)
{
	while (run < w->runs + RUNS_MAX && run->id == 0)
		run++;
	return run;
}

#define for_each_used(n, w)                                                                        \
	for (struct node *n = used_from(w, (w)->nodes); n < (w)->nodes + NODES_MAX;                \
	     n = used_from(w, n + 1))

#define for_each_instance(member, set)                                                             \
	for (struct instance *const *member##_at = (set)->list;                                    \
	     member##_at < (set)->list + (set)->n; member##_at++)                                  \
		for (struct node *member = node_of(*member##_at); member; member = NULL)

#define for_each_run(r, w)                                                                         \
	for (struct run *r = run_from(w, (w)->runs); r < (w)->runs + RUNS_MAX;                     \
	     r = run_from(w, r + 1))

/* ---- fake_daemon.c -------------------------------------------------------------------------- */

/* Who is asked next: of timers, commands and gates. NEVER: nobody. */
uint64_t daemon_due(const struct world *w);
void daemon_happen(struct world *w); /* the earliest */
void daemon_forget(struct world *w); /* it has died */
bool daemon_has_armed(const struct world *w, const struct timer *timer, uint64_t at_ms);
bool daemon_asks(const struct world *w, const struct run *run);

/* ---- service.c ------------------------------------------------------------------------------ */

void service_init(struct world *w);
bool service_publish(struct world *w);
struct run *service_busy(struct world *w); /* the rollout that is not decided yet */
void service_staying(struct world *w, struct instances *ret);
void service_look(struct world *w); /* until nothing moves any more */
uint64_t service_due(const struct world *w);
void service_tick(struct world *w);
void service_replace(struct world *w, uint32_t n_new);
void service_scale(struct world *w, uint32_t n);
void service_start(struct world *w, uint32_t n);
void service_stop(struct world *w);
void service_abort(struct world *w);
void service_promote(struct world *w);
void service_quit(struct world *w);
struct generation *service_generation(struct world *w, uint32_t number);
void service_drop_generations(struct world *w);             /* that are empty */
bool service_begin(struct world *w, struct run_plan *plan); /* false: not now */

/* ---- takeover.c ----------------------------------------------------------------------------- */

void service_take_over(struct world *w);
void service_retire(struct world *w); /* what is left over */

/* ---- witness.c ------------------------------------------------------------------------------ */

struct watch *watch_of(const struct run *run);
void witness_begin(struct world *w, struct run *run);
void witness_limit(struct run *run, uint64_t end_ms); /* run_limit_drain() */
void witness_tell(struct run *run, const struct event *event);

/* ---- the rest ------------------------------------------------------------------------------- */

void operators_do(struct world *w, const struct op *op);

/* Ends the world. */
void world_fail(struct world *w, const char *format, ...)
	__attribute__((format(printf, 2, 3), noreturn));
void world_leave(void) __attribute__((noreturn)); /* sim.c */

void invariants_of_agent(struct world *w, const struct node *n, enum agent_state before,
			 const struct lifecycle_actions *actions);
void invariants_of_world(struct world *w);
void invariants_of_table(struct world *w); /* after the daemon has looked */

void invariants_of_event(struct world *w, struct run *run, enum rollout_event event);
void invariants_of_step(struct world *w, struct run *run, const struct rollout *before,
			enum rollout_event event, const struct rollout_actions *actions);
void invariants_before_action(struct world *w, struct run *run,
			      const struct rollout_action *action);
void invariants_of_action(struct world *w, struct run *run, const struct rollout_action *action,
			  int result);
void invariants_of_end(struct world *w, struct run *run);
/* Has anything been overlooked? */
void invariants_of_look(struct world *w, struct run *run);

void trace(const struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void trace_node(const struct world *w, const struct node *n, const char *what);
void trace_action(const struct world *w, const struct run *run,
		  const struct rollout_action *action);

/* Whether the model knows it. */
bool coverage_note(enum rollout_state from, enum rollout_event event, enum rollout_state to);
size_t coverage_print(FILE *out); /* each triple that was taken; returns how many never were */

/* Runs the plan to its end. Its length in steps is returned; @ret_failure is empty or a text. */
uint64_t plan_run(const struct plan *plan, bool tracing, char *ret_failure, size_t size);
void plan_shrink(struct plan *plan, const char *failure);

/* @steps of worlds, beginning with that of @seed. 0, or -1 if one failed, which was printed. */
int sim_run(uint64_t seed, uint64_t steps);
