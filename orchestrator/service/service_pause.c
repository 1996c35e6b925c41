/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>

#include "common/duration.h"
#include "orchestrator/service/service_internal.h"

/* It was stopped while it was paused, and no start is about to come. */
static bool is_only_holding(const struct service *s)
{
	return s->n_generations == 0 && !s->queue.next.used && !s->queue.has_own;
}

/* 1 if that is a change, 0 if it was so already. */
static int set_paused(struct service *s, bool on, struct error *err)
{
	bool before = s->hold.paused;
	int r;

	if (!s->endpoints.open)
		return error_text(err, -ENOTCONN,
				  "the service is stopped (\"baton start %s\" starts it)",
				  s->config->name);
	if (on && !steer_can(s->wiring.tier, STEER_CAN_HOLD))
		return error_text(err, -EOPNOTSUPP,
				  "connections can be held on tier ebpf only; this is tier %s",
				  steer_tier_name(s->wiring.tier));
	if (on == before)
		return 0;
	if (on && (s->shutting_down || service_stopping_run(s) ||
		   (!s->current && !service_undecided_run(s))))
		return error_text(err, -ENOTCONN, "the service is being stopped");
	s->hold.paused = on;
	if (!on && is_only_holding(s)) {
		service_refuse_held(s);
		service_unpin_endpoints(s);
		return 1;
	}
	/* If nobody can serve, no table has to change. Connections go on waiting. */
	if (!service_can_serve(s)) {
		service_begin_hold(s);
		service_end_hold(s);
		return 1;
	}
	r = service_publish(s, err);
	if (r < 0) {
		s->hold.paused = before;
		/* Some endpoints may have got the new table: none of them may keep it. */
		service_publish(s, NULL);
		return r;
	}
	return 1;
}

static int carry_out(struct order_call *call, bool on)
{
	char limit[DURATION_TEXT_MAX], what[128];
	struct service *s = call->service;
	int r = set_paused(s, on, &call->refusal->why);

	if (r < 0)
		return refuse(call->refusal, on ? REFUSAL_CANNOT_PAUSE : REFUSAL_CANNOT_RESUME);
	if (on)
		snprintf(what, sizeof(what), "new connections wait, up to %s each",
			 duration_format(service_hold_ms(s), limit));
	else if (!s->endpoints.open)
		snprintf(what, sizeof(what),
			 "new connections are refused, and so are those that waited: the service "
			 "is stopped");
	else
		snprintf(what, sizeof(what), "new connections are served");
	if (r > 0)
		service_note(s, on ? EVENT_PAUSED : EVENT_RESUMED, "%s", what);
	snprintf(call->answer->message, sizeof(call->answer->message), "%s: %s",
		 on ? "paused" : "resumed", what);
	return 0;
}

int order_pause(struct order_call *call)
{
	return carry_out(call, true);
}

int order_resume(struct order_call *call)
{
	return carry_out(call, false);
}
