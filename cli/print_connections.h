/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * print_connections: prints each connection of a service (GET /v1/services/NAME/connections).
 */
#pragma once

#include "cli/print.h"

/* Print a table, and a line that says how many there are and whether all of them are shown. */
void print_connections(const struct print *to, const json_t *answer);
