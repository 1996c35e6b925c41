/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * print_status: a service as the daemon describes it (GET /v1/services/NAME), for people.
 */
#pragma once

#include "cli/print.h"

/*
 * The last word on a rollout that did not succeed: reason, last probe, end of the server's stderr,
 * from an event or from "last_rollout". Every line starts with @indent; what is not there is left
 * out.
 */
void print_failure(const struct print *to, const char *indent, const json_t *object);

/*
 * One block: state, command, endpoints, generations with their instances, rollouts. With all there
 * is to know, the digests of what runs as well; print_statuses() leaves those out.
 */
void print_status(const struct print *to, const json_t *service);

/* One block per service with empty lines between; @answer is that of GET /v1/services. */
void print_statuses(const struct print *to, const json_t *answer);

/* One line per service; @names_only prints names and nothing else, for scripts. */
void print_list(const struct print *to, const json_t *answer, bool names_only);
