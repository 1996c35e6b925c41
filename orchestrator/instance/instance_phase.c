/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>

#include "orchestrator/instance/instance_internal.h"

void instance_enter(struct instance *i, enum instance_phase phase)
{
	assert(phase < _INSTANCE_PHASE_COUNT);
	assert(phase > i->phase);
	if (i->phase == INSTANCE_JOINED)
		i->had_joined = true;
	i->phase = phase;
}

bool instance_has_joined(const struct instance *i)
{
	return i->phase == INSTANCE_JOINED || i->had_joined;
}

bool instance_has_failed(const struct instance *i)
{
	return i->phase == INSTANCE_FAILED || i->failure[0];
}

bool instance_is_leaving(const struct instance *i)
{
	return i->phase >= INSTANCE_LEAVING && i->phase < INSTANCE_STOPPED;
}

bool instance_has_left(const struct instance *i)
{
	return i->phase >= INSTANCE_LEFT;
}

bool instance_has_stopped(const struct instance *i)
{
	return i->phase == INSTANCE_STOPPED;
}
