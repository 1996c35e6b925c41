/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * print_rollout: prints the rollout that is under way, and how the last one ended: a part of a
 * service's status.
 */
#pragma once

#include "cli/print.h"

/* Is the strategy worth being shown? blue-green, the default, is not. */
bool print_strategy_is_special(const char *strategy);

/* Does @rollout (NULL: there is none) wait until somebody promotes or aborts it? */
bool print_rollout_is_stuck(const json_t *rollout);

/*
 * Print which rollout is under way, at which step, and what it waits for; nothing if there is none.
 */
void print_rollout(const struct print *to, const json_t *service);

/* Print how the last rollout ended, and why if it did not succeed; nothing if there was none. */
void print_last_rollout(const struct print *to, const json_t *service);
