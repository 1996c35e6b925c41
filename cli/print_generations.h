/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * print_generations: the table of a service's generations and instances, a part of its status.
 */
#pragma once

#include "cli/print.h"

/*
 * One line per instance; one more above them where a generation has several and sums of its own.
 * Columns that say the same everywhere (mode, restarts, sockets) or nothing are left out; the
 * shares of new connections (as aimed at, as seen) are there where more than one has a part of
 * them. Nothing where there are no generations.
 */
void print_generations(const struct print *to, const json_t *generations);
