/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/event/event.h"

#include <assert.h>

static const struct {
	const char *name;
	enum event_form form;
} kinds[_EVENT_KIND_COUNT] = {
#define EVENT_KIND(kind, name, form) [EVENT_##kind] = {name, EVENT_FORM_##form},
	EVENT_KINDS(EVENT_KIND)
#undef EVENT_KIND
};

const char *event_name(enum event_kind kind)
{
	assert(kind < _EVENT_KIND_COUNT);
	return kinds[kind].name;
}

/* Not those that restarts and orders make, of which there are only so many. */
static const bool floods[_EVENT_KIND_COUNT] = {
	[EVENT_DEGRADED] = true,   [EVENT_RESTORED] = true,  [EVENT_DRIFT] = true,
	[EVENT_STRANGER] = true,   [EVENT_QUEUE] = true,     [EVENT_FAILOVER] = true,
	[EVENT_UNHEALTHY] = true,  [EVENT_RECOVERED] = true, [EVENT_PROBE] = true,
	[EVENT_READY] = true,      [EVENT_SUCCEEDED] = true, [EVENT_SOCKETS] = true,
	[EVENT_UNDECLARED] = true,
};

bool event_may_flood(enum event_kind kind)
{
	assert(kind < _EVENT_KIND_COUNT);
	return floods[kind];
}

enum event_form event_form(enum event_kind kind)
{
	assert(kind < _EVENT_KIND_COUNT);
	return kinds[kind].form;
}
