/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/refusal.h"

#include <assert.h>
#include <errno.h>

static const struct refusal_info infos[_REFUSAL_KIND_COUNT] = {
	[REFUSAL_INTERNAL] = {500, EXIT_STATUS_ERROR, "Internal error"},
	[REFUSAL_BAD_REQUEST] = {400, EXIT_STATUS_USAGE, "Bad request"},
	[REFUSAL_NO_SERVICE] = {404, EXIT_STATUS_ERROR, "No such service"},
	[REFUSAL_NO_ORDER] = {404, EXIT_STATUS_USAGE, "No such order"},
	[REFUSAL_SHUTTING_DOWN] = {503, EXIT_STATUS_ERROR, "Shutting down"},
	[REFUSAL_BUSY] = {409, EXIT_STATUS_BUSY, "Busy"},
	[REFUSAL_CANNOT_START] = {500, EXIT_STATUS_ERROR, "Cannot start"},
	[REFUSAL_START_CONFLICT] = {409, EXIT_STATUS_ERROR, "Cannot start"},
	[REFUSAL_BAD_RELEASE] = {422, EXIT_STATUS_NOT_HEALTHY, "The new generation cannot start"},
	[REFUSAL_BAD_FIRST_RELEASE] = {422, EXIT_STATUS_DOWN,
				       "The new generation cannot start, and nothing serves"},
	[REFUSAL_RUNNING] = {409, EXIT_STATUS_ERROR, "Already running"},
	[REFUSAL_NOT_RUNNING] = {409, EXIT_STATUS_ERROR, "Not running"},
	[REFUSAL_NO_EARLIER_RELEASE] = {409, EXIT_STATUS_ERROR, "Nothing to roll back to"},
	[REFUSAL_NOTHING_TO_PROMOTE] = {409, EXIT_STATUS_ERROR, "Nothing to promote"},
	[REFUSAL_NOTHING_TO_ABORT] = {409, EXIT_STATUS_ERROR, "Nothing to abort"},
	[REFUSAL_CANNOT_SCALE] = {500, EXIT_STATUS_ERROR, "Cannot scale"},
	[REFUSAL_CANNOT_PAUSE] = {409, EXIT_STATUS_ERROR, "Cannot pause"},
	[REFUSAL_CANNOT_RESUME] = {409, EXIT_STATUS_ERROR, "Cannot resume"},
	[REFUSAL_CANNOT_REOPEN] = {500, EXIT_STATUS_ERROR, "Not every file was opened anew"},
	[REFUSAL_CANNOT_LIST_CONNECTIONS] = {500, EXIT_STATUS_ERROR,
					     "Cannot look at the connections"},
	[REFUSAL_CANNOT_RELOAD] = {409, EXIT_STATUS_ERROR, "Cannot reload"},
	[REFUSAL_BAD_CONFIGURATION] = {422, EXIT_STATUS_ERROR,
				       "The configuration has mistakes: everything stays as it is"},
};

const struct refusal_info *refusal_info(enum refusal_kind kind)
{
	assert(kind < _REFUSAL_KIND_COUNT);
	return &infos[kind];
}

int refuse(struct refusal *refusal, enum refusal_kind kind)
{
	assert(kind < _REFUSAL_KIND_COUNT);
	refusal->kind = kind;
	return -EINVAL;
}
