/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * print_generations: prints the table of a service's generations and instances, a part of its
 * status.
 */
#pragma once

#include "cli/print.h"

/*
 * Print one line per instance. If a generation has several, a line above them has the sums. Columns
 * that say nothing, or the same everywhere (mode, sockets), are left out. The shares of new
 * connections are shown if more than one instance has one. Without generations nothing is printed.
 */
void print_generations(const struct print *to, const json_t *generations);
