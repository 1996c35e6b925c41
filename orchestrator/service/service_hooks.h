/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_hooks: makes the environment of the operator's commands, and runs those that nothing
 * waits for. (Rollouts run before_start and the gates.)
 */
#pragma once

#include <stdbool.h>

#include "orchestrator/rollout/run.h"

#define SERVICE_HOOKS_MAX 8 /* commands that run at once */

struct service;

/* A command of the operator's that nothing waits for. */
struct service_hook {
	struct service *service;
	enum hook_point point;
	uint32_t rollout, generation; /* for whose sake it runs */
	struct command *command;      /* NULL: not in use */
	char **environment;
	struct instance_ports *ports; /* NULL: none */
};

/* See run_host_ops.command. */
int service_command(struct service *service, const struct run *run, enum hook_point point,
		    struct command_spec *ret, char ***environment, struct error *err);

/* Run the command of @point, if there is one; an event tells how it has ended. */
void service_hook(struct service *service, const struct run *run, enum hook_point point);

bool service_has_hooks(const struct service *service);
void service_cancel_hooks(struct service *service);
