/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * print_rollout: the rollout that is under way, and how the last one ended: a part of a service's
 * status.
 */
#pragma once

#include "cli/print.h"

/* Worth being told: anything but blue-green, which is what a rollout is where nothing is said. */
bool print_strategy_is_special(const char *strategy);

/* Does @rollout (NULL: none) wait until somebody promotes or aborts it? */
bool print_rollout_is_stuck(const json_t *rollout);

/* Which, where it stands, and what it waits for; nothing where @service has none under way. */
void print_rollout(const struct print *to, const json_t *service);

/* How the last one ended, and why where not as asked; nothing where there was none. */
void print_last_rollout(const struct print *to, const json_t *service);
