/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * first: the daemon as the first process of a container.
 *
 * Process 1 of a PID namespace gets every orphan of it, and must wait for each, or it stays as a
 * zombie (pid_namespaces(7)). The daemon waits only for what it has started. So process 1 stays
 * behind, waits for whatever ends, hands signals on, and ends as the daemon does.
 */
#pragma once

#include <stdbool.h>

#include "common/error.h"

/*
 * If this is process 1, go on in a child; this process then never returns. The child is in a
 * process group of its own, so that a signal of the terminal reaches it once: by process 1. Call it
 * before there are threads or signal handlers.
 */
int first_step_aside(struct error *err);

/* Has process 1 stayed behind? It goes where the daemon goes (cgroup_step_aside()). */
bool first_is_behind(void);
