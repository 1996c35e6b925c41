/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load: the loop that runs the clients: one thread, one epoll.
 *
 * It ends when the duration is over, or "stop" is said, or a signal comes; then no request begins
 * any more, and those under way have the grace to finish. A second signal ends the grace.
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
 * Run to the end. @ret_tally is filled and the caller's to tally_done(), but not where a negative
 * errno is returned.
 */
int load_run(struct settings *settings, const struct load_io *io, struct tally *ret_tally,
	     struct error *err);
