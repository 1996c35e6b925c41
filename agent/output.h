/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * output: where the server's stdout and stderr go in the end, as its process settings say.
 *
 * The server always writes to the relay's pipes; this is what the relay passes them on to. Files
 * are opened by the agent, as batond's user and in the agent's own namespace: the user that the
 * server becomes needs no permission, and must have none on the folder either, or he chooses what
 * baton appends to.
 *
 * Trouble later on (a full disk, a journal that is started anew) is waited for by the relay and
 * logged once, as is its end; what is not merely full is opened again. The one thing that cannot be
 * helped is a file system that hangs: a regular file is written to until the kernel has taken it.
 */
#pragma once

#include "agent/relay.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/process_settings.h"

struct output;

/*
 * Nothing is opened yet: both streams go where @relay passes them on to. @service is the identifier
 * in the journal. All three are borrowed. The relay goes first in the end: it writes to what is
 * open here.
 */
int output_new(struct relay *relay, const char *service, const struct process_settings *settings,
	       struct output **ret, struct error *err);
void output_free(struct output *output);
DEFINE_CLEANUP(struct output *, output_free);

/*
 * Open what is not open yet, and have the relay pass on to it: before each start of the server. A
 * file is made where there is none, with mode 0640, and appended to. Errors name the path, or say
 * that there is no journal.
 */
int output_open(struct output *output, struct error *err);

/*
 * The files have been moved away: open them anew, which makes new ones. What the server has written
 * before goes to the old one, what it writes from now on to the new one; more than 1 MiB that waits
 * in the pipe may be divided in the midst of a line. Where a file cannot be opened the old one
 * stays in use, and that is logged. Does nothing for what is not a file.
 */
void output_reopen(struct output *output);
