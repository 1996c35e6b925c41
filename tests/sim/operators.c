/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/sim/sim.h"

/* The instance that an operation's argument means; NULL: there is none. */
static struct node *pick(struct world *w, uint32_t arg)
{
	uint32_t all = 0;

	for_each_used (n, w)
		all++;
	if (all == 0)
		return NULL;
	arg %= all;
	for_each_used (n, w)
		if (arg-- == 0)
			return n;
	return NULL;
}

static void crash_side(struct world *w, const struct node *one)
{
	for_each_used (n, w)
		if (n->generation == one->generation)
			node_crash(w, n);
}

static void befall(struct world *w, struct node *n, enum op_type type)
{
	trace_node(w, n, op_name(type));
	switch (type) {
	case OP_CRASH:
		node_crash(w, n);
		break;
	case OP_CRASH_SIDE:
		crash_side(w, n);
		break;
	case OP_HANG:
		n->hung = n->server == SERVER_RUNNING;
		break;
	case OP_SICK:
		n->sick = n->server == SERVER_RUNNING;
		break;
	case OP_WELL:
		n->sick = n->hung = false;
		break;
	case OP_KILL_AGENT:
		if (n->agent_alive)
			node_end_agent(w, n);
		break;
	default:
		n->agent_hung = true;
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
		watch_of(run)->must_end_ms += ms;
	for_each_used (n, w) {
		n->leave_by_ms += ms;
		n->stop_by_ms += ms;
	}
}

/* What happens in the meantime it sees afterwards, all at once. */
static void stall(struct world *w, uint32_t ms)
{
	w->stalled_ms = w->now_ms + ms;
	for_each_run (run, w)
		watch_of(run)->must_end_ms += ms;
}

/* A daemon that is held up hears nobody. */
static bool is_heard(const struct world *w, enum op_type type)
{
	switch (type) {
	case OP_RESTART:
	case OP_SCALE:
	case OP_STOP:
	case OP_START:
	case OP_ABORT:
	case OP_PROMOTE:
	case OP_QUIT:
		return w->stalled_ms == 0;
	default:
		return true;
	}
}

void operators_do(struct world *w, const struct op *op)
{
	struct node *n = pick(w, op->arg);

	trace(w, "-- %s %u", op_name(op->type), op->arg);
	if (!is_heard(w, op->type))
		return;
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
		service_abort(w);
		break;
	case OP_PROMOTE:
		service_promote(w);
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
	case OP_STALL:
		stall(w, op->arg);
		break;
	default:
		if (n)
			befall(w, n, op->type);
		break;
	}
}
