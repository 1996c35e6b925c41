/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * record: remembers what the server said last, how it ended last, and why it could not be started.
 * The agent needs that for its reports; its decisions depend on lifecycle.h alone. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/lifecycle.h"
#include "agent/notify.h"
#include "common/protocol.h"

/* Plain data; all zero at first. */
struct record {
	bool ready;                     /* it has said READY=1 since its start */
	char status[PROTOCOL_TEXT_MAX]; /* "": none */

	bool exited; /* ending, exit_code and exit_signal are set */
	enum server_ending ending;
	int exit_code;
	int exit_signal;
	char wrapper[16]; /* "": none */
	bool lingers;     /* see listeners_linger() */
	bool has_uid;
	uid_t uid;                       /* with which it made its sockets */
	char failure[PROTOCOL_TEXT_MAX]; /* why it ended or could not be started; "": not known */
};

/* The server is being started (again): forget what the last one said. */
void record_start(struct record *record);

/* The server could not be started. This counts as an exit with status 127, as in a shell. */
void record_start_failed(struct record *record, const char *reason);

/* The server ended because an address that it binds itself was in use: say that in reports.
 * @lingers: by nothing but connections of an earlier one. */
void record_explain_in_use(struct record *record, bool lingers);

/* The server made its sockets and files with this user id. record_start() forgets it. */
void record_uid(struct record *record, uid_t uid);

/* Its main process was only a wrapper of this name. record_start() forgets it. */
void record_wrapper(struct record *record, const char *name);

/* The server has ended; one of the two is 0, or both. */
void record_exit(struct record *record, int exit_code, int exit_signal);

/* The server has ended, and nobody can tell how. */
void record_exit_unknown(struct record *record);

/*
 * Write into @report how the server has ended. @alive: it has not, although it was killed. Without
 * any exit so far the server has never run.
 */
void record_report(const struct record *record, bool alive, struct report *report);

/* The server has said something. Returns whether batond should be told. */
bool record_notify(struct record *record, const struct notify_message *message);

/* The text for REPORT_FAILED: why the server does not run, and is not started again. */
void record_describe_failure(const struct record *record, const struct lifecycle *lifecycle,
			     char ret[static PROTOCOL_TEXT_MAX]);
