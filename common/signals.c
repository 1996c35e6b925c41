/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/signals.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

void signals_reset(void)
{
	/*
	 * The kernel's struct, not libc's, all zero: SIG_DFL, no flags, empty mask, on every
	 * architecture. glibc's sigaction(3) refuses the two signals that it uses itself.
	 */
	static const char action[64];
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		(void)syscall(SYS_rt_sigaction, i, action, NULL,
			      sizeof(uint64_t)); /* not KILL, STOP */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}
