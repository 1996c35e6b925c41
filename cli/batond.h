/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * batond: becomes the daemon. Some commands of the command line are carried out by batond itself,
 * in this process's place: it has the same pid, terminal and signals.
 */
#pragma once

#include "common/error.h"

/*
 * Execute batond, which paths_program() finds. @argv is NULL-terminated and begins with its name.
 * Returns only if that has failed, with a negative errno.
 */
int cli_exec_batond(const char *const *argv, struct error *err);
