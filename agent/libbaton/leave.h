/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leave: the request to leave: a signal, or a call, makes a descriptor readable.
 *
 * Signals belong to the process, so there is one of these in a process at a time.
 */
#pragma once

#include <signal.h>
#include <sys/types.h>

#include "common/error.h"

struct leave {
	int fd;     /* eventfd */
	pid_t pid;  /* that began it */
	int signal; /* 0: no handler was installed */
	struct sigaction before;
};

/*
 * @signal as in struct baton_options. -EBUSY where this process has begun already. @leave is
 * referred to until leave_end(): it must stay where it is.
 */
int leave_begin(int signal, struct leave *leave, struct error *err);

/* In a child made by fork(2) only the child's copy of the descriptor is closed. */
void leave_end(struct leave *leave);

/* How often; and once more. Async-signal-safe. */
int leave_asked(void);
void leave_ask(void);
