/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/service/service_internal.h"

#define MESSAGE_MAX 1536

static void log_event(const char *service, const struct event *event)
{
	const char *message = event->message, *reason = event->reason;
	char rollout[32] = "";

	if (event->rollout > 0)
		snprintf(rollout, sizeof(rollout), "rollout %u: ", event->rollout);
	if (message && reason && strcmp(message, reason) == 0)
		reason = NULL;
	log_line(event->passing ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "%s: %s%s%s%s%s%s", service,
		 rollout, event_name(event->kind), message ? ": " : "", message ? message : "",
		 reason ? " -- " : "", reason ? reason : "");
}

static void hand_on(struct service *s, const struct event *event)
{
	const struct event_sink *sink = s->context->sink;

	log_event(s->config->name, event);
	sink->take(sink->userdata, s->config->name, event);
}

/* Whoever reads the history reads where events are missing, and how many. */
static void tell_kept(struct service *s, const struct event *event, const struct flood *flood)
{
	struct event kept = *event;
	char message[MESSAGE_MAX], before[64] = "";

	if (kept.passed > 0)
		snprintf(before, sizeof(before), " (%llu like it before are not kept)",
			 (unsigned long long)kept.passed);
	snprintf(message, sizeof(message), "%s%s%s", kept.message ? kept.message : "", before,
		 flood_full(flood) ? " (of those that follow one in 10 minutes is kept)" : "");
	kept.message = message;
	hand_on(s, &kept);
}

void service_tell(struct service *s, const struct event *event)
{
	struct event told = *event;
	struct flood *flood = &s->floods[event->kind];

	if (told.passing || !event_may_flood(told.kind)) {
		hand_on(s, event);
		return;
	}
	told.passing = !flood_keep(flood, clock_monotonic_ms(), &told.passed);
	if (!told.passing && (told.passed > 0 || flood_full(flood)))
		tell_kept(s, &told, flood);
	else
		hand_on(s, &told);
}

void service_note(struct service *s, enum event_kind kind, const char *format, ...)
{
	char message[MESSAGE_MAX];
	va_list ap;

	va_start(ap, format);
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);
	service_tell(s, &(struct event){.kind = kind,
					.message = message,
					.generation = s->current ? s->current->number : 0});
}

void service_poke(struct service *s)
{
	sd_event_source_set_enabled(s->defer, SD_EVENT_ONESHOT);
}

void service_arm(struct service *s, struct timer *timer, sd_event_time_handler_t handler,
		 uint64_t delay_ms)
{
	timer_set(timer, s->context->event, clock_monotonic_ms() + delay_ms, handler, s);
}
