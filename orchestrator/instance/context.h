/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * context: what every part of the daemon shares. main.c fills it before the first service starts,
 * and empties it after the last one has ended. Nobody else owns anything in it.
 */
#pragma once

#include <systemd/sd-event.h>

#include "common/diag.h"
#include "common/paths.h"
#include "orchestrator/event/event.h"
#include "orchestrator/health/checker.h"
#include "orchestrator/host/cgroup.h"
#include "orchestrator/host/local_ports.h"
#include "orchestrator/host/loop.h"
#include "orchestrator/host/removals.h"
#include "orchestrator/steer/steer.h"

struct state;
struct writer;
struct occupants;
struct instance_ports;
struct waiting_line;

struct context {
	sd_event *event;
	struct paths paths;
	char cgroup_base[CGROUP_PATH_MAX]; /* "": instances get no cgroup */
	char no_cgroup[448];               /* why not, and what to do; "": they get one */
	bool stepped_aside;                /* see cgroup_step_aside() */
	struct removals *removals;         /* of instances' cgroups; NULL: each is tried once */
	char agent_program[PATHS_MAX];     /* a descriptor of it, under /proc/self/fd */
	struct writer *writer;             /* writes that, and waits for no disk */
	struct state *state;               /* what services remember (service/state.h) */
	const struct event_sink *sink;     /* takes what is told */
	struct diag *diag;
	struct occupants *occupants; /* NULL: nobody is looked for */
	struct prober *prober;
	struct probe_exec_room exec_room; /* of checks that are commands */
	struct local_ports local_ports;   /* of commands */
	struct instance_ports *ports;     /* those that are pinned now (instance.h) */
	struct tiers tiers;               /* what works here */
	struct inspect *inspect;          /* NULL: the kernel cannot tell, see inspect.h */
	struct loop_times loop;           /* how long the turns of .event take */
	struct waiting_line *line; /* of services that start servers (service/waiting_line.h) */
	uint32_t last_rollout;     /* number of the last rollout of any service */
};
