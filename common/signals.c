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
	 * The system call itself, because glibc's sigaction(3) refuses the two signals that glibc
	 * uses. The kernel's struct (not libc's) of zeros means SIG_DFL, no flags and an empty mask
	 * on every architecture.
	 */
	static const char action[64];
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		/* It fails for SIGKILL and SIGSTOP, which have no other disposition. */
		(void)syscall(SYS_rt_sigaction, i, action, NULL, sizeof(uint64_t));
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}
