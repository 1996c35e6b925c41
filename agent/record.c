/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/record.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

void record_start(struct record *record)
{
	record->ready = false;
	record->status[0] = '\0';
	record->failure[0] = '\0';
	record->has_uid = record->lingers = false;
	record->wrapper[0] = '\0';
}

void record_start_failed(struct record *record, const char *reason)
{
	snprintf(record->failure, sizeof(record->failure), "%.*s", (int)sizeof(record->failure) - 1,
		 reason);
	record_exit(record, 127, 0);
	record->ending = ENDING_NEVER_RAN;
}

void record_exit(struct record *record, int exit_code, int exit_signal)
{
	record->ready = false;
	record->exited = true;
	record->ending = ENDING_TOLD;
	record->exit_code = exit_code;
	record->exit_signal = exit_signal;
}

void record_uid(struct record *record, uid_t uid)
{
	record->has_uid = true;
	record->uid = uid;
}

void record_wrapper(struct record *record, const char *name)
{
	snprintf(record->wrapper, sizeof(record->wrapper), "%s", name);
}

void record_exit_unknown(struct record *record)
{
	record_exit(record, 0, 0);
	record->ending = ENDING_UNKNOWN;
}

void record_report(const struct record *record, bool alive, struct report *report)
{
	if (alive) {
		/* An older daemon takes it for an exit: by the signal that was sent. */
		report->exit_signal = SIGKILL;
		report->ending = ENDING_ALIVE;
		return;
	}
	report->exit_code = record->exit_code;
	report->exit_signal = record->exit_signal;
	report->ending = record->exited ? record->ending : ENDING_NEVER_RAN;
	report->has_uid = record->has_uid;
	report->uid = record->uid;
}

void record_explain_in_use(struct record *record, bool lingers)
{
	record->lingers = lingers;
	snprintf(record->failure, sizeof(record->failure), "\"Address already in use\"");
}

bool record_notify(struct record *record, const struct notify_message *message)
{
	record->ready |= message->ready;
	if (message->has_status)
		strcpy(record->status, message->status);
	else if (message->reloading)
		strcpy(record->status, "reloading");
	else if (message->stopping)
		strcpy(record->status, "stopping");
	else
		return message->ready;
	return true;
}

static void describe(const struct record *record, char ret[static PROTOCOL_TEXT_MAX])
{
	if (record->failure[0] != '\0')
		strcpy(ret, record->failure);
	else if (!record->exited)
		strcpy(ret, "not started");
	else if (record->ending == ENDING_UNKNOWN)
		strcpy(ret, "ended; nobody can tell how, because its parent is not the agent");
	else if (record->exit_signal != 0)
		snprintf(ret, PROTOCOL_TEXT_MAX, "ended by signal %d (%s)", record->exit_signal,
			 strsignal(record->exit_signal));
	else
		snprintf(ret, PROTOCOL_TEXT_MAX, "exited with status %d", record->exit_code);
}

void record_describe_failure(const struct record *record, const struct lifecycle *lifecycle,
			     char ret[static PROTOCOL_TEXT_MAX])
{
	const struct lifecycle_policy *policy = &lifecycle->policy;
	size_t n;

	describe(record, ret);
	if (!lifecycle->steady || policy->restart_max == 0)
		return;
	n = strlen(ret);
	snprintf(ret + n, PROTOCOL_TEXT_MAX - n, "; its %u restarts within %u ms are used up",
		 policy->restart_max, policy->restart_window_ms);
}
