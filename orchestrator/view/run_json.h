/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run_json: a rollout as JSON: while it is under way, and how it has ended.
 */
#pragma once

#include <jansson.h>

#include "orchestrator/rollout/run.h"

/* {"rollout", "order", "generation", "replaces", "elapsed_ms"}: the answer to an order. */
json_t *run_json(const struct run *run);

/* The same, and what status says of a rollout under way: step, weight, what it waits for ... */
json_t *run_status_json(const struct run *run);

/* The members of the last event and of "last_rollout". */
json_t *run_result_json(const struct run_result *result);
