/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_calls: what the fakes of one test program were asked to do, in order.
 *
 * The product's archives are linked after the test: a fake that defines every symbol of a module
 * that anything refers to keeps the module itself out of the program.
 */
#pragma once

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CALLS_MAX (64 * 1024)

static char calls[CALLS_MAX];

/* Note one call, as words: "publish 2 1". */
static inline void __attribute__((format(printf, 1, 2))) called(const char *format, ...)
{
	size_t n = strlen(calls);
	va_list ap;

	assert_true(n + 256 < sizeof(calls));
	if (n > 0)
		n += (size_t)snprintf(calls + n, sizeof(calls) - n, "; ");
	va_start(ap, format);
	vsnprintf(calls + n, sizeof(calls) - n, format, ap);
	va_end(ap);
}

static inline void forget_calls(void)
{
	calls[0] = '\0';
}

/* These were all, in this order; they are forgotten then. */
#define assert_calls(expected)                                                                     \
	do {                                                                                       \
		assert_string_equal(calls, expected);                                              \
		forget_calls();                                                                    \
	} while (0)
