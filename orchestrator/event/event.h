/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * event: something that has happened, as a plain value.
 *
 * Services and rollouts fill a struct event and give it to an event_sink. They know nothing of JSON
 * or of readers: view/ makes JSON of an event, api/ keeps the last ones and sends them.
 *
 * The kinds below are all there are. docs/api.md explains each to users.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum event_kind {
	/* A step of a rollout has ended: EVENT_FORM_STEP. */
	EVENT_PREPARE,
	EVENT_START,
	EVENT_VERIFY,
	EVENT_GATE,
	EVENT_SHIFT,
	EVENT_HOLD, /* a canary has dwelt at a weight */
	EVENT_WAIT,
	EVENT_SETTLE,
	EVENT_BAKE,
	EVENT_LEAVE,
	EVENT_DRAIN,
	EVENT_STOP,

	/* A rollout waits for a person: EVENT_FORM_WAITING. */
	EVENT_WAITING,

	/* A rollout has ended: EVENT_FORM_RESULT. */
	EVENT_DONE,
	EVENT_FAILED,
	EVENT_ROLLED_BACK,

	/* All others: EVENT_FORM_NOTE. Orders, and what happens to a service: */
	EVENT_SUPERSEDED,
	EVENT_REFUSED, /* it is not started or changed as the configuration says: .reason */
	EVENT_SCALED,
	EVENT_PAUSED,
	EVENT_RESUMED,
	EVENT_CHANGED,    /* a watched path */
	EVENT_RELOADED,   /* the configuration, of no service */
	EVENT_OVERRIDDEN, /* an upgrade's command or environment, by the file */
	EVENT_TAKEN_OVER,
	EVENT_HOOK,
	EVENT_REPLACING,
	EVENT_DEGRADED,
	EVENT_RESTORED,
	EVENT_DRIFT,
	EVENT_STRANGER,
	EVENT_FAILOVER,
	EVENT_RELEASED,

	/* ... and what happens to one instance: */
	EVENT_UNHEALTHY,
	EVENT_RECOVERED,
	EVENT_HEALTHY,
	EVENT_PROBE,
	EVENT_READY,
	EVENT_EXITED,
	EVENT_RESTARTED,
	EVENT_AGENT_LOST,
	EVENT_SOCKETS,
	EVENT_UNDECLARED,
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
	const char *message; /* for people; one line */
	const char *reason;

	/* Of a rollout. */
	uint32_t rollout;
	const char *order;
	uint32_t generation, replaces; /* 0: none */
	uint64_t elapsed_ms;           /* since the rollout began */
	uint64_t took_ms;              /* the step, or all of it */
	bool ok, aborted;
	const char *step;  /* that failed */
	const char *probe; /* the last answer of the check that failed */
	const char *tail;  /* last lines of the server, of stderr if it is not .tail_stdout */
	bool tail_stdout;
	uint64_t tail_realtime_ms; /* when the last of them was written; 0: not known */
	int exit;                  /* status of the command line */
	uint64_t cut;              /* connections */
	struct {
		bool known;
		uint32_t generation; /* 0: nothing serves */
		uint32_t instances, wanted;
	} serving; /* of a result: when the rollout had ended */

	/* Of a note. */
	bool has_instance;
	uint32_t instance; /* of .generation */
	uint32_t instances;
	const char *hook; /* told with .ok */
	const char *listen, *path;
};

/* "shift", "rolled-back", ...: as users read it; static. */
const char *event_name(enum event_kind kind);

enum event_form event_form(enum event_kind kind);

/* Takes events; @service is "" for one that is of the daemon itself. */
struct event_sink {
	void (*take)(void *userdata, const char *service, const struct event *event);
	void *userdata;
};
