/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * assume: what "make analyze" cannot see for itself, since it looks at one file at a time.
 *
 * error_set(), error_text() and error_prefix() return the code that they are given, which is
 * negative.
 */
#pragma once

#include "common/error.h"

#define assume_negative(code)                                                                      \
	({                                                                                         \
		int assumed_code = (code);                                                         \
                                                                                                   \
		if (assumed_code >= 0)                                                             \
			__builtin_unreachable();                                                   \
		assumed_code;                                                                      \
	})
#define error_set(err, code, ...) ((void)(error_set)(err, code, __VA_ARGS__), assume_negative(code))
#define error_text(err, code, ...)                                                                 \
	((void)(error_text)(err, code, __VA_ARGS__), assume_negative(code))
#define error_prefix(err, code, ...)                                                               \
	((void)(error_prefix)(err, code, __VA_ARGS__), assume_negative(code))
