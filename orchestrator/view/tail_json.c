/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/view/tail_json.h"

#include "orchestrator/view/time_json.h"

void tail_json(json_t *json, const char *text, bool is_stdout, uint64_t realtime_ms)
{
	if (!text[0])
		return;
	json_object_set_new(json, "tail", json_string(text));
	json_object_set_new(json, "tail_stream", json_string(is_stdout ? "stdout" : "stderr"));
	if (realtime_ms)
		json_object_set_new(json, "tail_time", time_json(realtime_ms));
}
