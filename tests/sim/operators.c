/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/sim/sim.h"

/* The instance that an operation's argument means; NULL: there is none. */
static struct instance *pick(struct world *w, uint32_t arg)
{
	uint32_t n = 0;

	for_each_used (i, w)
		n++;
	if (n == 0)
		return NULL;
	arg %= n;
	for_each_used (i, w)
		if (arg-- == 0)
			return i;
	return NULL;
}

static void crash_side(struct world *w, const struct instance *one)
{
	for_each_used (i, w)
		if (i->generation == one->generation)
			instance_crash(w, i);
}

static void befall(struct world *w, struct instance *i, enum op_type type)
{
	trace_instance(w, i, op_name(type));
	switch (type) {
	case OP_CRASH:
		instance_crash(w, i);
		break;
	case OP_CRASH_SIDE:
		crash_side(w, i);
		break;
	case OP_HANG:
		i->hung = i->server == SERVER_RUNNING;
		break;
	case OP_SICK:
		i->sick = i->server == SERVER_RUNNING;
		break;
	case OP_WELL:
		i->sick = i->hung = false;
		break;
	case OP_KILL_AGENT:
		if (i->agent_alive)
			instance_end_agent(w, i);
		break;
	default:
		i->agent_hung = true;
		break;
	}
}

/* Everything that was due in the meantime is due at once. */
static void jump(struct world *w, uint32_t ms)
{
	trace(w, "the clock jumps by %u ms", ms);
	w->now_ms += ms;
	w->jumped_ms = w->now_ms;
	for_each_run (run, w)
		run->must_end_ms += ms;
	for_each_used (i, w) {
		i->leave_by_ms += ms;
		i->stop_by_ms += ms;
	}
}

static void order(struct world *w, enum rollout_event event)
{
	for_each_run (run, w)
		run_feed(w, run, event);
}

void operators_do(struct world *w, const struct op *op)
{
	struct instance *i = pick(w, op->arg);

	trace(w, "-- %s %u", op_name(op->type), op->arg);
	switch (op->type) {
	case OP_RESTART:
		service_replace(w, op->arg);
		break;
	case OP_SCALE:
		service_scale(w, op->arg);
		break;
	case OP_STOP:
		service_stop(w);
		break;
	case OP_START:
		service_start(w, 1 + op->arg % WANTED_MAX);
		break;
	case OP_ABORT:
		order(w, ROLLOUT_ABORT);
		break;
	case OP_PROMOTE:
		order(w, ROLLOUT_PROMOTE);
		break;
	case OP_QUIT:
		service_quit(w);
		break;
	case OP_FAIL_PUBLISH:
		w->failing_publishes = op->arg;
		break;
	case OP_CLOCK:
		jump(w, op->arg);
		break;
	case OP_DAEMON:
		service_take_over(w);
		break;
	default:
		if (i)
			befall(w, i, op->type);
		break;
	}
}
