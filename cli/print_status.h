/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * print_status: prints a service as the daemon describes it (GET /v1/services/NAME).
 */
#pragma once

#include "cli/print.h"

/*
 * Print one block: state, command, endpoints, generations with their instances, rollouts; and the
 * digests of what runs, which print_statuses() leaves out.
 */
void print_status(const struct print *to, const json_t *service);

/* Print one block per service, with empty lines between. @answer is that of GET /v1/services. */
void print_statuses(const struct print *to, const json_t *answer);

/* Print one line per service; @names_only: only the name, for scripts. */
void print_list(const struct print *to, const json_t *answer, bool names_only);
