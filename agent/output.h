/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * output: the files or the journal that the server's stdout and stderr go to, as its process
 * settings say. The server always writes to the relay's pipes (relay.h); this module gives the
 * relay the descriptors to pass the output on to.
 *
 * The agent opens the files, as batond's user and in its own namespace, by the rule of
 * path_open.h: the server's user needs no permission, and if he may write to the folder, he cannot
 * choose another file of root's that baton appends to.
 *
 * If a file or the journal takes nothing later (the disk is full, the journal restarts), the relay
 * waits, and the trouble and its end are logged once each. Unless it is merely full, it is opened
 * again. Nothing helps against a file system that hangs: a write to a regular file waits for it.
 */
#pragma once

#include "agent/relay.h"
#include "common/as_user.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/protocol.h"

struct output;

/*
 * Opens nothing yet. @spec says where the output goes (.process), which instance a path with
 * placeholders is for, and the identifier in the journal (.service). @user is the server's, for
 * path_open(); NULL: as the agent. @relay, @spec and @user are borrowed. Free the relay before the
 * output: it writes to this module's descriptors.
 */
int output_new(struct relay *relay, const struct launch_spec *spec, const struct as_user *user,
	       struct output **ret, struct error *err);
void output_free(struct output *output);
DEFINE_CLEANUP(struct output *, output_free);

/*
 * Open what the settings say and is not open yet, and have the relay pass the output on to it. To
 * be called before each start of the server. A file is appended to; if it does not exist, it is
 * made with mode 0640. Returns 0 or a negative errno; @err names the path, or says that there is no
 * journal.
 */
int output_open(struct output *output, struct error *err);

struct output_reopened {
	uint32_t files; /* so many were to be opened anew: those that were open */
	/* "stderr: /var/log/web: Permission denied": why that one could not; "": it could. */
	char failure[_RELAY_STREAM_COUNT][PROTOCOL_REOPEN_MAX];
};

/*
 * The files have been moved away: open them anew, which makes new ones. Lines that the server wrote
 * before go to the old file, those that it ends later to the new one, each of them whole
 * (relay_redirect() says how). When this returns, nothing will be written to an old file any more.
 * If a file cannot be opened, that is logged, and the old one stays in use as if nothing had been
 * asked. The journal is not affected.
 */
void output_reopen(struct output *output, struct output_reopened *ret);
