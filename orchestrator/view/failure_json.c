/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/view/failure_json.h"

#include "common/clock.h"
#include "orchestrator/view/tail_json.h"
#include "orchestrator/view/time_json.h"

/* Of the instance to blame; of a start that failed, what its rollout has kept. */
static void add_words(struct service *s, json_t *json)
{
	const struct run_words *words = &s->last.words;
	const struct instance *i = NULL;
	cleanup(instances_done) struct instances staying = {};

	if (s->current) {
		service_staying(s, &staying);
		i = instances_failed(&staying);
	}
	if (i)
		tail_json(json, i->tail, i->tail_stdout, i->tail_realtime_ms);
	else if (!s->refusal[0])
		tail_json(json, words->text, words->is_stdout, words->realtime_ms);
}

static json_t *retry_json(struct service *s)
{
	uint64_t now_ms = clock_monotonic_ms(), at_ms;

	if (!service_next_try(s, &at_ms))
		return json_null();
	return json_integer(at_ms > now_ms ? (json_int_t)(at_ms - now_ms) : 0);
}

static json_t *advice_json(const struct service *s)
{
	const char *name = s->config->name;

	if (service_rollback_target(s))
		return json_sprintf("\"baton restart %s\" tries now; \"baton rollback %s\" goes "
				    "back to the last release that served well",
				    name, name);
	return json_sprintf("\"baton restart %s\" tries now", name);
}

json_t *failure_json(struct service *s)
{
	bool waits = s->hold.paused || service_hold_ms(s) > 0;
	json_t *json = json_pack(
		"{s:o, s:o, s:s, s:o}", "since",
		s->failed_realtime_ms ? time_json(s->failed_realtime_ms) : json_null(), "retry_ms",
		retry_json(s), "connections", waits ? "wait" : "refused", "advice", advice_json(s));

	add_words(s, json);
	return json;
}
