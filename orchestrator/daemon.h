/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daemon: the services of one batond, and what happens to them from outside: the API's requests,
 * signals, the end.
 *
 *	HUP	   `baton run` (@single): replaces the service. Otherwise the configuration is read
 *		   again: changed services are rolled, new ones started, removed ones stopped. If
 *		   the file has mistakes everything stays as it is.
 *	TERM, INT  drain and stop everything, then end; a second one ends at once.
 *	USR2	   leave: this process ends, and everything else goes on until the next batond of
 *		   this name takes it over. So does POST /v1/leave.
 */
#pragma once

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "orchestrator/config/config.h"
#include "orchestrator/instance/instances.h"

struct daemon;

struct daemon_options {
	const char *config_file;
	const char *dropins; /* NULL: none */
	bool single;         /* one service from the command line: see HUP; its failed first start
				ends the daemon with exit status 3 */
	int lock_fd;         /* of the name: whoever writes for this daemon holds it */
};

/* Takes over @config, also on failure. @context must be complete and outlive the daemon. */
int daemon_new(struct context *context, struct config *config, const struct daemon_options *options,
	       struct daemon **ret, struct error *err);
void daemon_free(struct daemon *daemon);
DEFINE_CLEANUP(struct daemon *, daemon_free);

/*
 * Take over what an earlier daemon of this name has left running, start every other service; the
 * results come as events.
 */
void daemon_start(struct daemon *daemon);

/* The exit status once the loop has ended. */
int daemon_exit_status(const struct daemon *daemon);

/*
 * Has the loop ended because the daemon leaves? Then nothing of it may be freed in order, which
 * would take down what is to go on: all goes with the process, as after a SIGKILL.
 */
bool daemon_is_leaving(const struct daemon *daemon);

/* Close the API alone, so that its readers are told. */
void daemon_close_api(struct daemon *daemon);

/* Write what events have not been written yet, within a limit. */
void daemon_finish_events(struct daemon *daemon);
