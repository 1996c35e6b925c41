/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/view/time_json.h"

#include <stdio.h>
#include <time.h>

json_t *time_json(uint64_t realtime_ms)
{
	time_t seconds = (time_t)(realtime_ms / 1000);
	char text[40];
	struct tm tm;
	size_t n;

	gmtime_r(&seconds, &tm);
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%03uZ", (unsigned)(realtime_ms % 1000));
	return json_string(text);
}
