/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load: the loop that runs the clients: one thread, one epoll.
 *
 * The load ends when the duration is over, at the command "stop", or at a signal. Then no request
 * begins any more, and those under way have the grace to finish. A second signal ends the grace.
 */
#pragma once

#include <stdio.h>

#include "bench/settings.h"
#include "bench/tally.h"
#include "common/error.h"

struct load_io {
	int commands; /* to read lines from (see settings_help); -1: none. Stays the caller's */
	int signals;  /* a signalfd; -1: none. Stays the caller's */
	FILE *output; /* for "report" */
};

/*
 * Run until the load has ended. Returns 0, and the caller ends *ret_tally; or a negative errno, and
 * there is nothing to end.
 */
int load_run(struct settings *settings, const struct load_io *io, struct tally *ret_tally,
	     struct error *err);
