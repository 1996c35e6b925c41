/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load: divides the clients among the threads (loop.h), and carries out what the user says.
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
 * Run until the load has ended. The threads have the caller's signal mask. Returns 0, and the
 * caller ends *ret_tally; or a negative errno, and there is nothing to end.
 */
int load_run(const struct settings *settings, const struct load_io *io, struct tally *ret_tally,
	     struct error *err);
