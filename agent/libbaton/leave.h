/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leave: the request to leave. A signal or a call makes a descriptor readable, and it stays so.
 *
 * Signal handlers belong to the whole process, so a process can have only one of these at a time.
 */
#pragma once

#include <signal.h>
#include <sys/types.h>

#include "common/error.h"

struct leave {
	int fd;                  /* eventfd */
	pid_t pid;               /* the process that called leave_begin() */
	int signal;              /* 0: no handler was installed */
	struct sigaction before; /* what the signal did before */
};

/*
 * Open the descriptor and install the handler. @signal is as in struct baton_options. Returns 0,
 * -EBUSY if this process has one already, or another negative errno.
 */
int leave_begin(int signal, struct leave *leave, struct error *err);

/*
 * Put back what the signal did before, and close the descriptor. In a child made by fork(2) only
 * the child's copy of the descriptor is closed.
 */
void leave_end(struct leave *leave);

/* How often this process was asked to leave; and ask it once more. Both are async-signal-safe. */
int leave_asked(void);
void leave_ask(void);
