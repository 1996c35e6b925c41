/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The service's turn among all services (waiting_line.h): an order that starts servers waits for
 * it.
 */
#include <stdio.h>

#include "orchestrator/service/service_internal.h"

/* An order to scale without a number is the service's own. */
static bool grows(const struct service *s, const struct service_order *order)
{
	cleanup(instances_done) struct instances staying = {};

	if (!s->current)
		return false;
	service_staying(s, &staying);
	return (order->instances ? order->instances : s->instances) > staying.n;
}

bool service_needs_turn(const struct service *s, const struct service_order *order)
{
	if (!s->context->line || s->shutting_down)
		return false;
	switch (order->type) {
	case SERVICE_ORDER_START:
	case SERVICE_ORDER_RESTART:
	case SERVICE_ORDER_UPGRADE:
		return true;
	case SERVICE_ORDER_SCALE:
		return grows(s, order);
	default:
		return false;
	}
}

bool service_has_turn(const struct service *s, const struct service_order *order)
{
	return !service_needs_turn(s, order) || waiting_line_is_free(s->context->line, &s->turn);
}

/* All has been started, and it only waits: for a time, or for somebody. */
static bool only_waits(const struct rollout *m)
{
	bool waits = m->state == ROLLOUT_DWELLING || m->state == ROLLOUT_WAITING ||
		     m->state == ROLLOUT_BAKING;

	return waits && m->alive[ROLLOUT_NEW] >= m->wanted[ROLLOUT_NEW];
}

bool service_uses_turn(struct service *s)
{
	const struct run *run = service_undecided_run(s);

	return s->turn.taken && run && !run->automatic && run->order != RUN_ORDER_ROLLBACK &&
	       !only_waits(&run->machine);
}

bool service_take_turn(struct service *s)
{
	waiting_line_ask(s->context->line, &s->turn);
	return waiting_line_take(s->context->line, &s->turn);
}

void service_leave_turn(struct service *s)
{
	waiting_line_ask(s->context->line, &s->turn);
	waiting_line_step_back(s->context->line, &s->turn);
}

void service_end_turn(struct service *s)
{
	if (s->context->line)
		waiting_line_end(s->context->line, &s->turn);
}

char *service_describe_turn(const struct service *s, char ret[static SERVICE_TURN_MAX])
{
	snprintf(ret, SERVICE_TURN_MAX, "%u of %u rollouts are under way", s->context->line->taken,
		 s->context->line->max);
	return ret;
}
