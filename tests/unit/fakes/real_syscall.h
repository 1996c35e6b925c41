/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * real_syscall: for a test that defines syscall(2) itself, so as to see or refuse some of libbpf's
 * calls: its symbols come before libc's.
 */
#pragma once

#include <dlfcn.h>
#include <stdarg.h>

#define SYSCALL_ARGUMENTS 6

static inline void syscall_arguments(va_list ap, long ret[static SYSCALL_ARGUMENTS])
{
	for (int k = 0; k < SYSCALL_ARGUMENTS; k++)
		ret[k] = va_arg(ap, long);
}

/* As syscall(2). */
static inline long real_syscall(long number, const long a[static SYSCALL_ARGUMENTS])
{
	static long (*real)(long, ...);

	if (!real)
		real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
