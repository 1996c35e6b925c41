/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/backoff.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/refusal.h"
#include "orchestrator/service/service_internal.h"

#define FIRST_MS 200
#define MOST_MS  2000

bool service_retries(const struct service *s)
{
	return s->retry.until_ms != 0;
}

/* It was tried in vain, or something else is in the way by now. */
static void give_up(struct service *s, const struct refusal *refusal)
{
	s->retry = (struct service_retry){.timer = s->retry.timer};
	s->endpoints.lingers = false;
	s->last.outcome = ROLLOUT_FAILED;
	s->last.exit = (int)refusal_info(refusal->kind)->exit;
	snprintf(s->last.reason, sizeof(s->last.reason), "%s", refusal->why.text);
	snprintf(s->refusal, sizeof(s->refusal), "%s", refusal->why.text);
	s->settled = true;
	service_look_failed(s);
	service_tell(s, &(struct event){.kind = EVENT_REFUSED,
					.message = refusal->why.text,
					.reason = refusal->why.text});
	s->on_end(s->userdata, s);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata);

static void arm(struct service *s)
{
	service_arm(s, &s->retry.timer, on_retry,
		    backoff_delay_ms(FIRST_MS, MOST_MS, s->retry.tries++));
}

static void on_ahead(void *userdata, struct service *s, const struct service_order *order, int r,
		     const struct error *why)
{
	struct service_answer answer = {};
	struct refusal refusal = {};

	(void)userdata;
	if (s->shutting_down || s->stopped || s->current || service_undecided_run(s)) {
		s->retry.until_ms = 0;
		return;
	}
	r = r < 0 ? service_refuse_silent(s, why, &refusal)
		  : service_order(s, order, &answer, &refusal);
	if (r >= 0) {
		s->retry.until_ms = 0;
		s->refusal[0] = '\0';
	} else if (s->endpoints.lingers && clock_monotonic_ms() < s->retry.until_ms) {
		arm(s);
	} else {
		give_up(s, &refusal);
	}
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	const struct service_order order = {.type = SERVICE_ORDER_START};
	struct service *s = userdata;
	struct error err;

	(void)source;
	(void)usec;
	if (service_send_ahead(s, &order, on_ahead, NULL, &err) < 0)
		on_ahead(NULL, s, &order, -EAGAIN, &err);
	return 0;
}

void service_retry(struct service *s)
{
	if (!s->endpoints.lingers || s->retry.until_ms != 0)
		return;
	s->retry.until_ms = clock_monotonic_ms() + s->config->health.start_timeout_ms;
	arm(s);
}

void service_retry_done(struct service *s)
{
	timer_done(&s->retry.timer);
}
