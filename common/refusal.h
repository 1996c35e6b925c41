/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * refusal: why something that was asked of the daemon is not done, as a value.
 *
 * Who refuses says of which kind the refusal is, and explains it. What HTTP status, exit status and
 * title a kind has is said in one table here, for daemon and command line alike.
 */
#pragma once

#include "common/error.h"
#include "common/exit_status.h"

enum refusal_kind {
	REFUSAL_INTERNAL, /* the default: nothing that the caller can change */
	REFUSAL_BAD_REQUEST,
	REFUSAL_NO_SERVICE,
	REFUSAL_NO_ORDER,
	REFUSAL_SHUTTING_DOWN,
	REFUSAL_BUSY, /* another rollout is under way; it is named */
	REFUSAL_CANNOT_START,
	REFUSAL_START_CONFLICT,    /* it cannot start as things are: another one has its address */
	REFUSAL_BAD_RELEASE,       /* the new generation could not run; what runs goes on */
	REFUSAL_BAD_FIRST_RELEASE, /* the same, and nothing serves */
	REFUSAL_RUNNING,
	REFUSAL_NOT_RUNNING,
	REFUSAL_NO_EARLIER_RELEASE,
	REFUSAL_NOTHING_TO_PROMOTE,
	REFUSAL_NOTHING_TO_ABORT,
	REFUSAL_CANNOT_SCALE,
	REFUSAL_CANNOT_PAUSE,
	REFUSAL_CANNOT_RESUME,
	REFUSAL_CANNOT_REOPEN, /* not every file: which, and why, is listed */
	REFUSAL_CANNOT_LIST_CONNECTIONS,
	REFUSAL_CANNOT_RELOAD,
	REFUSAL_BAD_CONFIGURATION,
	_REFUSAL_KIND_COUNT,
};

/* Zeroed at first. .why says in words what was expected, and what to do. */
struct refusal {
	enum refusal_kind kind;
	struct error why;
};

struct refusal_info {
	unsigned http_status;
	enum exit_status exit;
	const char *title;
};

const struct refusal_info *refusal_info(enum refusal_kind kind);

/* Note @kind; .why has been filled by the caller. Returns -EINVAL, so that it can be returned. */
int refuse(struct refusal *refusal, enum refusal_kind kind);
