/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/event/event.h"

#include <assert.h>

static const char *const names[_EVENT_KIND_COUNT] = {
	[EVENT_PREPARE] = "prepare",
	[EVENT_START] = "start",
	[EVENT_VERIFY] = "verify",
	[EVENT_GATE] = "gate",
	[EVENT_SHIFT] = "shift",
	[EVENT_HOLD] = "hold",
	[EVENT_WAIT] = "wait",
	[EVENT_SETTLE] = "settle",
	[EVENT_BAKE] = "bake",
	[EVENT_LEAVE] = "leave",
	[EVENT_DRAIN] = "drain",
	[EVENT_STOP] = "stop",
	[EVENT_WAITING] = "waiting",
	[EVENT_DONE] = "done",
	[EVENT_FAILED] = "failed",
	[EVENT_ROLLED_BACK] = "rolled-back",
	[EVENT_SUPERSEDED] = "superseded",
	[EVENT_REFUSED] = "refused",
	[EVENT_SCALED] = "scaled",
	[EVENT_PAUSED] = "paused",
	[EVENT_RESUMED] = "resumed",
	[EVENT_CHANGED] = "changed",
	[EVENT_RELOADED] = "reloaded",
	[EVENT_OVERRIDDEN] = "overridden",
	[EVENT_TAKEN_OVER] = "adopted",
	[EVENT_HOOK] = "hook",
	[EVENT_REPLACING] = "replacing",
	[EVENT_DEGRADED] = "degraded",
	[EVENT_RESTORED] = "restored",
	[EVENT_DRIFT] = "drift",
	[EVENT_STRANGER] = "stranger",
	[EVENT_FAILOVER] = "failover",
	[EVENT_RELEASED] = "released",
	[EVENT_UNHEALTHY] = "unhealthy",
	[EVENT_RECOVERED] = "recovered",
	[EVENT_HEALTHY] = "healthy",
	[EVENT_PROBE] = "probe",
	[EVENT_READY] = "ready",
	[EVENT_EXITED] = "exited",
	[EVENT_RESTARTED] = "restarted",
	[EVENT_AGENT_LOST] = "agent-lost",
	[EVENT_SOCKETS] = "sockets",
	[EVENT_UNDECLARED] = "undeclared",
};

const char *event_name(enum event_kind kind)
{
	assert(kind < _EVENT_KIND_COUNT);
	return names[kind];
}

enum event_form event_form(enum event_kind kind)
{
	if (kind <= EVENT_STOP)
		return EVENT_FORM_STEP;
	if (kind == EVENT_WAITING)
		return EVENT_FORM_WAITING;
	return kind <= EVENT_ROLLED_BACK ? EVENT_FORM_RESULT : EVENT_FORM_NOTE;
}
