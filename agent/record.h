/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * record: what is known about the server apart from its lifecycle: what it said last, how it ended
 * last, why it could not be started. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/lifecycle.h"
#include "agent/notify.h"
#include "common/protocol.h"

/* Plain data; all zero at first. */
struct record {
	bool ready;
	char status[PROTOCOL_TEXT_MAX]; /* "": none */

	bool exited; /* exit_code and exit_signal mean something */
	int exit_code;
	int exit_signal;
	char failure[PROTOCOL_TEXT_MAX]; /* why it could not be started, or ended; "": not known */
};

/* It is being started (again): what the last one said does not count any more. */
void record_start(struct record *record);

/* It could not be started; counts as an exit with 127, as a shell has it. */
void record_start_failed(struct record *record, const char *reason);

/*
 * Does the end of a server's stderr say that an address was taken? (strerror(EADDRINUSE), or its
 * name, in any case.)
 */
bool record_says_in_use(const char *tail);

/* It ended because an address was taken which it binds itself: why, for EXITED and FAILED. */
void record_explain_in_use(struct record *record);

void record_exit(struct record *record, int exit_code, int exit_signal);

/* Returns whether there is something to report. */
bool record_notify(struct record *record, const struct notify_message *message);

/* For REPORT_FAILED: why it does not run, and is not started again. */
void record_describe_failure(const struct record *record, const struct lifecycle *lifecycle,
			     char ret[static PROTOCOL_TEXT_MAX]);
