/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * event: something that has happened, as a plain value.
 *
 * Services and rollouts fill a struct event and give it to an event_sink. They know nothing of JSON
 * or of readers: view/ makes JSON of an event, api/ keeps the last ones and sends them.
 *
 * EVENT_KINDS is the list of all kinds. docs/api.md explains each to users: a test compares the
 * two.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* X(kind, name, form): EVENT_kind is what users read as "name", and its form is EVENT_FORM_form. */
#define EVENT_KINDS(X)                                                                             \
	/* A step of a rollout has ended. */                                                       \
	X(PREPARE, "prepare", STEP)                                                                \
	X(START, "start", STEP)                                                                    \
	X(VERIFY, "verify", STEP)                                                                  \
	X(GATE, "gate", STEP)                                                                      \
	X(SHIFT, "shift", STEP)                                                                    \
	X(HOLD, "hold", STEP) /* a canary has dwelt at a weight */                                 \
	X(WAIT, "wait", STEP)                                                                      \
	X(SETTLE, "settle", STEP)                                                                  \
	X(BAKE, "bake", STEP)                                                                      \
	X(DELAY, "delay", STEP)                                                                    \
	X(LEAVE, "leave", STEP)                                                                    \
	X(DRAIN, "drain", STEP)                                                                    \
	X(STOP, "stop", STEP)                                                                      \
	/* A rollout waits for a person. */                                                        \
	X(WAITING, "waiting", WAITING)                                                             \
	/* ... or, before the drain signal, for clients; told with .silent. */                     \
	X(DELAYING, "delaying", WAITING)                                                           \
	/* A rollout has ended. */                                                                 \
	X(DONE, "done", RESULT)                                                                    \
	X(FAILED, "failed", RESULT)                                                                \
	X(ROLLED_BACK, "rolled-back", RESULT)                                                      \
	/* Orders, and what happens to a service. */                                               \
	X(SUPERSEDED, "superseded", NOTE)                                                          \
	X(REFUSED, "refused", NOTE) /* it is not as the configuration says: .reason */             \
	X(SCALED, "scaled", NOTE)                                                                  \
	X(PAUSED, "paused", NOTE)                                                                  \
	X(RESUMED, "resumed", NOTE)                                                                \
	X(CHANGED, "changed", NOTE)       /* a watched path */                                     \
	X(RELOADED, "reloaded", NOTE)     /* the configuration, of no service */                   \
	X(OVERRIDDEN, "overridden", NOTE) /* an upgrade's command or environment, by the file */   \
	X(ADDRESS, "address", NOTE)       /* one is opened or closed while the service runs */     \
	X(TAKEN_OVER, "adopted", NOTE)                                                             \
	X(HOOK, "hook", NOTE)                                                                      \
	X(REPLACING, "replacing", NOTE)                                                            \
	X(DEGRADED, "degraded", NOTE)                                                              \
	X(RESTORED, "restored", NOTE)                                                              \
	X(DRIFT, "drift", NOTE)                                                                    \
	X(STRANGER, "stranger", NOTE)                                                              \
	X(QUEUE, "queue", NOTE) /* an accept queue has overflowed, or is shorter than asked for */ \
	X(FAILOVER, "failover", NOTE)                                                              \
	X(RELEASED, "released", NOTE)                                                              \
	/* What happens to one instance. */                                                        \
	X(UNHEALTHY, "unhealthy", NOTE)                                                            \
	X(RECOVERED, "recovered", NOTE)                                                            \
	X(HEALTHY, "healthy", NOTE)                                                                \
	X(PROBE, "probe", NOTE)                                                                    \
	X(READY, "ready", NOTE)                                                                    \
	X(EXITED, "exited", NOTE)                                                                  \
	X(RESTARTED, "restarted", NOTE)                                                            \
	X(SUCCEEDED, "succeeded", NOTE) /* its server has replaced itself: .pid, .succeeds */      \
	X(AGENT_LOST, "agent-lost", NOTE)                                                          \
	X(AGENT_REPLACED, "agent-replaced", NOTE)                                                  \
	X(SOCKETS, "sockets", NOTE)                                                                \
	X(UNDECLARED, "undeclared", NOTE)                                                          \
	/* To one reader: it has missed some. Made by api/, of no service. */                      \
	X(DROPPED, "dropped", NOTE)

enum event_kind {
#define EVENT_KIND(kind, name, form) EVENT_##kind,
	EVENT_KINDS(EVENT_KIND)
#undef EVENT_KIND
		_EVENT_KIND_COUNT,
};

/* Which fields of an event of this form are always told, even if they are zero. */
enum event_form {
	EVENT_FORM_STEP,    /* those of a rollout, and took_ms, ok */
	EVENT_FORM_WAITING, /* those of a rollout */
	EVENT_FORM_RESULT,  /* those of a rollout but for elapsed_ms, and exit, cut, took_ms */
	EVENT_FORM_NOTE,    /* none: only fields that are set are told */
};

/*
 * Strings are borrowed for the time of the call that takes the event. NULL and 0 mean that there is
 * nothing to say, unless the event's form says that the field is always told.
 */
struct event {
	enum event_kind kind;
	bool passing;        /* one of many answers: for who follows now, and not kept */
	const char *message; /* for people; one line */
	const char *reason;

	/* Of a rollout. */
	uint32_t rollout;
	const char *order;
	uint32_t generation, replaces; /* 0: none; .generation is a note's, too */
	uint64_t elapsed_ms;           /* since the rollout began */
	uint64_t took_ms;              /* the step, or all of it */
	bool ok, aborted;
	const char *step;  /* that failed */
	const char *probe; /* the last answer of the check that failed */
	const char *tail;  /* last lines of the server, of stderr if it is not .tail_stdout */
	bool tail_stdout;
	uint64_t tail_realtime_ms; /* when the last of them was written; 0: not known */
	int exit;                  /* status of the command line */
	uint64_t cut;              /* connections left at a deadline */
	uint64_t cut_by_server;    /* connections */
	const char *lost;          /* both, and why */
	struct {
		bool known, counted; /* else only .ended, .left, .idle and .cut_by_server are */
		uint64_t ended, by_client, by_server, reset, cut_by_server, left, idle;
	} drain; /* of the step "drain": what became of connections */
	struct {
		bool known;
		uint64_t n;
	} silent; /* connections on which nobody has said anything yet; of a delay */
	struct {
		bool known;
		uint32_t generation; /* 0: nothing serves */
		uint32_t instances, wanted;
	} serving;          /* of a result: when the rollout had ended */
	bool started_again; /* what it was to replace was stopped first, and is back */

	struct {
		uint64_t released, refused, longest_ms;
	} held; /* connections that have waited; all 0: none */

	bool has_instance;
	uint32_t instance; /* of .generation; of a failure: the one that is to blame */

	/* Of a note. */
	uint32_t instances;
	int pid, succeeds; /* of servers */
	const char *hook;  /* told with .ok */
	const char *listen, *path;
	uint64_t passed; /* so many of this kind before it were not kept: see event_may_flood() */
};

/* "shift", "rolled-back", ...: as users read it; static. */
const char *event_name(enum event_kind kind);

enum event_form event_form(enum event_kind kind);

/*
 * Can servers, or others who have to do with their sockets, provoke it as often as they like? Who
 * tells such an event sees to it that many of them push nothing out of the history.
 */
bool event_may_flood(enum event_kind kind);

/* Takes events; @service is "" for one that is of the daemon itself. */
struct event_sink {
	void (*take)(void *userdata, const char *service, const struct event *event);
	void *userdata;
};
