/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * versions: which version of the protocol two ends of different versions of baton speak (protocol.h
 * has what they say). Pure.
 *
 * Every hello that comes is asked about here, whether the agent was just started, was connected to
 * again, or is an earlier daemon's. If the two have no version in common, nobody loses anything:
 * the daemon hangs up, and agent and server go on as they are.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct version_range {
	uint32_t oldest, newest;
};

/* The newest version in both; 0: there is none. */
uint32_t versions_common(const struct version_range *a, const struct version_range *b);

/*
 * Which version does a daemon that speaks @ours take for the agent that has sent @text? This also
 * understands a hello that report_decode() cannot read, as it may be of another version. Returns 0,
 * and *ret is 0 if @text is no hello. -EPROTONOSUPPORT: they have no version in common; @err says
 * which each of them speaks, and what to do.
 */
int versions_meet(const char *text, size_t length, const struct version_range *ours, uint32_t *ret,
		  struct error *err);
