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

enum event_form event_form(enum event_kind kind)
{
	assert(kind < _EVENT_KIND_COUNT);
	return kinds[kind].form;
}
