/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/view/run_json.h"

#include <assert.h>

#include "common/clock.h"
#include "orchestrator/view/event_json.h"

static json_t *number_or_null(uint32_t number)
{
	return number ? json_integer(number) : json_null();
}

json_t *run_json(const struct run *run)
{
	assert(run->id > 0);
	return json_pack("{s:I, s:s, s:o, s:o, s:I}", "rollout", (json_int_t)run->id, "order",
			 run_order_name(run->order), "generation", number_or_null(run->new_number),
			 "replaces", number_or_null(run->old_number), "elapsed_ms",
			 (json_int_t)(clock_monotonic_ms() - run->began_ms));
}

json_t *run_status_json(const struct run *run)
{
	const struct rollout *m = &run->machine;
	uint64_t now_ms = clock_monotonic_ms();
	const char *waiting = run_waits_for(run);
	json_t *json = run_json(run);

	json_object_update_new(
		json, json_pack("{s:s, s:s, s:o, s:s?, s:o, s:{s:I, s:I}, s:b}", "step",
				rollout_state_name(m->state), "strategy",
				rollout_strategy_name(m->policy.strategy), "weight",
				number_or_null(m->weight), "waiting", waiting, "waiting_ms",
				waiting && run->deadline_ms > now_ms
					? json_integer((json_int_t)(run->deadline_ms - now_ms))
					: json_null(),
				"instances", "old", (json_int_t)run->side[ROLLOUT_OLD].n, "new",
				(json_int_t)run->side[ROLLOUT_NEW].n, "undone",
				rollout_victim_is_new(m)));
	if (run_waits_for_silent(run))
		json_object_set_new(json, "silent", json_integer((json_int_t)run->delay.look_last));
	if (run->reason[0])
		json_object_set_new(json, "reason", json_string(run->reason));
	else if (m->state == ROLLOUT_WAITING && run->answer_text[0])
		json_object_set_new(json, "reason", json_string(run->answer_text));
	return json;
}

json_t *run_result_json(const struct run_result *result)
{
	char message[RUN_MESSAGE_MAX];
	struct event event;

	assert(result->id > 0);
	run_result_message(result, message, sizeof(message));
	run_result_event(result, message, &event);
	return event_json(&event);
}
