/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/versions.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/fields.h"
#include "common/protocol.h"

uint32_t versions_common(const struct version_range *a, const struct version_range *b)
{
	uint32_t oldest = a->oldest > b->oldest ? a->oldest : b->oldest;
	uint32_t newest = a->newest < b->newest ? a->newest : b->newest;

	return oldest <= newest ? newest : 0;
}

/* The number @name, 0 if it is no version. */
static uint32_t version_in(const json_t *object, const char *name)
{
	json_int_t number = json_integer_value(json_object_get(object, name));

	return number >= 1 && number <= UINT32_MAX ? (uint32_t)number : 0;
}

#define RANGE_TEXT_MAX 64

static const char *describe(const struct version_range *range, char ret[static RANGE_TEXT_MAX])
{
	if (range->oldest == range->newest)
		snprintf(ret, RANGE_TEXT_MAX, "version %u", range->oldest);
	else
		snprintf(ret, RANGE_TEXT_MAX, "versions %u to %u", range->oldest, range->newest);
	return ret;
}

static int none_in_common(const json_t *hello, const struct version_range *theirs,
			  const struct version_range *ours, struct error *err)
{
	json_int_t pid = json_integer_value(json_object_get(hello, "agent_pid"));
	char who[32] = "it", they[RANGE_TEXT_MAX], we[RANGE_TEXT_MAX];
	const char *what;

	if (theirs->oldest > ours->newest)
		what = "a later baton has started it; install that one again, whose batond takes "
		       "it over";
	else
		what = "an earlier baton has started it; install the one between the two, and "
		       "restart its service there";
	if (pid > 0 && pid <= INT32_MAX)
		snprintf(who, sizeof(who), "pid %d", (int)pid);
	return error_text(err, -EPROTONOSUPPORT,
			  "%s speaks %s of the agents' protocol, this batond speaks %s: %s", who,
			  describe(theirs, they), describe(ours, we), what);
}

int versions_meet(const char *text, size_t length, const struct version_range *ours, uint32_t *ret,
		  struct error *err)
{
	cleanup(json_decref) json_t *object = NULL;
	struct version_range theirs;
	const char *type;

	*ret = 0;
	if (fields_load(text, length, PROTOCOL_MESSAGE_MAX, &object, NULL) < 0)
		return 0;
	type = json_string_value(json_object_get(object, "type"));
	theirs.oldest = version_in(object, "version");
	if (!type || strcmp(type, report_type_name(REPORT_HELLO)) != 0 || theirs.oldest == 0)
		return 0;
	theirs.newest = version_in(object, "newest");
	if (theirs.newest < theirs.oldest)
		theirs.newest = theirs.oldest;
	*ret = versions_common(&theirs, ours);
	return *ret > 0 ? 0 : none_in_common(object, &theirs, ours, err);
}
