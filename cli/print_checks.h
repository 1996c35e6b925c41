/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * print_checks: the checks of each instance, as a table. Part of print_status(); see print.h.
 */
#pragma once

#include "cli/print.h"

/*
 * The array "generations" of a service. Only instances are shown of which one line would not tell
 * all: the service declares several checks, or it has several and one of them is not good.
 */
void print_checks(const struct print *to, const json_t *generations);
