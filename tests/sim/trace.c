/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <stdarg.h>

#include "tests/sim/sim.h"

static void head(const struct world *w)
{
	fprintf(stderr, "  %8" PRIu64 " ms  ", w->now_ms);
}

void trace(const struct world *w, const char *format, ...)
{
	va_list args;

	if (!w->tracing)
		return;
	head(w);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

void trace_node(const struct world *w, const struct node *n, const char *what)
{
	if (w->tracing)
		trace(w, "instance %u (generation %u): %s", n->serial, n->generation, what);
}

static const char *action_name(enum rollout_action_type type)
{
	static const char *const names[] = {
		[ROLLOUT_DO_PREPARE] = "prepare",   [ROLLOUT_DO_START] = "start",
		[ROLLOUT_DO_VERIFY] = "verify",     [ROLLOUT_DO_GATE] = "ask the gates",
		[ROLLOUT_DO_PUBLISH] = "publish",   [ROLLOUT_DO_SHIFTED] = "(shifted in full)",
		[ROLLOUT_DO_DISCARD] = "discard",   [ROLLOUT_DO_SETTLE] = "settle",
		[ROLLOUT_DO_COMMIT] = "commit",     [ROLLOUT_DO_UNNAME] = "unname",
		[ROLLOUT_DO_LEAVE] = "leave",       [ROLLOUT_DO_DRAIN] = "drain",
		[ROLLOUT_DO_STOP] = "stop",         [ROLLOUT_DO_KILL] = "kill",
		[ROLLOUT_DO_TIMER] = "timer",       [ROLLOUT_DO_NO_TIMER] = "no timer",
		[ROLLOUT_DO_END] = "end",           [ROLLOUT_DO_TELL] = "tell",
		[ROLLOUT_DO_CANCEL] = "cancel",     [ROLLOUT_DO_RESTORE] = "restore",
		[ROLLOUT_DO_STEADY] = "steady",     [ROLLOUT_DO_WAIT] = "wait",
		[ROLLOUT_DO_DRAINED] = "(drained)", [ROLLOUT_DO_REAP] = "reap",
		[ROLLOUT_DO_UNDONE] = "(undone)",
	};

	return names[type];
}

void trace_action(const struct world *w, const struct run *run, const struct rollout_action *action)
{
	if (!w->tracing || action->type == ROLLOUT_DO_TIMER ||
	    action->type == ROLLOUT_DO_NO_TIMER || action->type == ROLLOUT_DO_TELL)
		return;
	if (action->type == ROLLOUT_DO_PUBLISH)
		trace(w, "rollout %u:   publish the %s side, %u victims, weight %u", run->id,
		      action->to == ROLLOUT_NEW ? "new" : "old", action->n, action->weight);
	else if (action->type == ROLLOUT_DO_START)
		trace(w, "rollout %u:   start %u of the %s side", run->id, action->n,
		      action->to == ROLLOUT_NEW ? "new" : "old");
	else
		trace(w, "rollout %u:   %s", run->id, action_name(action->type));
}
