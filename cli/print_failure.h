/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * print_failure: prints why a rollout did not succeed.
 */
#pragma once

#include "cli/print.h"

/*
 * Print what explains a rollout that did not succeed: the last probe and the server's last words,
 * as far as they are there. @object is an event or "last_rollout". Each line begins with
 * @indent.
 */
void print_failure(const struct print *to, const char *indent, const json_t *object);
